"""Segmenters of arms: trained once for what determines them, shared where nothing synthetic is in them."""

from __future__ import annotations

import hydra
import pandas as pd
import pytest
import tiny
import torch

from cmr_bench.config import build, conf_path
from cmr_bench.metrics.utility.arms import ARMS, Arm
from cmr_bench.segmenters import fit_segmenter, segmenter
from cmr_bench.stages import Stages
from cmr_bench.store import key_of

SMALL = ["segmenter.fit.steps=4", "segmenter.fit.batch=2", "segmenter.module.widths=[8,16,16]", "trainer=cpu"]  # fmt: skip


@pytest.fixture
def stages(tmp_path):
    def make(seed=0, *more):
        with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
            overrides = [*SMALL, f"store.root={tmp_path}", f"seed={seed}", *more]
            stages = Stages(hydra.compose("run", overrides))
        stages.pools = {"train": tiny.pool(8), "test": tiny.pool(4, seed=1)}
        stages.data_hash = "tiny"
        return stages

    return make


def folders(root):
    return {path.parent for path in root.glob("segmenter/*/done.json")}


def test_real_arms_are_shared_by_cells_and_others_are_not(stages, tmp_path):
    one, other = stages(0), stages(1)  # two cells: their samples differ
    pools = {**one.pools, "synthetic": tiny.pool(6, seed=2)}
    few = Arm("few", subjects=2)
    for arm in (ARMS["real"], few):
        segmenter(one, arm, pools, 0)
    assert len(folders(tmp_path)) == 2
    for arm in (ARMS["real"], few, Arm("another name", subjects=2, fits=1)):
        segmenter(other, arm, pools, 0)
    assert len(folders(tmp_path)) == 2
    segmenter(one, ARMS["synthetic"], pools, 0)
    segmenter(other, ARMS["synthetic"], pools, 0)
    assert len(folders(tmp_path)) == 4
    segmenter(one, few, pools, 1)
    assert len(folders(tmp_path)) == 5


def test_the_curve_of_a_fit_is_kept(stages, tmp_path):
    segmenter(stages(), ARMS["real"], stages().pools, 0)
    (folder,) = folders(tmp_path)
    curve = pd.read_csv(folder / "curve/version_0/metrics.csv")
    assert {"step", "segmenter/loss"} <= set(curve) and curve["segmenter/loss"].notna().any()


def test_a_resumed_fit_keeps_the_curve_from_before(stages, tmp_path):
    here = stages()
    for steps in (4, 8):  # the second goes on from the checkpoint of the first
        fit_segmenter(here, ARMS["real"], here.pools, 0, tmp_path, steps=steps)
    before, after = (
        pd.read_csv(tmp_path / f"curve/version_{k}/metrics.csv")["step"] for k in (0, 1)
    )
    assert before.max() <= 4 <= after.min() and after.max() == 7


def test_all_subjects_counted_are_the_arm_of_all(stages, tmp_path):
    here = stages()
    segmenter(here, ARMS["real"], here.pools, 0)
    count = len(set(here.pools["train"].subjects))
    segmenter(here, Arm("all of them", subjects=count), here.pools, 0)
    assert len(folders(tmp_path)) == 1
    segmenter(here, Arm("all but one", subjects=count - 1), here.pools, 0)
    assert len(folders(tmp_path)) == 2


def test_a_control_is_the_same_whatever_the_budget_of_the_fit(stages):
    keys = [
        key_of(stages(0, f"model={model}", f"fit.steps={steps}").sample_inputs)
        for model in ("control/copy", "fm")
        for steps in (5, 6)
    ]
    assert keys[0] == keys[1] and len(set(keys)) == 3


def test_every_arm_takes_the_same_number_of_steps(stages, tmp_path):
    """Also where they are halved between synthetic and real images, in this order."""
    here = stages()
    pools = {**here.pools, "synthetic": tiny.pool(16, seed=2)}
    arms = [ARMS["both"], Arm("mix", ratio=2), Arm("first", ratio=None, pretrain=True), Arm("strong", strong=True)]  # fmt: skip
    for arm in arms:
        fit_segmenter(here, arm, pools, 0, tmp_path / arm.name)
    steps = {
        path.parent.relative_to(tmp_path).as_posix(): torch.load(path, weights_only=True)[
            "global_step"
        ]
        for path in tmp_path.rglob("last.ckpt")
    }
    assert steps == {"both": 4, "mix": 4, "first/pretraining": 2, "first": 2, "strong": 4}


def test_pretraining_hands_its_weights_on(stages, tmp_path):
    here = stages()
    pools = {**here.pools, "synthetic": tiny.pool(6, seed=2)}
    module = fit_segmenter(here, Arm("first", ratio=None, pretrain=True), pools, 0, tmp_path)
    fresh, last = build(here.config.segmenter.module, seed=0).state_dict(), module.state_dict()
    handed = torch.load(tmp_path / "pretraining/last.ckpt", weights_only=True)["state_dict"]

    def distance(one, other):
        return sum(float((one[k] - other[k]).square().sum()) for k in one)

    assert 0 < distance(last, handed) < distance(last, fresh)


def test_a_segmenter_without_strong_augmentation_says_so(stages, tmp_path):
    here = stages(0, "~segmenter.strong")
    with pytest.raises(ValueError, match=r"give segmenter\.strong"):
        segmenter(here, Arm("strong", strong=True), here.pools, 0)
