"""When a training is saved, and what ends it early: a wish to stop, or weights that are no numbers."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from cmr_bench.interruption import Stopped, flag
from cmr_bench.progress import Pace

log = logging.getLogger(__name__)

LOOKED = 50
"""Steps after which a training is looked at for divergence."""


class Saving(Checkpoint):
    """Writes the checkpoint every `minutes`, and when the process was asked to stop: then it ends here.

    With `minutes` None it does neither. What is due at the step of a validation waits for the next step: a validation is
    never lost. Weights that are not finite end the training before a checkpoint is written over. What one of several
    devices finds, that the training shall end, all of them know before the next step.
    """

    def __init__(
        self, path: Path, *, title: str, minutes: float | None, validate_every: int | None
    ) -> None:
        self.path, self.minutes, self.validate_every = path, minutes, validate_every
        self.title = title
        self.saved = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        flag.renew()  # Lightning has put its own handlers in place
        self.saved = time.monotonic()
        first = trainer.global_step
        self.pace = Pace(self.title, first, trainer.max_steps)
        if first:
            log.info("%s: training goes on at step %d", self.title, first)
        agree(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        agree(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        step = trainer.global_step
        if self.minutes is None or step >= trainer.max_steps:
            return  # the end is saved by `fit`
        self.pace.at(step)
        every = self.validate_every or 0
        validates = every > 1 and step % every == 0
        due = time.monotonic() - self.saved >= 60 * self.minutes and not validates
        stop = flag.asked and not validates
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if stop or due or step % LOOKED == 0:
            refuse_diverged(pl_module, self.title, step)
        if stop or due:
            trainer.save_checkpoint(self.path)
            self.saved = time.monotonic()
        if stop:
            raise Stopped
        flag.pieces += 1


def agree(trainer: pl.Trainer) -> None:
    """What ends the training in one process ends it in all."""
    if trainer.world_size > 1:
        decided = trainer.strategy.reduce_boolean_decision(trainer.should_stop, all=False)
        trainer.should_stop = decided


def refuse_diverged(module: pl.LightningModule, title: str, step: int) -> None:
    """Refuse weights that are no numbers, as a step that was too long leaves them for good.

    Raises:
        ValueError: if one is not finite.
    """
    if not all(bool(weight.isfinite().all()) for weight in module.parameters()):
        raise ValueError(
            f"{title}: the training diverged, weights are not finite at step {step}: take a smaller optimizer.lr"
        )
