"""Arms of the utility axis: what a segmentation network is trained on, at equal optimiser steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmr_bench.seeds import numpy_rng
from cmr_bench.types import Pool


@dataclass(frozen=True)
class Arm:
    """A training set out of real subjects and synthetic images, and how the network meets it.

    `subjects`: how many real ones (None: all, 0: none); for one seed those of a small number are
    among those of a larger one. `ratio`: different synthetic images for each real one (None: all
    that there are, 0: none of them). `strong`: with the strong augmentation in place of the usual
    one. `pretrain`: half of the steps on the synthetic images, then the other half on the real
    ones. `fits`: how many of the metric's seeds are used (None: all).
    """

    name: str
    subjects: int | None = None
    ratio: float | None = 0.0
    strong: bool = False
    pretrain: bool = False
    fits: int | None = None

    def __post_init__(self) -> None:
        if self.subjects == 0 and self.ratio is not None:
            raise ValueError(f"arm {self.name} has no real subjects: give ratio=null")
        if self.fits is not None and self.fits < 1:
            raise ValueError(f"arm {self.name}: fits={self.fits}, give 1 or more, or null for all")
        if self.pretrain and self.kind != "both":
            raise ValueError(f"arm {self.name}: pretrain needs synthetic images and real subjects")

    @property
    def kind(self) -> str:
        """real, synthetic or both."""
        if self.ratio == 0:
            return "real"
        return "synthetic" if self.subjects == 0 else "both"

    @property
    def few(self) -> bool:
        """Whether it has some of the real subjects, not all and not none."""
        return bool(self.subjects)

    @property
    def on_curve(self) -> bool:
        """Whether it differs from other such arms in the number of real subjects alone."""
        return not (self.strong or self.pretrain) and self.ratio in (None, 0)

    def real_subjects(self, train: Pool) -> int:
        return self.subjects if self.subjects is not None else len(set(train.subjects))

    def lacks(self, train: Pool, synthetic: int, seeds: Sequence[int] = (0,)) -> str | None:
        """Why this arm cannot be trained on so many synthetic images, in one line; None if it can."""
        there = len(set(train.subjects))
        if self.real_subjects(train) > there:
            return f"{self.subjects} real subjects are wanted and the training pool has {there}"
        wanted = max(self.wants(train, seed) for seed in seeds) if self.ratio else 0
        if wanted > synthetic:
            return (
                f"1:{self.ratio:g} needs {wanted} synthetic images and there are {synthetic}: "
                "raise synthesis.count"
            )
        return None

    def wants(self, train: Pool, seed: int) -> int:
        """Synthetic images that its ratio asks for beside the real ones of a seed."""
        return round((self.ratio or 0) * len(rows_of(train, self.subjects, seed)))


ARMS = {
    "real": Arm("real"),
    "synthetic": Arm("synthetic", subjects=0, ratio=None),
    "both": Arm("both", ratio=None),
}
"""The arms that every metric may name."""


def named(arm: Arm | str) -> Arm:
    """An arm of ARMS by its name; an arm is itself."""
    if isinstance(arm, Arm):
        return arm
    if arm not in ARMS:
        raise ValueError(
            f"there is no arm {arm}: take one of {', '.join(ARMS)}, or describe an Arm"
        )
    return ARMS[arm]


def rows_of(train: Pool, count: int | None, seed: int) -> np.ndarray:
    """All slices of `count` subjects of the pool (None: of all); fewer are a part of more for each seed."""
    names = numpy_rng("some subjects", seed).permutation(np.unique(train.subjects))[:count]
    return np.flatnonzero(np.isin(train.subjects, names))


def some_images(pool: Pool, count: int, seed: int) -> Pool:
    """`count` different images of the pool."""
    return pool.take(numpy_rng("some images", seed).permutation(len(pool))[:count])


def training_pools(arm: Arm, train: Pool, synthetic: Pool | None, seed: int) -> Sequence[Pool]:
    """The pools that the arm is made of: real subjects, then synthetic images, where it has them.

    Raises:
        ValueError: in one line, where the arm lacks subjects or images; no image is ever repeated.
    """
    if reason := arm.lacks(train, len(synthetic or ()), [seed]):
        raise ValueError(f"arm {arm.name}: {reason}")
    parts = [] if arm.kind == "synthetic" else [train.take(rows_of(train, arm.subjects, seed))]
    if arm.kind != "real":
        assert synthetic is not None
        wanted = arm.wants(train, seed)
        parts.append(some_images(synthetic, wanted, seed) if arm.ratio else synthetic)
    return parts
