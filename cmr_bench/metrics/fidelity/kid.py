"""Kernel distance of synthetic to unseen real images in feature space (Binkowski et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.halves import Rows, halves
from cmr_bench.metrics.fidelity.spaces import each_space, in_spaces
from cmr_bench.stats import Array, Estimate, expanded_percentile, multiplicities
from cmr_bench.types import Score


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
    kxx, nxx = _sums(x, x, x_subjects, x_subjects)
    kyy, nyy = _sums(y, y, y_subjects, y_subjects)
    kxy, nxy = _sums(x, y, x_subjects, y_subjects)
    s, t = kxy.shape

    def statistic(w: Array, v: Array) -> Array:
        with np.errstate(invalid="ignore"):  # a sample of one subject many times has no pairs
            means = (
                ((a @ k) * b).sum(1) / ((a @ n) * b).sum(1)
                for a, b, k, n in ((w, w, kxx, nxx), (v, v, kyy, nyy), (w, v, kxy, nxy))
            )
            xx, yy, xy = means
        return xx + yy - 2 * xy

    value = statistic(np.ones((1, s)), np.ones((1, t)))[0]
    samples = statistic(
        multiplicities(s, repeats=repeats, seed=seed),
        multiplicities(t, repeats=repeats, seed=seed + 1),
    )
    return expanded_percentile(value, samples, min(s, t))


def _sums(
    x: Tensor, y: Tensor, x_subjects: ArrayLike | None, y_subjects: ArrayLike | None
) -> tuple[Array, Array]:
    """(subjects of x, of y) kernel sums and pair counts; within one set without pairs of one subject, see `kid`."""
    gx, gy = _groups(x_subjects, len(x)), _groups(y_subjects, len(y))
    x64, y64, d = x.double(), y.double(), x.shape[1]
    sums = torch.zeros(int(gx.max()) + 1, int(gy.max()) + 1, dtype=torch.float64)
    for rows in torch.arange(len(x)).split(1024):
        kernel = (x64[rows] @ y64.T / d + 1) ** 3
        columns = torch.zeros(len(rows), sums.shape[1], dtype=torch.float64)
        sums.index_add_(0, gx[rows], columns.index_add_(1, gy, kernel))
    counts = torch.outer(gx.bincount(), gy.bincount()).double()
    if x is y and len(sums) > 1:
        sums.fill_diagonal_(0), counts.fill_diagonal_(0)
    elif x is y:
        own = torch.zeros(len(sums), dtype=torch.float64)
        sums -= own.index_add(0, gx, (x64.square().sum(1) / d + 1) ** 3).diag()
        counts -= gx.bincount().double().diag()
    return sums.numpy(), counts.numpy()


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
    orders = (("heldout", "blurred", "painter", "noise"), ("heldout", "vendor"))
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
        sums, counts = _sums(x, x, subjects, subjects)
        names = np.arange(len(sums))

        def distance(a: Rows, b: Rows) -> float:
            within = sum(sums[np.ix_(h, h)].sum() / counts[np.ix_(h, h)].sum() for h in (a, b))
            return float(within - 2 * sums[np.ix_(a, b)].sum() / counts[np.ix_(a, b)].sum())

        return np.array(
            [distance(a, b) for a, b in halves(names, repeats=splits, seed=evidence.seed)]
        )
