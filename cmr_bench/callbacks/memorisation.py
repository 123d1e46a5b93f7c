"""The memorisation clock: when does a model begin to know its training subjects by heart?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np

from cmr_bench.callbacks.metrics import MetricCallback, write
from cmr_bench.discrimination import auc
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.stats import subject_means
from cmr_bench.types import Score

PREFIX = "memorisation/"
SHOWS = f"{PREFIX}shows"
VOID = f"{PREFIX}void"
STEP = "privacy/memorisation_step"
SIDES = {"members": "train", "others": "test"}
"""What the numbers of subjects are logged as, by pool."""


class Memorisation(MetricCallback):
    """Loss gap, attack and copies against the step, and where memorisation begins.

    At a checkpoint memorisation shows where the lower 95 % limit of one of the scores `signs` lies above the score's
    reference, which is what a model that knows nobody gets, and the score is not void. Each checkpoint asks the same
    subjects with the same noises, so a chance finding may last: `patience` does not halve its probability. It begins at the first step from which it shows at every
    later checkpoint, if these are `patience` at least. With `stop` training ends as soon as that is so: the weights
    are then a function of this callback, of which the key of the model takes note.

    Logged: `train_loss` and `held_out_loss` (mean over subjects of the loss at `times`, the same `repeats` noises each
    time), the subjects of each side, every score with its limits and reference, and `shows`.
    """

    def __init__(
        self,
        *,
        signs: Sequence[str],
        patience: int,
        stop: bool,
        times: Sequence[float],
        repeats: int,
        **of_metrics: Any,
    ) -> None:
        super().__init__(**of_metrics)
        self.signs, self.patience, self.stop = tuple(signs), patience, stop
        self.times, self.repeats = tuple(times), repeats
        self.shown: dict[int, bool] = {}

    def told(self, trainer: pl.Trainer, evidence: Evidence) -> list[Score]:
        found = super().told(trainer, evidence)
        values = {"train_loss": self._loss(evidence, "train")}
        values["held_out_loss"] = self._loss(evidence, "test")
        values |= {side: len(set(evidence.subjects(pool))) for side, pool in SIDES.items()}
        for score in found:
            name = score.name.removeprefix("privacy/")
            parts = {"": score.value, "_low": score.low, "_high": score.high}
            parts["_reference"] = score.reference
            values |= {f"{name}{end}": value for end, value in parts.items()}
        signs = [score for score in found if score.name in self.signs]
        if signs:
            sound = [score for score in signs if "void" not in score.extra]
            self.shown[trainer.global_step] = any(score.low > score.reference for score in sound)
            values["shows"] = float(self.shown[trainer.global_step])
            values["void"] = float(not sound)
        write(trainer, {f"{PREFIX}{k}": v for k, v in values.items() if math.isfinite(v)})
        self._end(trainer)
        return found

    def _loss(self, evidence: Evidence, pool: str) -> float:
        losses = evidence.losses(pool, self.times, self.repeats).double().mean((1, 2))
        return float(subject_means(losses.numpy(), evidence.subjects(pool)).mean())

    def _end(self, trainer: pl.Trainer) -> None:
        if self.stop and begun(self.shown, self.patience) is not None:
            trainer.should_stop = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that was ended, and whose end did not reach the store, takes no step more."""
        self._end(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"shown": [[step, shows] for step, shows in self.shown.items()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.shown = {int(step): bool(shows) for step, shows in state_dict["shown"]}


def begun(shown: Mapping[int, bool], patience: int) -> int | None:
    """The first step of the unbroken run of showings that ends at the last step; None if it is below `patience`."""
    run: list[int] = []
    for step in sorted(shown):
        run = [*run, step] if shown[step] else []
    return run[0] if len(run) >= patience else None


def power(members: int, others: int) -> str:
    """What so many subjects could show, in words: the least AUC, lower ones missing whole members, with a limit above 1/2."""
    least = "nothing"
    for missed in range(members):
        ranks = np.r_[np.full(missed, -1.0), np.full(members - missed, 1.0)]
        estimate = auc(ranks, np.zeros(others))
        if not estimate.low > 0.5:
            break
        least = f"only an AUC of {estimate.value:.2f}" + " and more" * (missed > 0)
    return f"; {members} against {others} subjects: {least} could show"


def memorisation_step(
    rows: Iterable[Mapping[str, Any]], *, patience: int, stop: bool, planned: int
) -> list[Score]:
    """`privacy/memorisation_step` out of the rows of a log; nothing where the clock did not run.

    The limits are the checkpoint before, where it did not show yet, and the step itself. `stopped` is the step at
    which `stop` ended the training before the `planned` one.
    """
    rows = list(rows)
    shown = {int(row["step"]): bool(row["value"]) for row in rows if row["name"] == SHOWS}
    if not shown:
        return []
    step, last = begun(shown, patience), max(shown)
    if any(row["value"] for row in rows if row["name"] == VOID):
        reason = (
            "an attack that never sees the model tells these subjects apart: stratify the split"
        )
        return [Score(STEP, math.nan, n=len(shown), unit="checkpoints", reason=reason)]
    if step is None:
        sizes = {row["name"]: int(row["value"]) for row in rows if row.get("value") is not None}
        sides = [sizes[PREFIX + side] for side in SIDES if PREFIX + side in sizes]
        reason = f"no memorisation showed by step {last} ({len(shown)} checkpoints)"
        reason += power(*sides) if len(sides) == len(SIDES) else ""
        return [Score(STEP, math.nan, n=len(shown), unit="checkpoints", reason=reason)]
    before = max((one for one in shown if one < step), default=0)
    extra: dict[str, float | str] = {"stopped": last} if stop and last < planned else {}
    return [Score(STEP, step, before, step, len(shown), "checkpoints", "higher", extra=extra)]
