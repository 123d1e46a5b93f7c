"""Are generated masks anatomies? Shapes of stage 1 against those of unseen subjects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.anatomy import MEASURES, anatomy
from cmr_bench.stats import Array, Estimate, expanded_percentile, multiplicities
from cmr_bench.types import Pool, Score

NEEDS = {
    "area_lv": {1}, "area_myo": {2}, "area_rv": {3}, "roundness_lv": {1}, "wall_thickness": {1, 2},
    "ring_closure": {1, 2}, "components": {1, 2, 3}, "rv_share": {1, 3}, "rv_distance": {1, 3},
}  # fmt: skip
"""Structures that must be labelled for a measure to mean something."""
UNPAIRED = (
    "generated masks are single slices without subject and phase: volumes and the ejection "
    "fraction need stacks of both phases"
)


def wasserstein(
    x: ArrayLike,
    y: ArrayLike,
    x_subjects: ArrayLike,
    y_subjects: ArrayLike,
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> Estimate:
    """First Wasserstein distance of two samples, the integral of |F - G|; subjects of both are resampled.

    All rows count alike, whole subjects are drawn. A distance cannot be negative, so that chance
    alone makes it positive, and resampling adds to it: read it beside its floor.
    """
    grid = np.unique(np.concatenate([np.asarray(x), np.asarray(y)]))
    below = [_below(v, s, grid) for v, s in ((x, x_subjects), (y, y_subjects))]

    def statistic(w: Array, v: Array) -> Array:
        f, g = (_shares(u, counts) for u, counts in zip((w, v), below, strict=True))
        return np.abs(f - g)[:, :-1] @ np.diff(grid)

    m, n = (len(counts) for counts in below)
    value = statistic(np.ones((1, m)), np.ones((1, n)))[0]
    samples = statistic(
        multiplicities(m, repeats=repeats, seed=seed),
        multiplicities(n, repeats=repeats, seed=seed + 1),
    )
    return expanded_percentile(float(value), samples, min(m, n))


def _below(values: ArrayLike, subjects: ArrayLike, grid: Array) -> Array:
    """(subjects, grid) how many values of each subject do not exceed each place of the grid."""
    _, group = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    counts = np.zeros((group.max() + 1, len(grid)))
    np.add.at(counts, (group, np.searchsorted(grid, np.asarray(values))), 1)
    return counts.cumsum(1)


def _shares(w: Array, counts: Array) -> Array:
    found = w @ counts
    return found / found[:, -1:]


class MaskAnatomy(Metric):
    """Wasserstein distance of each of MEASURES between generated masks and those of test subjects.

    In standard deviations of the test masks (in the measure's own unit where they do not vary),
    beside the floor of real training masks against the same; `mask_anatomy` is the mean over the
    measures, without an interval of its own. `extra` has both means in the measure's unit. Each
    generated mask is its own subject; slices of a real subject are never taken for independent.
    Blind to the images, and to copies: how near a mask is to a training mask is a question of
    privacy.
    """

    axis = "fidelity"
    names = ("fidelity/mask_anatomy",)
    pools = ("train", "test", "synthetic")
    higher_is_better = False
    blind_to = ("copy", "heldout", "blurred", "painter", "noise", "mean")

    def __init__(self, repeats: int = 1000) -> None:
        self.repeats = repeats

    def compute(self, evidence: Evidence) -> list[Score]:
        tables = {name: shapes(evidence.pools[name]) for name in self.pools}
        there = set.intersection(*({*evidence.pools[name].labels} for name in self.pools))
        one = [
            self._score(name, tables, evidence.seed) for name in MEASURES if NEEDS[name] <= there
        ]
        answered = [s for s in one if not s.reason]
        mean, floor = (
            float(np.mean([getattr(s, side) for s in answered])) if answered else float("nan")
            for side in ("value", "reference")
        )
        head = score(
            "fidelity/mask_anatomy",
            Estimate(mean, float("nan"), float("nan")),
            n=len(evidence.pools["synthetic"]),
            unit="masks",
            better="lower",
            reference=floor,
            reference_name="real train against real test",
            extra={"measures": len(answered)},
        )
        return [head, *one, Score("fidelity/mask_ejection", float("nan"), reason=UNPAIRED)]

    def _score(self, measure: str, tables: dict[str, pd.DataFrame], seed: int) -> Score:
        name = f"fidelity/mask_{measure}"
        rows = {k: t[[measure, "subject"]].dropna() for k, t in tables.items()}
        few = next((k for k, t in rows.items() if t["subject"].nunique() < 2), None)
        if few:
            return Score(name, float("nan"), reason=f"fewer than two subjects in {few} show it")
        spread = float(rows["test"][measure].std()) or 1.0
        found, floor = (self._distance(rows[k], rows["test"], seed, spread) for k in ("synthetic", "train"))  # fmt: skip
        means = {f"mean_{k}": float(t[measure].mean()) for k, t in rows.items()}
        return score(
            name,
            found,
            n=len(rows["synthetic"]),
            unit="masks",
            better="lower",
            reference=floor.value,
            reference_name="real train against real test",
            extra={
                "reference_low": floor.low,
                "reference_high": floor.high,
                **means,
                "sd_test": spread,
                "measured_in": f"SD of test masks ({MEASURES[measure] or 'no unit'})",
            },
        )

    def _distance(self, x: pd.DataFrame, y: pd.DataFrame, seed: int, spread: float) -> Estimate:
        measure = str(x.columns[0])
        found = wasserstein(
            x[measure],
            y[measure],
            x["subject"],
            y["subject"],
            repeats=self.repeats,
            seed=seed,
        )
        return Estimate(*(v / spread for v in found))


def shapes(pool: Pool) -> pd.DataFrame:
    """MEASURES of each mask of the pool, beside its subject."""
    planes: NDArray[np.int64] = pool.masks[:, 0].numpy()
    found = pd.DataFrame([anatomy(plane, pool.spacing_mm) for plane in planes])
    return found.assign(subject=pool.subjects)
