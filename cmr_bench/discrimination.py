"""How well a score tells two groups of subjects apart: area under the ROC curve, and its start."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm

from cmr_bench.seeds import numpy_rng
from cmr_bench.stats import (
    FEWEST,
    LEVEL,
    Array,
    Estimate,
    expanded_percentile,
    multiplicities,
    open_end,
)


def auc(
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    positive_subjects: ArrayLike | None = None,
    negative_subjects: ArrayLike | None = None,
    repeats: int = 2000,
    seed: int = 0,
) -> Estimate:
    """P(positive > negative) + P(tie) / 2, subjects of both groups resampled.

    Without subjects each value is one. At 0 or 1 the bootstrap has no width, so the open end comes
    from Newcombe (2006), method 5; where all values are equal it has none either, and nothing is excluded.
    """
    p, n = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    if not len(p) or not len(n):
        return Estimate(float("nan"), float("nan"), float("nan"))
    rows, columns = _membership(positive_subjects, len(p)), _membership(negative_subjects, len(n))
    won, played = rows @ wins(p, n) @ columns.T, np.outer(rows.sum(1), columns.sum(1))
    m, k = won.shape
    value = float(won.sum() / played.sum())
    if min(m, k) < FEWEST:
        return Estimate(value, float("nan"), float("nan"))
    if value in (0.0, 1.0):
        edge = _newcombe(m, k)
        return Estimate(value, edge, 1.0) if value else Estimate(value, 0.0, 1 - edge)
    if (2 * won == played).all():
        return Estimate(value, 0.0, 1.0)
    wp = multiplicities(m, repeats=repeats, seed=seed)
    wn = multiplicities(k, repeats=repeats, seed=seed + 1)
    samples = ((wp @ won) * wn).sum(1) / ((wp @ played) * wn).sum(1)
    subjects = _effective(won.sum(1) / played.sum(1), won.sum(0) / played.sum(0))
    return expanded_percentile(value, samples, subjects)


def _effective(rows: Array, columns: Array) -> float:
    """Subjects of one group whose mean is as uncertain as an AUC of m and k subjects with these means of `wins`.

    One more than the degrees of freedom of Welch (1947) for the variance var_i / m + var_j / k of DeLong et al. (1988):
    min(m, k) where one group has all of the variance, up to m + k - 1 where they share it.
    """
    parts = np.array([v.var(ddof=1) / len(v) for v in (rows, columns)])
    if not parts.any():
        return min(len(rows), len(columns))
    return float(1 + parts.sum() ** 2 / (parts**2 / [len(rows) - 1, len(columns) - 1]).sum())


def wins(positive: Array, negative: Array) -> Array:
    """(m, k) 1 where positive i is above negative j, 1/2 at a tie, else 0; its mean is the AUC."""
    return (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])


def auc_difference(gap: Array, *, repeats: int = 2000, seed: int = 0) -> tuple[Estimate, float]:
    """(difference of two AUCs, two-sided p of none), where the same m and k subjects got two scores.

    gap (m, k) holds the `wins` of the one less those of the other. The interval resamples subjects of both groups; p is that
    of DeLong, DeLong & Clarke-Pearson (1988): the difference has the variance var_i / m + var_j / k of the means of rows
    and of columns. p is 1 where the two never differ; below FEWEST subjects in a group both are nan.
    """
    m, k = gap.shape
    value = float(gap.mean()) if gap.size else float("nan")
    if min(m, k) < FEWEST:
        return Estimate(value, float("nan"), float("nan")), float("nan")
    drawn = multiplicities(m, repeats=repeats, seed=seed) @ gap
    samples = (drawn * multiplicities(k, repeats=repeats, seed=seed + 1)).sum(1) / (m * k)
    error = np.sqrt(gap.mean(1).var(ddof=1) / m + gap.mean(0).var(ddof=1) / k)
    with np.errstate(divide="ignore"):
        p = 2 * norm.sf(np.abs(value) / error) if gap.any() else 1.0
    return expanded_percentile(value, samples, _effective(gap.mean(1), gap.mean(0))), float(p)


def tpr_at_fpr(
    members: ArrayLike, others: ArrayLike, fpr: float, *, repeats: int = 2000, seed: int = 0
) -> tuple[Estimate, float]:
    """(share of members above a threshold, chance that somebody else passes it).

    The threshold is the k-th largest of n others, k = fpr (n + 1) rounded down, which a new one passes with chance
    k / (n + 1) (conformal p-value). n others support no rate below 1 / (n + 1); a lower one is raised to it. The
    threshold is drawn anew in each bootstrap sample.
    """
    a, b = np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if not len(a) or not len(b):
        return Estimate(float("nan"), float("nan"), float("nan")), float("nan")
    k = min(len(b), max(1, int(fpr * (len(b) + 1) + 1e-9)))

    def share(a: Array, b: Array) -> Array:
        threshold = -np.partition(-b, k - 1, axis=1)[:, k - 1]
        return (a > threshold[:, None]).mean(1)

    value = float(share(a[None], b[None])[0])
    rng = numpy_rng("bootstrap", seed, len(a), len(b))
    drawn_a = a[rng.integers(len(a), size=(repeats, len(a)))]
    drawn_b = b[rng.integers(len(b), size=(repeats, len(b)))]
    estimate = expanded_percentile(value, share(drawn_a, drawn_b), min(len(a), len(b)))
    return open_end(estimate, len(a)), k / (len(b) + 1)


def _membership(subjects: ArrayLike | None, n: int) -> Array:
    """(subjects, n) one where the row belongs to the subject."""
    if subjects is None:
        return np.eye(n)
    _, group = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    return (np.arange(group.max() + 1)[:, None] == group[None, :]).astype(np.float64)


def _newcombe(m: int, n: int) -> float:
    """Lower bound of a perfect AUC of m against n subjects."""
    half, z = (m + n) / 2, norm.ppf((1 + LEVEL) / 2)

    def excess(theta: float) -> float:
        spread = 1 + (half - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return 1 - theta - z * np.sqrt(theta * (1 - theta) * spread / (m * n))

    return float(brentq(excess, 1e-9, 1 - 1e-12))
