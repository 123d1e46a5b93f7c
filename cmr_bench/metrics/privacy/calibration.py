"""Thresholds from held-out subjects, and how sure the share is that passes them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from cmr_bench.seeds import numpy_rng
from cmr_bench.stats import Array, Estimate, expanded_percentile, proportion


def fewest(fpr: float) -> int:
    """How many held-out values support a false-positive rate: below 1 / (n + 1) there is none."""
    return math.ceil(1 / fpr - 1e-9) - 1


def supported(fpr: float, subjects: int) -> float:
    """The lowest false-positive rate from `fpr` on that so many held-out subjects support: none is below 1 / (n + 1)."""
    return max(fpr, 1 / (subjects + 1))


def threshold(
    held_out: ArrayLike, fpr: float, people: ArrayLike | None = None
) -> tuple[float, float]:
    """(t, rate): a value below t is a finding; a new held-out value is so called at most at rate.

    The rate of t is (W + w) / (n + w): each of n held-out subjects weighs one, shared among its values
    (`people` has the subject of each; without it each value is one), W is the weight below t and w the
    mean weight of a value. With one value a subject t is the k-th smallest and its rate k / (n + 1), the
    conformal p-value. The rate asked for is raised to what is `supported`; that of t is handed back.
    """
    values, weights, _, names = _ranked(held_out, people)
    rates = _rates(weights, names)
    at = _last(rates, supported(fpr, names))
    return float(values[at]), float(rates[at])


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
    limit, _ = threshold(held_out, fpr, people)
    exact = proportion(int((values < limit).sum()), len(values))
    own, _, group, names = _ranked(values, subjects)
    rng = numpy_rng("share below", seed, names)
    samples = np.empty(repeats)
    for repeat, at in enumerate(thresholds(held_out, people, fpr, repeats=repeats, seed=seed)):
        weight = _drawn(rng, names)[group]
        samples[repeat] = weight[: np.searchsorted(own, at)].sum() / weight.sum()
    found = expanded_percentile(exact.value, samples, min(names, len(np.unique(people))))
    return Estimate(exact.value, min(exact.low, found.low), max(exact.high, found.high))


def thresholds(
    held_out: ArrayLike, people: ArrayLike, fpr: float, *, repeats: int, seed: int
) -> Iterator[float]:
    """The `threshold` as other held-out subjects might have given it: resampled with all of their values."""
    values, weights, group, names = _ranked(held_out, people)
    rng, rate = numpy_rng("thresholds", seed, names), supported(fpr, names)
    for _ in range(repeats):
        yield float(values[_last(_rates(weights * _drawn(rng, names)[group], names), rate)])


def _rates(weights: Array, subjects: int) -> Array:
    """The false-positive rate of each value in order as a threshold."""
    usual = subjects / len(weights)
    return (weights.cumsum() - weights + usual) / (subjects + usual)


def _last(rates: Array, most: float) -> int:
    return max(int(np.searchsorted(rates, most + 1e-9, side="right")) - 1, 0)


def _ranked(values: ArrayLike, subjects: ArrayLike | None) -> tuple[Array, Array, np.ndarray, int]:
    """(values in order, weight of each, number of each one's subject, subjects); a subject weighs one."""
    values = np.asarray(values, dtype=np.float64)
    who = np.arange(len(values)) if subjects is None else np.asarray(subjects, dtype=str)
    names, group = np.unique(who, return_inverse=True)
    order = np.argsort(values, kind="stable")
    return values[order], (1 / np.bincount(group))[group][order], group[order], len(names)


def _drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n,) how often each of n subjects is drawn."""
    return np.bincount(rng.integers(n, size=n), minlength=n)
