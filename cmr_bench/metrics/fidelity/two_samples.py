"""Two samples of subjects, none in both: how sure a distance between them is, and whether their means differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from cmr_bench.metrics.fidelity.halves import halves
from cmr_bench.stats import FEWEST, LEVEL, Array, Estimate

SPLITS = 32


class Scale(NamedTuple):
    """Where the variance of a score falls as one over the number of subjects, whatever its mean; from 0 to `top`."""

    there: Callable[[Any], Any]
    back: Callable[[Any], Any]
    top: float

    def around(self, value: float, half: float) -> Estimate:
        """The interval of so much to both sides on this scale, in units of the score."""
        middle = self.there(value)
        low, high = self.back(np.clip([middle - half, middle + half], 0, self.top))
        return Estimate(value, float(np.minimum(low, value)), float(np.maximum(high, value)))


ROOT = Scale(np.sqrt, np.square, np.inf)
"""Of mean counts (Bartlett 1936) and of squared distances."""
ANGLE = Scale(lambda p: np.arcsin(np.sqrt(p)), lambda a: np.sin(a) ** 2, np.pi / 2)
"""Of shares: arcsin sqrt(p) (Bartlett 1947)."""


def by_halves(
    distance: Callable[[Any, Any], Any],
    x: Any,
    y: Any,
    x_subjects: ArrayLike,
    y_subjects: ArrayLike,
    *,
    splits: int = SPLITS,
    seed: int = 0,
) -> tuple[Any, float]:
    """(standard error of distance(x, y), a number or an array of several, and Student's factor of its interval).

    x and y are arrays or tensors, one row a slice. `splits` times the subjects of each side are cut by
    chance into halves A and B. d(x_A, y_A) and d(x_B, y_B) are independent, and with Var d = c / n over
    n subjects their difference has the variance 2 c / (n / 2), four times that of d(x, y): the error is
    half the standard deviation of the differences. No row is there twice, as in the bootstrap, and
    nothing that d fits is held, so it is that of covariances and of k-th neighbours too, if d is on a
    `Scale` where its variance falls so. Subjects who are all on both sides stay with themselves.

    The factor has the f degrees of freedom of the n subjects of the smaller side, less what few cuts
    cost: 1 / f = 1 / (n - 1) + 1 / splits. Both are nan below FEWEST subjects a side.
    """
    names, others = (set(np.asarray(s, dtype=str)) for s in (x_subjects, y_subjects))
    fewest = min(len(names), len(others))
    if fewest < FEWEST:
        return float("nan"), float("nan")
    cuts = zip(
        halves(x_subjects, repeats=splits, seed=seed),
        halves(y_subjects, repeats=splits, seed=seed + (names != others)),
        strict=True,
    )
    gaps = [np.subtract(distance(x[a], y[c]), distance(x[b], y[d])) for (a, b), (c, d) in cuts]
    freedom = 1 / (1 / (fewest - 1) + 1 / splits)
    return np.std(gaps, axis=0, ddof=1) / 2, float(student.ppf((1 + LEVEL) / 2, freedom))


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
