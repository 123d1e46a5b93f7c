"""Frechet distance of synthetic to unseen real images in feature space (Heusel et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import linregress
from torch import Tensor

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.equal import equal_rows
from cmr_bench.metrics.fidelity.spaces import each_space, in_spaces
from cmr_bench.metrics.fidelity.two_samples import ROOT, SPLITS, by_halves
from cmr_bench.seeds import torch_rng
from cmr_bench.stats import Estimate
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


def extrapolated(
    x: Tensor,
    y: Tensor,
    *,
    x_subjects: ArrayLike | None = None,
    y_subjects: ArrayLike | None = None,
    sizes: int = 5,
    draws: int = 2,
    seed: int = 0,
) -> tuple[float, float]:
    """(FID at infinite n, standard error): intercept of FID over 1/n + 1/m (Chong & Forsyth 2020, eq. 8).

    The bias of the Frechet distance falls as one over the number of independent rows, so a straight
    line through its values at `sizes` numbers of rows, from half of them to all, meets 0 at the
    unbiased value. Rows of one subject are not independent: whole subjects are left out, of both
    sets by the same share, since both are finite (without subjects each row is one). The error is
    that of the line. The line holds where there are more rows than dimensions alone: both are nan
    where the smallest sets have no more, or there are too few subjects to leave any out.
    """
    xs, ys = (
        np.arange(len(v)) if s is None else np.unique(np.asarray(s), return_inverse=True)[1]
        for v, s in ((x, x_subjects), (y, y_subjects))
    )
    inverse, values = [], []
    for share in np.linspace(0.5, 1, sizes):
        for draw in range(draws if share < 1 else 1):
            a, b = (
                v[_thinned(group, share, torch_rng("fid", seed, side, draw, f"{share:.3f}"))]
                for side, v, group in (("x", x, xs), ("y", y, ys))
            )
            if min(len(a), len(b)) <= x.shape[1]:
                return float("nan"), float("nan")
            inverse.append(1 / len(a) + 1 / len(b))
            values.append(frechet_distance(a, b))
    if len(set(inverse)) < 3:
        return float("nan"), float("nan")
    line = linregress(inverse, values)
    return float(line.intercept), float(line.intercept_stderr)


def _thinned(group: NDArray[np.intp], share: float, rng: torch.Generator) -> NDArray[np.intp]:
    """Rows of a share of the subjects, at least two of them, chosen by chance."""
    order = torch.randperm(int(group.max()) + 1, generator=rng).numpy()
    return np.flatnonzero(np.isin(group, order[: max(2, round(share * len(order)))]))


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
    interval is that of the value at these numbers of images, bias and all. It compares disjoint halves
    of the subjects (`by_halves`): the bootstrap repeats rows and would add to the bias. The variance of
    FID falls as 1/n where there is a difference and as 1/n^2 where there is none, that of its root, the
    distance itself, as 1/n in both; so the interval is one of the root, squared.

    `fidelity/fid_infinity` is extrapolated to infinite n beside its floor extrapolated alike, where
    half of the subjects have more images than there are dimensions; it may be negative, as any
    unbiased distance. Its interval adds the error of the line to the upper arm of that of FID, in squares.
    """

    axis = "fidelity"
    names: tuple[str, ...] = ("fidelity/fid", "fidelity/fid_infinity")
    pools = ("train", "test", "synthetic")
    higher_is_better = False
    rankings: ClassVar = dict.fromkeys(
        ("fidelity/fid", "fidelity/fid_infinity"),
        (("heldout", "blurred", "painter", "noise"), ("heldout", "vendor")),
    )
    blind_to = ("copy",)

    def __init__(self, splits: int = SPLITS, spaces: Sequence[str] = ("features",)) -> None:
        self.splits, self.spaces = splits, tuple(spaces)
        self.names = in_spaces(type(self).names, self.spaces)
        self.needs = ("encode",) if "features" in self.spaces else ()

    def compute(self, evidence: Evidence) -> list[Score]:
        if min(len(evidence.pools[name]) for name in self.pools) < 2:
            return self.blank("needs two images in each of train, test and synthetic")
        return each_space(evidence, type(self).names, self.spaces, self._in)

    def _in(self, space: str, evidence: Evidence) -> list[Score]:
        rows = equal_rows(evidence, "synthetic", "train")
        # Thinning must not know the order of the pool.
        order = equal_rows(evidence, "test")["test"]
        y = evidence.vectors(space, "test")[order]
        n = len(rows["synthetic"])
        x, real = (evidence.vectors(space, name)[rows[name]] for name in ("synthetic", "train"))
        xs, real_subjects = (
            evidence.subjects(name)[rows[name].numpy()] for name in ("synthetic", "train")
        )
        ys = evidence.subjects("test")[order.numpy()]
        extra: dict[str, float | str] = {"real_images": len(y), "dimensions": x.shape[1]}
        if min(n, len(y)) <= x.shape[1]:
            extra["note"] = "fewer images than dimensions: read it against the floor alone"
        floor = "real train against real test"
        (limit, line_error), (real_limit, _) = (
            extrapolated(v, y, x_subjects=s, y_subjects=ys, seed=evidence.seed)
            for v, s in ((x, xs), (real, real_subjects))
        )
        estimate, factor = self._interval(x, y, xs, ys, evidence.seed)
        half = float(np.hypot(estimate.high - estimate.value, factor * line_error))
        about: dict[str, Any] = {
            "n": n,
            "unit": "images",
            "better": "lower",
            "reference_name": floor,
        }
        fid = score(
            "fidelity/fid",
            estimate,
            reference=frechet_distance(real, y),
            extra=extra,
            **about,
        )
        if limit != limit:
            reason = (
                f"the line needs more images than the {x.shape[1]} dimensions in half of the subjects; "
                f"there are {n} synthetic and {len(y)} real ones"
            )
            return [fid, Score("fidelity/fid_infinity", limit, reason=reason)]
        beyond = score(
            "fidelity/fid_infinity",
            Estimate(limit, limit - half, limit + half),
            reference=real_limit,
            extra={"line_error": line_error, **extra},
            **about,
        )
        return [fid, beyond]

    def _interval(
        self, x: Tensor, y: Tensor, xs: ArrayLike, ys: ArrayLike, seed: int
    ) -> tuple[Estimate, float]:
        """(distance with its interval over the subjects of both sides, Student's factor in it)."""
        error, factor = by_halves(_length, x, y, xs, ys, splits=self.splits, seed=seed)
        return ROOT.around(max(frechet_distance(x, y), 0.0), factor * error), factor


def _length(x: Tensor, y: Tensor) -> float:
    return float(ROOT.there(max(frechet_distance(x, y), 0.0)))
