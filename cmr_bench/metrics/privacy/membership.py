"""Does the loss tell whose images a model was trained on? (Carlini et al. 2023)"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import Attack, named, suspicion
from cmr_bench.stats import Array


class Membership(Attack):
    """Loss attack: a member's loss is low.

    Losses at several fixed times and noises, the same noises for every image. For flow matching
    the loss is the error of the velocity.
    """

    names = named("mia")
    needs = ("losses",)

    def __init__(
        self,
        times: Sequence[float] = (0.1, 0.2, 0.3, 0.5),
        repeats: int = 4,
        fpr: float = 0.01,
        blind: bool = True,
        slices: int | None = None,
    ) -> None:
        super().__init__(fpr, blind, slices)
        self.times = tuple(times)
        self.repeats = repeats

    def suspicions(self, evidence: Evidence, names: tuple[str, ...]) -> Array:
        parts = [evidence.losses(name, self.times, self.repeats) for name in names]
        return suspicion(torch.cat(parts))
