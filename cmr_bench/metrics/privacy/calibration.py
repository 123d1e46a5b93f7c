"""Thresholds from held-out subjects, and how sure the share is that passes them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from cmr_bench.seeds import numpy_rng
from cmr_bench.stats import Array, Estimate, expanded_percentile, proportion


def fewest(fpr: float) -> int:
    """How many held-out values support a false-positive rate: below 1 / (n + 1) there is none."""
    return math.ceil(1 / fpr - 1e-9) - 1


def threshold(held_out: ArrayLike, fpr: float) -> tuple[float, float]:
    """(t, rate): a value below t is a finding; a new held-out value is so called at most at rate.

    t is the k-th smallest of n held-out values, k = fpr (n + 1) rounded down (conformal p-value). n
    values support no rate below 1 / (n + 1); a lower one is raised to it, and the rate is handed
    back.
    """
    values = np.sort(np.asarray(held_out, dtype=np.float64))
    k = _place(len(values), fpr)
    return float(values[k - 1]), k / (len(values) + 1)


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
    limit, _ = threshold(held_out, fpr)
    exact = proportion(int((values < limit).sum()), len(values))
    own, own_group, own_names = _sorted(values, subjects)
    real, real_group, real_names = _sorted(held_out, people)
    rng = numpy_rng("share below", seed, own_names, real_names)
    samples = np.empty(repeats)
    for repeat in range(repeats):
        times = _drawn(rng, real_names)[real_group].cumsum()
        at = np.searchsorted(times, _place(times[-1], fpr))
        weight = _drawn(rng, own_names)[own_group]
        samples[repeat] = weight[: np.searchsorted(own, real[at])].sum() / weight.sum()
    found = expanded_percentile(exact.value, samples, min(own_names, real_names))
    return Estimate(exact.value, min(exact.low, found.low), max(exact.high, found.high))


def _place(n: int, fpr: float) -> int:
    return min(n, max(1, int(fpr * (n + 1) + 1e-9)))


def _sorted(values: Array, subjects: ArrayLike) -> tuple[Array, np.ndarray, int]:
    """(values in order, number of each one's subject, subjects)."""
    names, group = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    order = np.argsort(values, kind="stable")
    return values[order], group[order], len(names)


def _drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n,) how often each of n subjects is drawn."""
    return np.bincount(rng.integers(n, size=n), minlength=n)
