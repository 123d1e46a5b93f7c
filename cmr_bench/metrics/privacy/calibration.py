"""Thresholds from held-out subjects, and how sure the share is that passes them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from cmr_bench.seeds import numpy_rng
from cmr_bench.stats import Array, Estimate, expanded_percentile, proportion


def fewest(fpr: float) -> int:
    """How many held-out subjects support a false-positive rate: below 1 / (n + 1) there is none."""
    return math.ceil(1 / fpr - 1e-9) - 1


def threshold(held_out: ArrayLike, people: ArrayLike, fpr: float) -> tuple[float, float]:
    """(t, rate): a value below t is a finding; a new subject's value is so called at most at rate.

    rate = k / (n + 1), k = fpr (n + 1) rounded down: n subjects support none below 1 / (n + 1),
    however many values they have; a lower one is raised to it, and the rate is handed back. Each
    subject has one vote, shared among its values, and t is the value at which the votes reach
    `_votes`. Of one value each, or of equal ones, it is the k-th smallest (conformal p-value).
    """
    values, group, n = _sorted(np.asarray(held_out, dtype=np.float64), people)
    at = _place(_shares(group, n).cumsum(), _votes(n, fpr))
    return float(values[at]), _rank(n, fpr) / (n + 1)


def share_below(
    values: Array,
    subjects: ArrayLike,
    held_out: Array,
    people: ArrayLike,
    fpr: float,
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Share of values below the `threshold` of the held-out ones.

    Few subjects, with slices that are alike, leave the threshold itself uncertain: the interval
    resamples the subjects of both sides and draws the threshold anew in each sample. It is never
    narrower than the exact one of as many independent values under a known threshold.
    """
    limit, _ = threshold(held_out, people, fpr)
    exact = proportion(int((values < limit).sum()), len(values))
    own, own_group, own_names = _sorted(values, subjects)
    real, real_group, real_names = _sorted(held_out, people)
    share, votes = _shares(real_group, real_names), _votes(real_names, fpr)
    rng = numpy_rng("share below", seed, own_names, real_names)
    samples = np.empty(repeats)
    for repeat in range(repeats):
        at = _place((share * _drawn(rng, real_names)[real_group]).cumsum(), votes)
        weight = _drawn(rng, own_names)[own_group]
        samples[repeat] = weight[: np.searchsorted(own, real[at])].sum() / weight.sum()
    found = expanded_percentile(exact.value, samples, min(own_names, real_names))
    return Estimate(exact.value, min(exact.low, found.low), max(exact.high, found.high))


def _rank(n: int, fpr: float) -> int:
    return min(n, max(1, int(fpr * (n + 1) + 1e-9)))


def _votes(n: int, fpr: float) -> float:
    """(k - 1/3) n / (n + 1): the share of all values below which half of all draws of one value a subject have their k-th smallest.

    That is for values with nothing in common, where the k-th of n points has its median near
    (k - 1/3) / (n + 1). Where those of a subject are alike the votes come in lumps, and it is the
    k-th lump. The plain quantile k / (n + 1) would be passed too often in between.
    """
    return (_rank(n, fpr) - 1 / 3) * n / (n + 1)


def _shares(group: np.ndarray, n: int) -> Array:
    """Share of each value in the vote of its subject."""
    return 1 / np.bincount(group, minlength=n)[group]


def _place(votes: Array, wanted: float) -> int:
    """Row at which the cumulated votes reach as many."""
    return int(np.searchsorted(votes, wanted - 1e-9))


def _sorted(values: Array, subjects: ArrayLike) -> tuple[Array, np.ndarray, int]:
    """(values in order, number of each one's subject, subjects)."""
    names, group = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    order = np.argsort(values, kind="stable")
    return values[order], group[order], len(names)


def _drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n,) how often each of n subjects is drawn."""
    return np.bincount(rng.integers(n, size=n), minlength=n)
