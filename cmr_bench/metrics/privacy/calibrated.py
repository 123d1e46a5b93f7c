"""Loss attack calibrated for difficulty by one reference model (Watson et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import Attack, named, suspicion
from cmr_bench.metrics.privacy.members import HALVES, sides
from cmr_bench.stats import Array
from cmr_bench.types import Score, join


class Calibrated(Attack):
    """Suspicious is a loss that is lower than that of a reference model, which saw neither side, lets expect.

    Some images are easy for every model, known or not. The reference, a denoiser of the model's recipe in pixel space,
    is trained on one half of the subjects, members and others alike, and the attack is judged on the other half. Watson
    et al. subtract the reference's loss; here a straight line through both is subtracted, since the losses of a latent
    model and of a reference in pixels differ in scale.
    """

    names = named("calibrated")
    needs = ("losses", "fit")
    catches = ()
    spares = ()
    untested = "no control has a training recipe to lend to the reference model"
    fewest = HALVES

    def __init__(
        self,
        times: Sequence[float] = (0.1, 0.2, 0.4),
        repeats: int = 2,
        fpr: float = 0.01,
        blind: bool = True,
        slices: int | None = None,
    ) -> None:
        super().__init__(fpr, blind, slices)
        self.times = tuple(times)
        self.repeats = repeats

    def told(self, evidence: Evidence) -> list[Score]:
        found = sides(evidence)
        learn, _ = found.halves(evidence.seed)
        learnt = set(found.subjects[learn])
        parts = {name: np.isin(evidence.subjects(name), list(learnt)) for name in found.names}
        pools = {
            name: evidence.pools[name].take(np.flatnonzero(~known)) for name, known in parts.items()
        }
        halves = (evidence.pools[name].take(np.flatnonzero(known)) for name, known in parts.items())
        return super().told(
            evidence.about(evidence.model, pools | {"reference": join("reference", *halves)})
        )

    def suspicions(self, evidence: Evidence, names: tuple[str, ...]) -> Array:
        asked = (evidence, evidence.about(evidence.fitted("reference"), {}))
        times, repeats = self.times, self.repeats
        of_model, of_reference = (
            torch.cat([e.losses(name, times, repeats) for name in names]).double().mean(1)
            for e in asked
        )
        return suspicion(residual(of_model, of_reference)[:, None])


def residual(losses: Tensor, reference: Tensor) -> Tensor:
    """(N, times) what of the losses (N, times) a straight line through those of the reference leaves, time by time."""
    x, y = reference - reference.mean(0), losses - losses.mean(0)
    return y - x * (x * y).sum(0) / x.square().sum(0).clamp(min=1e-12)
