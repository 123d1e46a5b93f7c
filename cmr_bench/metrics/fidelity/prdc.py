"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.equal import equal_rows
from cmr_bench.metrics.fidelity.spaces import each_space, in_spaces
from cmr_bench.metrics.fidelity.two_samples import ANGLE, ROOT, SPLITS, by_halves
from cmr_bench.stats import Array, open_end
from cmr_bench.types import Score

CHUNK = 1024
SCALES = {"precision": ANGLE, "recall": ANGLE, "density": ROOT, "coverage": ANGLE}


class PRDC(NamedTuple):
    """What each image adds to the mean: fake to precision, density; real to recall, coverage."""

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


def prdc(real: Tensor, fake: Tensor, *, k: int = 5) -> PRDC:
    """How far each set lies in the other's manifold: balls up to each point's k-th neighbour.

    precision: fake j lies in a real ball. recall: real i lies in a fake ball. density: number of
    real balls around fake j, over k. coverage: the ball of real i holds a fake. Features (N, d),
    (M, d).
    """
    real, fake = real.double(), fake.double()
    real_radius, fake_radius = _radii(real, k), _radii(fake, k)
    in_real = torch.zeros(len(fake), dtype=torch.float64)
    recall, coverage = [], []
    for points, radius in zip(real.split(CHUNK), real_radius.split(CHUNK), strict=True):
        distance = torch.cdist(points, fake)
        inside = distance < radius[:, None]
        in_real += inside.sum(0)
        coverage.append(inside.any(1))
        recall.append((distance < fake_radius[None]).any(1))
    return PRDC(
        (in_real > 0).double(),
        torch.cat(recall).double(),
        in_real / k,
        torch.cat(coverage).double(),
    )


def _radii(points: Tensor, k: int) -> Tensor:
    """Distance of each point to its k-th neighbour; itself is the nought-th."""
    return torch.cat(
        [torch.cdist(c, points).kthvalue(k + 1, dim=1).values for c in points.split(CHUNK)]
    )


class Manifold(Metric):
    """Synthetic against test at equal n beside train against test; k-th neighbour, default 5.

    Intervals compare disjoint halves of the subjects, each with its own balls (`by_halves`): the
    bootstrap repeats images, which lie in the balls of their doubles, and fixed balls leave out
    whose they are by chance. They are those of angles of shares and of the root of density, where half the
    subjects have about twice the variance, whatever the value (`tests/metrics/test_halves.py`).
    Balls of training slices end at slices of the same heart, so the recall of the floor is a little low.
    """

    axis = "fidelity"
    names: tuple[str, ...] = (
        "fidelity/precision",
        "fidelity/recall",
        "fidelity/density",
        "fidelity/coverage",
    )
    pools = ("train", "test", "synthetic")
    higher_is_better = True
    rankings: ClassVar = {
        "fidelity/precision": (("heldout", "noise"),),
        "fidelity/recall": (("heldout", "one_patient", "noise"),),
        "fidelity/density": (("heldout", "noise"),),
        "fidelity/coverage": (("heldout", "one_patient", "noise"),),
    }
    blind_to = ("copy",)

    def __init__(
        self, k: int = 5, spaces: Sequence[str] = ("features",), splits: int = SPLITS
    ) -> None:
        self.k, self.spaces, self.splits = k, tuple(spaces), splits
        self.names = in_spaces(type(self).names, self.spaces)
        self.needs = ("encode",) if "features" in self.spaces else ()

    def compute(self, evidence: Evidence) -> list[Score]:
        if min(len(evidence.pools[name]) for name in self.pools) <= self.k:
            return self.blank(f"needs more than k = {self.k} images in train, test and synthetic")
        return each_space(evidence, type(self).names, self.spaces, self._in)

    def _in(self, space: str, evidence: Evidence) -> list[Score]:
        rows = equal_rows(evidence, "test", "synthetic", "train")
        n = len(rows["test"])
        test, fake, train = (evidence.vectors(space, name)[at] for name, at in rows.items())
        found, floor = prdc(test, fake, k=self.k), prdc(test, train, k=self.k)
        subjects = {name: evidence.subjects(name)[at.numpy()] for name, at in rows.items()}
        error, factor = by_halves(
            self._scaled,
            fake,
            test,
            subjects["synthetic"],
            subjects["test"],
            splits=self.splits,
            seed=evidence.seed,
        )
        people = min(len(set(subjects[name])) for name in ("synthetic", "test"))
        scores = []
        for what, values, real, half in zip(
            PRDC._fields, found, floor, np.broadcast_to(factor * error, 4), strict=True
        ):
            estimate = SCALES[what].around(float(values.mean()), float(half))
            if what != "density":
                estimate = open_end(estimate, people)
            scores.append(
                score(
                    f"fidelity/{what}",
                    estimate,
                    n=n,
                    unit="images",
                    better="higher",
                    reference=float(real.mean()),
                    reference_name="real train against real test",
                    extra={"k": self.k},
                )
            )
        return scores

    def _scaled(self, fake: Tensor, real: Tensor) -> Array:
        """The four scores on their scales; half of a tiny set has fewer neighbours than k."""
        found = prdc(real, fake, k=min(self.k, len(fake) - 1, len(real) - 1))
        scales = (SCALES[what].there for what in PRDC._fields)
        return np.array(
            [there(float(values.mean())) for there, values in zip(scales, found, strict=True)]
        )
