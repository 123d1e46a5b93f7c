"""Uncertainty with the subject as the unit: bootstrap, exact proportions.

Slices of one subject are not independent, so every interval here resamples subjects. Intervals are
expanded percentile intervals (Hesterberg 2015, section 5.3): percentiles of the bootstrap
distribution at tails widened from z to sqrt(n/(n-1)) t(n-1), which mends the undercoverage of the
plain percentile interval at few subjects and keeps its range. Below `FEWEST` subjects no interval
is claimed: nan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from cmr_bench.seeds import numpy_rng

Array = NDArray[np.float64]
LEVEL = 0.95
FEWEST = 3


class Estimate(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def multiplicities(n: int, *, repeats: int, seed: int) -> Array:
    """(repeats, n) how often each of n subjects is drawn in each bootstrap sample."""
    rng = numpy_rng("bootstrap", seed, n)
    return rng.multinomial(n, np.full(n, 1 / n), size=repeats).astype(np.float64)


def expanded_percentile(value: float, samples: Array, n: float) -> Estimate:
    """The interval of `value` from its bootstrap samples over n subjects, or as many as n independent ones are worth."""
    samples = samples[np.isfinite(samples)]
    if n < FEWEST or not len(samples):
        return Estimate(float(value), float("nan"), float("nan"))
    tail = norm.cdf(-np.sqrt(n / (n - 1)) * student.ppf((1 + LEVEL) / 2, n - 1))
    low, high = np.quantile(samples, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high))


def reweighted(
    statistic: Callable[[Array], Array], n: int, *, repeats: int = 2000, seed: int = 0
) -> Estimate:
    """Subject bootstrap of a statistic of multiplicities: (R, n) -> (R,), all samples at once."""
    value = statistic(np.ones((1, n)))[0] if n else float("nan")
    if n < FEWEST:
        return Estimate(float(value), float("nan"), float("nan"))
    return expanded_percentile(value, statistic(multiplicities(n, repeats=repeats, seed=seed)), n)


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    subjects: ArrayLike,
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Subject bootstrap of any statistic of rows; a subject drawn twice brings its rows twice."""
    names, group = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    n = len(names)
    value = statistic(np.arange(len(group)))
    if n < FEWEST:
        return Estimate(float(value), float("nan"), float("nan"))
    order = np.argsort(group, kind="stable")
    counts = multiplicities(n, repeats=repeats, seed=seed).astype(int)
    samples = np.array([statistic(np.repeat(order, c[group[order]])) for c in counts], dtype=float)
    return expanded_percentile(value, samples, n)


def subject_means(values: ArrayLike, subjects: ArrayLike) -> pd.Series:
    """Mean of the values of each subject, sorted by subject; nan values count as not measured."""
    rows = pd.Series(np.asarray(values, dtype=np.float64), index=np.asarray(subjects, dtype=str))
    return rows.dropna().groupby(level=0).mean()


def interval(
    values: ArrayLike, subjects: ArrayLike, *, repeats: int = 2000, seed: int = 0
) -> Estimate:
    """Mean of the subjects' means: each subject counts once, however many slices it has."""
    means = subject_means(values, subjects).to_numpy()
    return reweighted(lambda w: w @ means / len(means), len(means), repeats=repeats, seed=seed)


def row_mean(
    values: ArrayLike, subjects: ArrayLike, *, repeats: int = 2000, seed: int = 0
) -> Estimate:
    """Mean over rows, for measures defined on images; whole subjects are resampled."""
    rows = pd.Series(np.asarray(values, dtype=np.float64), index=np.asarray(subjects, dtype=str))
    each = rows.dropna().groupby(level=0).agg(["sum", "count"])
    total, count = each["sum"].to_numpy(), each["count"].to_numpy()
    return reweighted(lambda w: (w @ total) / (w @ count), len(each), repeats=repeats, seed=seed)


def holm(p: ArrayLike) -> Array:
    """p of each of several comparisons, so that the chance of one false claim in all keeps its level.

    Step-down rule of Holm (1979): the k-th smallest of m is multiplied by m - k + 1, without
    falling below a smaller one's; nan stays nan and is no comparison.
    """
    raw = np.asarray(p, dtype=np.float64)
    there = np.flatnonzero(np.isfinite(raw))
    order = there[np.argsort(raw[there], kind="stable")]
    stepped = raw[order] * np.arange(len(order), 0, -1)
    found = np.full(len(raw), np.nan)
    found[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return found


def ratio(a: pd.Series, b: pd.Series, *, repeats: int = 2000, seed: int = 0) -> Estimate:
    """Mean of a over mean of b, over the subjects that both know, resampled as pairs."""
    both = pd.concat([a, b], axis=1).dropna().to_numpy()

    def statistic(w: Array) -> Array:
        top, bottom = (w @ both).T
        with np.errstate(divide="ignore", invalid="ignore"):
            return top / bottom

    return reweighted(statistic, len(both), repeats=repeats, seed=seed)


def proportion(hits: int, n: int) -> Estimate:
    """hits / n with the exact interval of Clopper & Pearson (1934) for independent trials."""
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    bounds = binomtest(int(hits), int(n)).proportion_ci(LEVEL, method="exact")
    return Estimate(hits / n, float(bounds.low), float(bounds.high))


def open_end(found: Estimate, n: int) -> Estimate:
    """The interval of a share among n subjects; where all agree on 0 or 1 the bootstrap has no width, and `proportion` gives it."""
    if found.value in (0.0, 1.0) and found.low == found.high:
        return proportion(round(found.value * n), n)
    return found
