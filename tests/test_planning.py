"""The plan of a cell: what is there, where it would go on and how long it may take, without doing any of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch

from cmr_bench.cells import judges, refuse_misfit
from cmr_bench.config import conf_path
from cmr_bench.metrics.utility.arms import named
from cmr_bench.planning import STEPS, Planner, duration, look_ahead, table
from cmr_bench.preparation import prepared
from cmr_bench.segmenters import segmenter_inputs
from cmr_bench.stages import Stages
from cmr_bench.store import Store, key_of, read_json, write_json
from cmr_bench.store.samples import Samples

SMALL = [
    "data.size=16", "data.spacing_mm=9", "data.subjects=8", "data.split={train: 0.5, val: 0.25, test: 0.25, seed: 0}",
    "external.size=16", "external.spacing_mm=9", "external.subjects=2",
    "metric=fast", "fit.steps=100", "trainer=cpu",
]  # fmt: skip
CHOICES = {"model": "ldm", "data": "phantom", "mask": "learned", "metric": "fast"}


def stages(root: Path, *more: str) -> Stages:
    overrides = ["model=ldm", "mask=learned", *SMALL, f"store.root={root}", *more]
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        return Stages(hydra.compose("run", overrides))


def states(root: Path, *more: str) -> dict[str, str]:
    plan = Planner(Store(root)).plan(stages(root, *more), CHOICES)
    assert tuple(plan) == STEPS
    return {name: step.state for name, step in plan.items()}


def made(store: Store, kind: str, inputs: dict[str, Any], seconds: float) -> Path:
    folder = store.build(kind, inputs, lambda folder: None)
    write_json(folder / "done.json", {"seconds": seconds})
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_nothing_is_prepared_to_plan_arms_of_few_subjects(root: Path) -> None:
    few = ["+metric/utility@metric.segmentation=arms", "segmenter=two"]
    plan = Planner(Store(root)).plan(stages(root, *few), CHOICES)
    assert not root.exists()
    usual = Planner(Store(root)).plan(stages(root, few[0]), CHOICES)
    more = len(plan["segmenters"].missing) - len(usual["segmenters"].missing)
    assert more == 2, "two judges of adherence, each in the second architecture too"


def test_a_login_node_without_a_gpu_can_plan(root: Path) -> None:
    assert set(states(root, "trainer=gpu", "trainer.precision=bf16-mixed").values()) == {"to do"}


def test_an_empty_store_is_planned_and_left_empty(root: Path) -> None:
    found = states(root)
    assert set(found.values()) == {"to do"} and not root.exists()
    assert states(root, "mask=deformed", "model=fm")["autoencoder"] == "–"
    plan = Planner(Store(root)).plan(stages(root), CHOICES)
    assert all(math.isnan(s) for step in plan.values() for s in step.missing.values())


def test_each_step_is_found_where_it_stands_and_timed_by_what_was_measured(root: Path) -> None:
    store = Store(root)
    for node in ("data", "external"):
        prepared(store, stages(root).config[node])
    cell = stages(root)
    other = stages(root, "fit.steps=50")
    made(store, "model", other.model_inputs, seconds=30.0)
    made(store, "autoencoder", cell.autoencoder_inputs, seconds=20.0)
    made(store, "samples", other.sample_inputs | {"count": 160}, seconds=10.0)
    real = segmenter_inputs(cell, named("real"), 0)
    made(store, "segmenter", real, seconds=7.0)
    model = store.artefact("model", key_of(cell.model_inputs))
    model.mkdir(parents=True)
    torch.save({"global_step": 40}, model / "last.ckpt")
    masks = np.zeros((10, 1, 4, 4), dtype=np.int64)
    samples = Samples(store.artefact("samples", key_of(cell.sample_inputs)) / "samples.h5")
    samples.reserve("synthetic", masks=masks, seeds=np.arange(10))
    samples.put("synthetic", [0, 1], np.zeros((2, 1, 4, 4)))

    plan = Planner(store).plan(stages(root), CHOICES)
    assert {name: step.state for name, step in plan.items()} == {
        "prepare": "done",
        "masks": "to do",
        "autoencoder": "done",
        "model": "resume at step 40 of 100",
        "samples": "resume at image 2 of 10",
        "segmenters": "resume at 1 of 4",
        "metrics": "to do",
    }
    seconds = {name: sum(step.missing.values()) for name, step in plan.items()}
    assert seconds["model"] == pytest.approx(30 * 2 * 0.6)  # twice the steps, 60 % of them left
    assert seconds["samples"] == pytest.approx(10 * 2 * 0.8)
    assert seconds["segmenters"] == pytest.approx(
        7 * 3
    )  # synthetic, both and the second judge of adherence
    assert math.isnan(seconds["masks"]) and math.isnan(seconds["metrics"])

    (model / "last.ckpt").write_bytes(b"torn")
    assert states(root)["model"] == "to do"
    assert {path.name for path in store.root.iterdir()} == {
        "data", "model", "autoencoder", "samples", "segmenter"
    }  # fmt: skip


def test_a_cell_at_work_and_one_that_is_done_are_planned_as_such(root: Path) -> None:
    store, cell = Store(root), stages(root, "mask=deformed", "model=fm", "external=null")
    more = ["mask=deformed", "model=fm", "external=null"]
    prepared(store, cell.config.data)
    judged = judges(cell.config, None)
    key = key_of({"samples": cell.sample_inputs, "judges": judged})
    made = store.cell(CHOICES["model"], key)
    with made.attempt():
        made.log(49, {"loss": 1.0})
        assert states(root, *more)["model"] == "running at step 49"
        made.finish()
    found = states(root, *more)
    assert [found[name] for name in ("masks", "autoencoder", "model")] == ["–", "–", "done"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["model=fm", "mask=deformed", "data.size=20"], "data.size=20: this model needs a multiple of 8"),
        (["mask=deformed", "data.size=24"], "data.size=24: this model needs a multiple of 16"),
        (["model=fm", "data.size=24"], "data.size=24: this mask needs a multiple of 16"),
        (["model/space=labels"], "model/space=labels is for stage 1"),
        (["model=control/noise", "mask=real", "data.size=36"], "data.size=36: the segmenter needs a multiple of 8"),
        (["data.size=32", "external.size=20"], "external.size=20: the segmenter needs a multiple of 8"),
    ],
)  # fmt: skip
def test_a_size_that_does_not_fit_is_refused_before_any_work(
    root: Path, words: list[str], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        refuse_misfit(stages(root, *words))
    with pytest.raises(ValueError, match=reason):
        look_ahead(stages(root, *words).config, CHOICES, words)
    refuse_misfit(stages(root, "data.size=32"))
    assert not root.exists()


def test_shared_work_counts_once_and_unknown_work_is_named(root: Path) -> None:
    store = Store(root)
    cell = stages(root)
    made(store, "autoencoder", cell_inputs := {"config": {"fit": {"steps": 500, "batch": 8}}}, 60.0)
    assert read_json(store.artefact("autoencoder", key_of(cell_inputs)) / "inputs.json")
    planner = Planner(store)
    plans = [
        ([f"seed={seed}", "model=ldm"], planner.plan(stages(root, f"seed={seed}"), CHOICES))
        for seed in (0, 1)
    ]
    assert cell.config.autoencoder.fit.steps == 500
    text = table(plans)
    assert "seed=0" in text and "model=ldm" not in text
    assert "0 of 2 cells done; left, with shared work counted once: 60 s, and data, mask" in text
    twice = [(["model=ddpm", "trainer=cpu"], plans[0][1])] * 2
    assert table(twice).count("model=ddpm") == 2, "the same cell twice has a name"
    assert duration([]) == "" and duration([math.nan]) == "unknown"
    assert (duration([50.0, math.nan]), duration([600.0]), duration([9000.0])) == (
        "50 s", "10 min", "2.5 h"
    )  # fmt: skip


def test_a_fault_of_the_external_domain_names_its_own_key(root: Path) -> None:
    words = [f"store.root={root}", "data@external=acdc", "external.root=/nowhere/data.2017"]
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        cell = Stages(hydra.compose("run", words))
    with pytest.raises(ValueError, match=r"^external\.root=/nowhere/data\.2017: no such folder"):
        cell.external_data  # noqa: B018
