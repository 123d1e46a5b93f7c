"""Frechet distance of synthetic to unseen real images in feature space (Heusel et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from numpy.typing import ArrayLike
from scipy.stats import t as student
from torch import Tensor

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.equal import equal_rows
from cmr_bench.stats import LEVEL, Estimate, jackknife
from cmr_bench.types import Score


def frechet(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2), in float64 by symmetric eigenvalues."""
    with _one_thread():
        values, vectors = torch.linalg.eigh(cov1.double())
        root = vectors * values.clamp(min=0).sqrt() @ vectors.T
        cross = torch.linalg.eigvalsh(root @ cov2.double() @ root).clamp(min=0).sqrt().sum()
    gap = (mean1.double() - mean2.double()).square().sum()
    return float(gap + cov1.double().trace() + cov2.double().trace() - 2 * cross)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Frechet distance of the Gaussians fitted to features (N, d) and (M, d).

    With fewer rows than dimensions the trace of the root is the nuclear norm of the centred cross
    product: tr (S1 S2)^1/2 = |A B^T|_* / sqrt((N - 1)(M - 1)), the same from a smaller matrix.
    """
    x, y = x.double(), y.double()
    if min(len(x), len(y)) >= x.shape[1]:
        return frechet(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())
    a, b = x - x.mean(0), y - y.mean(0)
    n, m = len(x) - 1, len(y) - 1
    with _one_thread():
        cross = torch.linalg.svdvals(a @ b.T).sum() / (n * m) ** 0.5
    gap = (x.mean(0) - y.mean(0)).square().sum()
    return float(gap + a.square().sum() / n + b.square().sum() / m - 2 * cross)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Linear algebra on several threads beside a busy process is 10 to 100 times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class FID(Metric):
    """Synthetic against test beside train against test at the same number of images.

    The estimate is biased upwards by an amount that depends on n and on the model (Chong & Forsyth
    2020), more so with fewer images than dimensions, so only numbers at equal n compare. The
    interval is a jackknife over groups of subjects: the bootstrap repeats rows and would add to the
    bias.
    """

    axis = "fidelity"
    names = ("fidelity/fid",)
    pools = ("train", "test", "synthetic")
    needs = ("encode",)
    higher_is_better = False

    def __init__(self, groups: int = 10) -> None:
        self.groups = groups

    def compute(self, evidence: Evidence) -> list[Score]:
        rows = equal_rows(evidence, "synthetic", "train")
        y = evidence.features("test")
        n = len(rows["synthetic"])
        if min(n, len(y)) < 2:
            return self.blank("needs two images in each of train, test and synthetic")
        x, real = (evidence.features(name)[rows[name]] for name in ("synthetic", "train"))
        subjects = evidence.subjects("synthetic")[rows["synthetic"].numpy()]
        extra: dict[str, float | str] = {"real_images": len(y), "dimensions": x.shape[1]}
        if min(n, len(y)) <= x.shape[1]:
            extra["note"] = "fewer images than dimensions: read it against the floor alone"
        return [
            score(
                "fidelity/fid",
                self._interval(x, y, subjects, evidence.subjects("test")),
                n=n,
                unit="images",
                better="lower",
                reference=frechet_distance(real, y),
                reference_name="real train against real test",
                extra=extra,
            )
        ]

    def _interval(self, x: Tensor, y: Tensor, xs: ArrayLike, ys: ArrayLike) -> Estimate:
        value = frechet_distance(x, y)
        left, g = jackknife(lambda r: frechet_distance(x[r], y), xs, groups=self.groups)
        right, h = jackknife(lambda r: frechet_distance(x, y[r]), ys, groups=self.groups)
        half = student.ppf((1 + LEVEL) / 2, max(min(g, h) - 1, 1)) * (left**2 + right**2) ** 0.5
        return Estimate(value, max(value - half, 0.0), value + half)
