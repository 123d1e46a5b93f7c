"""How many real patients is a synthetic set worth? Read off the learning curve of real subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cmr_bench.metrics.utility.crossed import draws
from cmr_bench.stats import Array, Estimate, expanded_percentile


class Worth(NamedTuple):
    """Real patients with an interval, the shares of its samples beyond either end of the curve, and what each fit gives."""

    patients: Estimate
    above: float
    below: float
    fits: Array


def monotone(values: Array) -> Array:
    """The non-decreasing rows nearest to (R, m) rows in least squares.

    max over i <= k of min over j >= k of the mean of i..j (Robertson, Wright & Dykstra 1988, 1.4).
    """
    sums = np.pad(np.cumsum(values, axis=1), [(0, 0), (1, 0)])
    m = values.shape[1]
    mean = np.full((len(values), m, m), np.inf)
    for i in range(m):
        mean[:, i, i:] = (sums[:, i + 1 :] - sums[:, [i]]) / np.arange(1, m - i + 1)
    smallest = np.minimum.accumulate(mean[:, :, ::-1], axis=2)[:, :, ::-1]
    reachable = np.where(np.tri(m).T, smallest, -np.inf)  # i <= k
    return reachable.max(axis=1)


def equivalent(counts: Sequence[int], curve: Array, target: Array) -> Array:
    """(R,) number of real subjects at which each monotone curve (R, m) reaches its target (R,).

    Linear in the logarithm of the number between the points of the curve; 0 below its first point
    and inf beyond its last.
    """
    steps = np.log(counts)
    reached = curve >= target[:, None]
    k = reached.argmax(axis=1)
    row = np.arange(len(curve))
    before = np.maximum(k - 1, 0)
    rise = curve[row, k] - curve[row, before]
    share = (target - curve[row, before]) / np.where(rise > 0, rise, 1)
    between = np.exp(steps[before] + share * (steps[k] - steps[before]))
    first = np.where(target == curve[:, 0], counts[0], 0.0)
    return np.where(reached.any(axis=1), np.where(k == 0, first, between), np.inf)


def worth(
    counts: Sequence[int],
    curve: Array,
    target: Array,
    *,
    base: int = 0,
    repeats: int = 2000,
    seed: int = 0,
) -> Worth:
    """Real patients that have to be added to `base` ones to do as well as an arm does.

    `curve` (m, K, n) has the Dice of K fits on n test subjects after training on counts[k] real ones, `target` (K, n) that of
    the arm. Fits and test subjects are drawn anew (`crossed.draws`, by the error of the arm less the curve at the same
    place), and the curve is made monotone anew in each sample. Where the arm leaves the curve, nothing is made up: past its
    end the number of all real subjects stands, to be read as "or more", and before its first point a value is held to
    that point and a lower limit to 0.
    """

    def found(means: Array) -> Array:
        return equivalent(counts, monotone(means[:, :-1]), means[:, -1])

    arms, n = np.concatenate([curve, target[None]]), target.shape[1]
    value = held(found(arms.mean(axis=(1, 2))[None]), counts)[0]
    beside = [np.interp(np.log(value), np.log(counts), one) for one in np.eye(len(counts))]
    contrast = target - np.tensordot(beside, curve, axes=1)
    samples = found(draws(arms, contrast, repeats=repeats, seed=seed))
    low = expanded_percentile(value, np.minimum(samples, counts[-1]), n).low
    high = expanded_percentile(value, held(samples, counts), n).high
    return Worth(
        Estimate(float(value - base), low - base, high - base),
        above=float(np.isinf(samples).mean()),
        below=float((samples == 0).mean()),
        fits=held(found(arms.mean(axis=2).T), counts) - base,
    )


def held(patients: Array, counts: Sequence[int]) -> Array:
    """Values beyond the curve held to its ends."""
    return np.clip(patients, counts[0], counts[-1])
