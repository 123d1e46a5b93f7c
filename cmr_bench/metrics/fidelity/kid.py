"""Kernel distance of synthetic to unseen real images in feature space (Binkowski et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.halves import halves
from cmr_bench.metrics.fidelity.spaces import each_space, in_spaces
from cmr_bench.stats import Array, Estimate, expanded_percentile, multiplicities
from cmr_bench.types import Score

BLOCK = 256


def kid(
    x: Tensor,
    y: Tensor,
    *,
    x_subjects: ArrayLike | None = None,
    y_subjects: ArrayLike | None = None,
    repeats: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Unbiased squared MMD with k(a, b) = (a.b / d + 1)^3 of features (N, d) and (M, d).

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y) (Gretton et al. 2012, eq. 3), within a side
    over all pairs of rows of different subjects: slices of one heart are alike, and would set a side
    of many hearts apart from one of few. No subsets, so no choice of their size. 0 for equal
    distributions, may be negative. The interval resamples the subjects of both sides. A side of one
    subject has no such pairs; all its pairs of different rows take their place.
    """
    gx, gy = _groups(x_subjects, len(x)), _groups(y_subjects, len(y))
    s, t = int(gx.max()) + 1, int(gy.max()) + 1
    w, v = (
        np.vstack([np.ones(n), multiplicities(n, repeats=repeats, seed=at)])
        for n, at in ((s, seed), (t, seed + 1))
    )
    xx, yy = _mean_kernel(x, x, gx, gx, w, w), _mean_kernel(y, y, gy, gy, v, v)
    samples = xx + yy - 2 * _mean_kernel(x, y, gx, gy, w, v)
    return expanded_percentile(samples[0], samples[1:], min(s, t))


def _mean_kernel(x: Tensor, y: Tensor, gx: Tensor, gy: Tensor, a: Array, b: Array) -> Array:
    """(R,) mean k of rows of x beside rows of y, where a[r, i] and b[r, j] count rows of subjects gx = i and gy = j.

    Where x is y the pairs of `kid` alone. BLOCK rows at a time: memory grows with the number of
    rows and not with its square.
    """
    within, single, d = x is y, a.shape[1] == 1, x.shape[1]
    alike = torch.arange(len(x)) if single else gx
    x64, y64, left, right = x.double(), y.double(), torch.as_tensor(a), torch.as_tensor(b)
    total = torch.zeros(len(a), dtype=torch.float64)
    for rows in torch.arange(len(x)).split(BLOCK):
        kernel = (x64[rows] @ y64.T / d + 1) ** 3
        if within:
            kernel[alike[rows, None] == alike] = 0
        subjects, at = gx[rows].unique(return_inverse=True)
        columns = torch.zeros(len(rows), b.shape[1], dtype=torch.float64).index_add_(1, gy, kernel)
        sums = torch.zeros(len(subjects), b.shape[1], dtype=torch.float64)
        sums.index_add_(0, at, columns)
        total += (left[:, subjects] * (right @ sums.T)).sum(1)
    n, m = gx.bincount().numpy(), gy.bincount().numpy()
    pairs = (a @ n) * (b @ m)
    if within:
        pairs -= a * b @ (n if single else n**2)
    with np.errstate(invalid="ignore"):  # a sample of one subject many times has no pairs
        return total.numpy() / pairs


def _groups(subjects: ArrayLike | None, n: int) -> Tensor:
    if subjects is None:
        return torch.arange(n)
    return torch.as_tensor(np.unique(np.asarray(subjects), return_inverse=True)[1])


class KID(Metric):
    """Synthetic against test; the floor, train against test, is what other real subjects get.

    But for spaces whose encoder was trained on train: there it is in-sample, and too high.
    One score for each space, `fidelity/kid` for the default encoder and `fidelity/kid_<space>` for
    the others: a ranking that holds in one space alone is the taste of one network.
    """

    axis = "fidelity"
    names: tuple[str, ...] = ("fidelity/kid",)
    pools = ("train", "test", "synthetic")
    higher_is_better = False
    rankings: ClassVar = {
        "fidelity/kid": (("heldout", "blurred", "painter", "noise"), ("heldout", "vendor"))
    }
    blind_to = ("copy",)

    def __init__(self, repeats: int = 2000, spaces: Sequence[str] = ("features",)) -> None:
        self.repeats, self.spaces = repeats, tuple(spaces)
        self.names = in_spaces(type(self).names, self.spaces)
        self.needs = ("encode",) if "features" in self.spaces else ()

    def compute(self, evidence: Evidence) -> list[Score]:
        if min(len(evidence.pools[name]) for name in self.pools) < 2:
            return self.blank("needs two images in each of train, test and synthetic")
        return each_space(evidence, type(self).names, self.spaces, self._in)

    def _in(self, space: str, evidence: Evidence) -> list[Score]:
        found, floor = (self._to_test(evidence, space, name) for name in ("synthetic", "train"))
        noise = self._between_halves(evidence, space)
        return [
            score(
                "fidelity/kid",
                found,
                n=len(evidence.pools["synthetic"]),
                unit="images",
                better="lower",
                reference=floor.value,
                reference_name="real train against real test",
                extra={
                    "reference_low": floor.low,
                    "reference_high": floor.high,
                    "halves_mean": float(noise.mean()),
                    "halves_largest": float(noise.max()),
                    "real_images": len(evidence.pools["test"]),
                    "real_subjects": len(set(evidence.subjects("test"))),
                },
            )
        ]

    def _to_test(self, evidence: Evidence, space: str, name: str) -> Estimate:
        return kid(
            evidence.vectors(space, name),
            evidence.vectors(space, "test"),
            x_subjects=evidence.subjects(name),
            y_subjects=evidence.subjects("test"),
            repeats=self.repeats,
            seed=evidence.seed,
        )

    def _between_halves(self, evidence: Evidence, space: str, splits: int = 10) -> Array:
        """KID between random halves of the real training subjects: 0 but for chance."""
        x, subjects = evidence.vectors(space, "train"), evidence.subjects("train")
        if len(set(subjects)) < 4:
            return np.array([np.nan])
        groups = _groups(subjects, len(x))
        first = np.zeros((splits, int(groups.max()) + 1))
        cuts = halves(np.arange(first.shape[1]), repeats=splits, seed=evidence.seed)
        for half, (chosen, _) in zip(first, cuts, strict=True):
            half[chosen] = 1
        a, b = np.vstack([first, 1 - first, first]), np.vstack([first, 1 - first, 1 - first])
        one, other, across = _mean_kernel(x, x, groups, groups, a, b).reshape(3, splits)
        return one + other - 2 * across
