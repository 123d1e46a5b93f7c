"""Two samples of subjects, none in both: how sure a distance between them is, and whether their means differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from cmr_bench.stats import FEWEST, LEVEL, Array, Estimate, jackknife


def error_of(
    distance: Callable[[Any, Any], Any],
    x: Any,
    y: Any,
    x_subjects: ArrayLike,
    y_subjects: ArrayLike,
    *,
    groups: int = 10,
) -> tuple[Any, float]:
    """(standard error of distance(x, y), a number or an array of several, and Student's factor of its interval).

    x and y are arrays or tensors, one row a slice. A delete-a-group jackknife over the subjects of
    each side, the two added in squares: the bootstrap repeats rows, which alone sets distances of
    distributions off.
    """
    left, g = jackknife(lambda rows: distance(x[rows], y), x_subjects, groups=groups)
    right, h = jackknife(lambda rows: distance(x, y[rows]), y_subjects, groups=groups)
    factor = student.ppf((1 + LEVEL) / 2, max(min(g, h) - 1, 1))
    return np.hypot(left, right), float(factor)


def mean_difference(
    x: ArrayLike, y: ArrayLike, x_subjects: ArrayLike, y_subjects: ArrayLike
) -> tuple[Estimate, float]:
    """(mean of x - mean of y over rows, two-sided p of none): Welch's t test with subjects as the unit.

    A mean over rows is a ratio of sums over subjects. With n_s rows of subject s that sum to t_s it
    is also the mean over subjects of m + (t_s - m n_s) / (mean of n), whose spread gives its
    standard error (Cochran 1977, section 6.3); with one row a subject this is Welch's own test.
    Interval and p are nan below FEWEST subjects.
    """
    origin = np.asarray(y, dtype=np.float64)[0]
    a, b = _linearised(x, x_subjects, origin), _linearised(y, y_subjects, origin)
    gap = float(a.mean() - b.mean())
    if min(len(a), len(b)) < FEWEST:
        return Estimate(gap, float("nan"), float("nan")), float("nan")
    squares = np.array([v.var(ddof=1) / len(v) for v in (a, b)])
    error = float(np.sqrt(squares.sum()))
    if not error:
        return Estimate(gap, gap, gap), float(gap == 0)
    freedom = squares.sum() ** 2 / (squares**2 / [len(a) - 1, len(b) - 1]).sum()
    half = student.ppf((1 + LEVEL) / 2, freedom) * error
    return Estimate(gap, gap - half, gap + half), float(2 * student.sf(abs(gap) / error, freedom))


def _linearised(values: ArrayLike, subjects: ArrayLike, origin: float) -> Array:
    """One value a subject, less `origin`, whose mean is the mean over rows."""
    rows = np.asarray(values, dtype=np.float64) - origin
    _, group = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    total, count = np.bincount(group, rows), np.bincount(group)
    mean = total.sum() / count.sum()
    return mean + (total - mean * count) / count.mean()
