"""The instruments are tested: what metrics say about generators whose answer is known."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from cmr_bench.config import build, conf_path, plain
from cmr_bench.evaluation import judge
from cmr_bench.judging import device_of, spaces
from cmr_bench.metrics.base import Metric
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.utility.arms import Arm
from cmr_bench.seeds import mix, numpy_rng
from cmr_bench.segmenters import segmenter
from cmr_bench.stages import Stages
from cmr_bench.store import read_json, write_json
from cmr_bench.types import Masks, Pool, join

log = logging.getLogger(__name__)

SLICES = {"train": 480, "val": 120, "test": 120}
"""Slices of each pool, spread over all subjects: enough for a verdict, quick to judge."""


def instruments(stages: Stages, encode: Any) -> dict[str, Any]:
    """`metrics` (what each must tell), `answers` (one row a score and control) and `untested`, shared by all cells on the data.

    `untested` says of each metric that has no controls why, by the name of its first score.
    """
    config = stages.config
    every = {str(name): build(node) for name, node in config.metric.items()}
    metrics = {name: metric for name, metric in every.items() if controls_of(metric)}
    untested = {m.names[0]: m.untested for name, m in every.items() if name not in metrics}
    held_out = {subject for name in ("val", "test") for subject in stages.pools[name].subjects}
    if len(held_out) < 2:
        few = "controls need two subjects in val and test"
        log.warning("instruments are not tested: %s", few)
        untested |= {metric.names[0]: few for metric in metrics.values()}
        return {"metrics": {}, "answers": [], "untested": untested}

    def segment(arm: Arm, seed: int, pool: Pool, judge: str = "") -> Masks:
        if arm.kind != "real":
            raise ValueError(
                f"controls are judged by segmenters of real data, not by arm {arm.name}"
            )
        return segmenter(stages, arm, stages.pools, seed, judge).segment(pool.images)

    others = config.segmenter.get("others") or {}

    def make(folder: Path) -> None:
        pools = control_pools(stages.pools)
        evidence = Evidence(
            {name: pools[name] for name in ("train", "test")},
            encode=encode,
            segment=segment,
            spaces=spaces(stages),
            judges={str(name): partial(segment, judge=str(name)) for name in others},
            people=stages.people,
            seed=config.seed,
            device=device_of(encode),
        )
        found = [*answers(metrics, pools, evidence)]
        write_json(
            folder / "instruments.json",
            {"metrics": musts(metrics), "answers": found, "untested": untested},
        )

    inputs = stages.inputs(
        metrics={name: plain(config.metric[name]) for name in metrics},
        musts=musts(metrics),
        untested=untested,
        encoder=plain(config.encoder),
        segmenter=plain(config.segmenter),
        slices=SLICES,
        seed=config.seed,
    )
    folder = stages.built("instruments", "instruments", inputs, make)
    return read_json(folder / "instruments.json")


def controls_of(metric: Metric) -> tuple[str, ...]:
    """The controls that the metric must rank, catch or spare."""
    ranked = chain.from_iterable(chain.from_iterable(metric.rankings.values()))
    return tuple(dict.fromkeys((*ranked, *metric.catches, *metric.spares)))


def musts(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """What each must tell; `names` are those of its class, to which a further one of `spaces` adds its own at the end."""
    keys = ("names", "rankings", "catches", "spares", "blind_to")
    return {
        name: {key: getattr(type(metric), key) for key in keys}
        | {"spaces": getattr(metric, "spaces", getattr(metric, "by", ()))}
        for name, metric in metrics.items()
    }


def control_pools(pools: Mapping[str, Pool]) -> dict[str, Pool]:
    """train, test and val, the last two being halves of the held-out subjects.

    One half plays test and sets thresholds, the other plays val, which feeds the controls and gives
    them their masks: real images of it that pretend to be synthetic are unknown to the thresholds.
    """
    held_out = join("held out", *(pools[name] for name in ("val", "test") if len(pools[name])))
    names = numpy_rng("instruments").permutation(np.unique(held_out.subjects))
    first = np.isin(held_out.subjects, names[: len(names) // 2])
    parts = {
        "train": pools["train"],
        "val": held_out.take(np.flatnonzero(first)),
        "test": held_out.take(np.flatnonzero(~first)),
    }
    return {name: replace(part.spread(SLICES[name]), name=name) for name, part in parts.items()}


def answers(
    metrics: Mapping[str, Metric], pools: Mapping[str, Pool], evidence: Evidence
) -> Iterator[dict[str, Any]]:
    """One row a score and control; a control that these data cannot give says why.

    Metrics that need a segmenter ask whether an image obeys its mask: they see the donors, whose
    masks the control was given, in the place of test.
    """
    bare = evidence
    asked = {control: None for metric in metrics.values() for control in controls_of(metric)}
    for control in asked:
        mine = {name: m for name, m in metrics.items() if control in controls_of(m)}
        try:
            model = build(
                OmegaConf.load(Path(conf_path(), f"model/control/{control}.yaml")), pools=pools
            )
        except ValueError as error:
            found = iter([(name, m.blank(str(error)), 0.0) for name, m in mine.items()])
        else:
            donors = pools[model.donors].spread(len(pools["val"]))
            drawn = pretended(model, control, donors)
            evidence = evidence.about(model, {"synthetic": drawn})
            obeyed = bare.about(model, {"test": donors, "matched": drawn})
            asks = {name: m for name, m in mine.items() if "segment" in m.needs}
            rest = {name: m for name, m in mine.items() if name not in asks}
            found = chain(judge(evidence, rest), judge(obeyed, asks))
        for name, scores, _ in found:
            yield from ({"control": control, "metric": name, **asdict(s)} for s in scores)


def pretended(model: Any, control: str, donors: Pool) -> Pool:
    """What the control draws for the donors' masks; images for one subject's masks are one subject."""
    seeds = torch.tensor([mix("instruments", control, i) for i in range(len(donors))])
    table = donors.table.assign(subject=[f"synthetic-{name}" for name in donors.subjects])
    images = model.sample(donors.masks, seeds=seeds)
    return replace(donors, name="synthetic", images=images, table=table)
