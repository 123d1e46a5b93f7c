"""Planted subjects in a cell: the generator meets them, and nothing else does."""

from __future__ import annotations

import hydra
import pytest

from cmr_bench.cells import run_cell
from cmr_bench.config import check, conf_path
from cmr_bench.launchers.jobs import KEYS
from cmr_bench.stages import Stages

SMALL = [
    "data.size=24", "data.spacing_mm=7", "data.subjects=8", "data.split={train: 0.5, val: 0.25, test: 0.25, seed: 0}",
    "external=null", "experiment=canaries", "data.canaries=9", "metric.canaries.fpr=0.1", "encoder.size=32", "synthesis.count=4",
    "metric=fast", *(f"~metric.{name}" for name in ("kid", "adherence", "segmentation", "copies", "membership")),
    "callbacks=none", "trainer=cpu", "threads=1", "logger=csv",
]  # fmt: skip
CHOICES = dict.fromkeys(("data", "mask", "metric", "protocol"), "phantom")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("runs")

    def compose(model: str):
        with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
            return hydra.compose("run", [*SMALL, f"model={model}", f"store.root={root}"])

    return compose


def test_the_generator_alone_meets_them_as_often_as_they_are_repeated(config) -> None:
    stages = Stages(config("fm"))
    train, planted = stages.pools["train"], stages.pools["canaries"]
    assert len(stages.learnt) == len(train) + 3 * (1 + 4 + 16)
    people = {s for name in ("train", "val", "test") for s in stages.pools[name].subjects}
    assert not people & {*planted.subjects, *stages.pools["canaries_held_out"].subjects}
    assert set(stages.learnt.subjects) == {*train.subjects, *planted.subjects}
    copier = Stages(config("control/copy")).new_model()
    assert len(copier.known) == len(stages.learnt)


@pytest.mark.parametrize(("model", "known"), [("control/copy", True), ("control/heldout", False)])
def test_a_copier_gives_them_away_and_a_stranger_does_not(config, model, known) -> None:
    cell = config(model)
    check(cell, KEYS)
    found = {row["name"]: row for row in run_cell(cell, CHOICES | {"model": model}).scores()}
    rates = [
        found[f"privacy/canary_extraction{end}"]["value"] for end in ("", "_x1", "_x4", "_x16")
    ]
    assert rates == [1, 1, 1, 1] if known else rates[0] < 0.5
    if known:
        assert found["privacy/canary_auc"]["low"] > 0.6
    else:
        assert "losses" in found["privacy/canary_auc"]["reason"]
