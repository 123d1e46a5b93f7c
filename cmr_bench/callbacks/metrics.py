"""Metrics while a model trains: one callback class, used once for each axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from cmr_bench.evaluation import judge
from cmr_bench.metrics.base import Metric
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.seeds import mix
from cmr_bench.types import Pool, Score


class MetricCallback(Callback):
    """Judges the averaged weights at each validation on `count` slices and logs under `train/<score>`.

    `make_evidence(pools, model)` gives what metrics look at. The pools are small: `test` are held-out
    slices, `val` is empty, `matched` are synthetic images for the masks of test, `synthetic` those for training masks.
    """

    def __init__(
        self,
        *,
        metrics: Mapping[str, Metric],
        train: Pool,
        held_out: Pool,
        count: int,
        steps: int,
        make_evidence: Callable[[Mapping[str, Pool], object], Evidence],
    ) -> None:
        self.metrics, self.steps, self.make_evidence = dict(metrics), steps, make_evidence
        self.train = replace(train.spread(count), name="train")
        self.held_out = replace(held_out.spread(count), name="test")

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self.told(trainer, self.seen(module))

    def seen(self, module: pl.LightningModule) -> Evidence:
        """What the metrics look at: the pools that they want, with images that the model draws now."""
        nobody = self.held_out.take(slice(0, 0), "val")
        pools = {"train": self.train, "val": nobody, "test": self.held_out}
        wanted = {name for metric in self.metrics.values() for name in metric.pools}
        for name, pool in (("synthetic", self.train), ("matched", self.held_out)):
            if name in wanted:
                seeds = torch.tensor([mix(name, i) for i in range(len(pool))])
                images = module.sample(pool.masks, seeds=seeds, steps=self.steps)  # type: ignore[operator]
                pools[name] = replace(pool, name=name, images=images)
        return self.make_evidence(pools, module)

    def told(self, trainer: pl.Trainer, evidence: Evidence) -> list[Score]:
        """What the metrics answered; in the log as well."""
        found = [
            score
            for _, scores, _ in judge(evidence, self.metrics)
            for score in scores
            if score.value == score.value
        ]
        write(trainer, {f"train/{score.name}": score.value for score in found})
        return found


def write(trainer: pl.Trainer, values: Mapping[str, float]) -> None:
    """Log values at the optimiser step."""
    for logger in trainer.loggers if values else ():
        logger.log_metrics(dict(values), trainer.global_step)
