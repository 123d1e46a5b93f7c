"""Uncertainty where several fits are judged on the same test subjects: both might have been others.

Cells (K, n) hold what fit k scores on subject i. Fits and subjects are crossed: Y_ki = m + a_k + b_i + e_ki, and the mean of
all cells has the variance var(a) / K + var(b) / n + var(e) / (K n). A mean over the cells of several arms is taken with the
same draws: fit k of each has the same seed and the same real subjects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from cmr_bench.seeds import numpy_rng
from cmr_bench.stats import FEWEST, LEVEL, Array, Estimate, expanded_percentile, multiplicities


class Error(NamedTuple):
    """Squared standard error of the mean of cells, what fits and subjects add to it, and its degrees of freedom."""

    variance: float
    fits: float
    subjects: float
    freedom: float


def error(cells: Array) -> Error:
    """Standard error of the mean of cells (K, n), from the mean squares of a two-way layout with one value a cell.

    variance = MS_fits / Kn + MS_subjects / Kn - MS_rest / Kn, not below either of the first two, with the degrees of freedom
    of Satterthwaite (1946). One fit says nothing about others: its variance is that over subjects alone; two say little,
    and intervals of nominal 95 % hold the truth in about 90.
    """
    k, n = cells.shape
    rows, columns = cells.mean(axis=1), cells.mean(axis=0)
    rest = cells - rows[:, None] - columns + cells.mean()
    sums = np.array([n * rows.var() * k, k * columns.var() * n, (rest**2).sum()])
    freedoms = np.array([k - 1, n - 1, (k - 1) * (n - 1)])
    parts = np.divide(sums, freedoms * k * n, out=np.zeros(3), where=freedoms > 0)
    variance = max(parts[0] + parts[1] - parts[2], parts[0], parts[1])
    spread = np.divide(parts**2, freedoms, out=np.zeros(3), where=freedoms > 0).sum()
    fewest = min(freedoms[:2][freedoms[:2] > 0], default=0)
    freedom = max(variance**2 / spread, fewest) if spread else n - 1
    return Error(float(variance), float(parts[0]), float(parts[1]), float(freedom))


def draws(arms: Array, contrast: Array, *, repeats: int = 2000, seed: int = 0) -> Array:
    """(R, m) means of m arms as other fits and other test subjects might have given them.

    `arms` (m, K, n) are their cells; `contrast` (K, n) is the combination of them whose error is that of the statistic to
    come, up to a factor. Subjects are resampled. Few fits cannot be: their deviations get normal weights, centred, which have
    the first two moments of resampling. Both deviations are widened so that, with the tails of `expanded_percentile`, the
    interval of the contrast is as wide as Student's t makes `error`. Without a variance over fits these are the draws of
    the bootstrap over subjects; without one over subjects the interval is the t interval of the K fits.
    """
    _, k, n = arms.shape
    subjects = multiplicities(n, repeats=repeats, seed=seed) - 1
    fits = numpy_rng("fits", seed, k).standard_normal((repeats, k))
    fits -= fits.mean(axis=1, keepdims=True)
    away = fits @ arms.mean(axis=2).T / k + subjects @ arms.mean(axis=1).T / n
    return arms.mean(axis=(1, 2)) + _widening(error(contrast), k, n) * away


def estimate(
    statistic: Callable[[Array], Array],
    arms: Array,
    contrast: Array,
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A statistic of the means of arms, (R, m) -> (R,), with its interval over fits and test subjects (of `draws`)."""
    n = arms.shape[2]
    value = float(statistic(arms.mean(axis=(1, 2))[None])[0])
    if n < FEWEST:
        return Estimate(value, float("nan"), float("nan"))
    samples = statistic(draws(arms, contrast, repeats=repeats, seed=seed))
    return expanded_percentile(value, samples, n)


def _widening(found: Error, k: int, n: int) -> float:
    """Student's t of the error over what the bootstrap with expanded tails would make of it."""
    drawn = found.fits * (k - 1) / k + found.subjects * (n - 1) / n
    if n < 2 or not drawn:
        return 1.0
    meant = _t(found.freedom) * np.sqrt(found.variance)
    return float(meant / (_t(n - 1) * np.sqrt(n / (n - 1) * drawn)))


def _t(freedom: float) -> float:
    return float(student.ppf((1 + LEVEL) / 2, freedom))


def p_of_none(contrast: Array) -> float:
    """Two-sided p of no difference: the t test of the mean of cells (K, n) with `error`.

    That of one fit is the paired t test over subjects. 1 where no cell differs, nan below FEWEST subjects.
    """
    if contrast.shape[1] < FEWEST:
        return float("nan")
    if not contrast.any():
        return 1.0
    found = error(contrast)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(contrast.mean()) / np.sqrt(found.variance)
    return float(2 * student.sf(t, found.freedom))
