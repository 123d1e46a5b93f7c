"""The partial rankings that metrics promise: of controls that exist, and in the direction that their scores say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch
from omegaconf import OmegaConf

from cmr_bench.config import build, conf_path
from cmr_bench.instruments import answers, control_pools, controls_of, musts
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.diversity import Diversity
from cmr_bench.metrics.fidelity.kid import KID
from cmr_bench.reporting.verdicts import verdicts
from cmr_bench.types import Pool

CONF = Path(conf_path())
METRICS = {
    path.stem: build(OmegaConf.load(path)) for path in sorted((CONF / "metric").glob("*/*.yaml"))
}
CONTROLS = {path.stem for path in (CONF / "model" / "control").glob("*.yaml")}


@pytest.mark.parametrize("name", METRICS)
def test_every_control_that_a_metric_names_is_there(name: str) -> None:
    metric = METRICS[name]
    assert {*controls_of(metric), *metric.blind_to} <= CONTROLS
    assert not {*controls_of(metric)} & {*metric.blind_to}


@pytest.fixture(scope="module")
def pools() -> dict[str, Pool]:
    """Subjects of two slices with a texture of their own."""
    made = {}
    for k, (name, n) in enumerate({"train": 10, "val": 6, "test": 6}.items()):
        pool = tiny.pool(2 * n, seed=k)
        grain = torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(k))
        images = (pool.images + 0.3 * grain.repeat_interleave(2, 0)).clamp(-1, 1)
        table = pd.DataFrame(
            {
                "subject": [f"{name}{i // 2}" for i in range(2 * n)],
                "phase": "ED",
                "slice": [i % 2 for i in range(2 * n)],
                "thickness_mm": 8.0,
                "vendor": "A",
            }
        )
        made[name] = replace(pool, name=name, images=images, table=table)
    return made


def evidence(pools: dict[str, Pool]) -> Evidence:
    return Evidence(
        {**pools, "synthetic": pools["val"], "matched": pools["test"]},
        encode=lambda images: images.flatten(1),
        segment=lambda arm, seed, pool: pool.masks,
        spaces={"cardiac": lambda: lambda images: images.flatten(1)},
    )


@pytest.mark.parametrize(
    "name", [k for k, m in METRICS.items() if m.rankings and m.axis == "fidelity"]
)
def test_a_metric_with_an_order_has_a_direction(name: str, pools: dict[str, Pool]) -> None:
    metric = METRICS[name]
    scores = {score.name: score for score in metric.scores(evidence(pools))}
    assert scores[metric.names[0]].value == scores[metric.names[0]].value
    for ranked in metric.rankings:
        blank = bool(scores[ranked].reason)
        assert blank or scores[ranked].better == ("higher" if metric.higher_is_better else "lower")


def test_diversity_ranks_patients_above_one_patient_above_the_mean(pools: dict[str, Pool]) -> None:
    halves, metrics = control_pools(pools), {"diversity": Diversity()}
    judged = Evidence(
        {name: halves[name] for name in ("train", "test")}, encode=lambda x: x.flatten(1)
    )
    found = [*answers(metrics, halves, judged)]
    (verdict,) = verdicts({"metrics": musts(metrics), "answers": found})
    assert (
        verdict.question == "rank, best first: heldout, one_patient, mean"
        and verdict.state == "holds"
    )


def test_each_space_is_held_against_the_order(pools: dict[str, Pool]) -> None:
    halves, metrics = control_pools(pools), {"kid": KID(repeats=50, spaces=("features", "turned"))}
    judged = Evidence(
        {name: halves[name] for name in ("train", "test")},
        encode=lambda x: x.flatten(1),
        spaces={"turned": lambda: lambda x: torch.zeros(len(x), 4)},
    )
    every = verdicts({"metrics": musts(metrics), "answers": [*answers(metrics, halves, judged)]})
    found = [v for v in every if v.state != "untested"]  # one vendor alone
    assert [v.score for v in found] == ["fidelity/kid", "fidelity/kid_turned"]
    assert [v.strikes for v in found] == [("fidelity/kid",), ("fidelity/kid_turned",)]
    assert found[1].state == "unresolved"
