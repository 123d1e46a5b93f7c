"""Worth in real patients: by hand on known curves, censored at the ends, honest in its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.isotonic import IsotonicRegression

from cmr_bench.metrics.utility.worth import equivalent, monotone, worth

COUNTS = [4, 8, 16, 32]


def test_monotone_is_isotonic_regression():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 6)) + np.linspace(0, 2, 6)
    expected = [IsotonicRegression().fit_transform(range(6), row) for row in rows]
    np.testing.assert_allclose(monotone(rows), expected, atol=1e-12)


def test_equivalent_by_hand():
    curve = np.array([[0.5, 0.6, 0.7, 0.8]] * 6)
    target = np.array([0.5, 0.6, 0.65, 0.8, 0.4, 0.9])
    expected = [4, 8, np.sqrt(8 * 16), 32, 0, np.inf]
    np.testing.assert_allclose(equivalent(COUNTS, curve, target), expected)


def test_a_flat_curve_is_reached_at_its_beginning():
    assert equivalent(COUNTS, np.array([[0.5, 0.6, 0.6, 0.8]]), np.array([0.6]))[
        0
    ] == pytest.approx(8)


def table(rng, subjects=30, noise=0.01):
    """Dice (4, 1, n) of one fit on a curve that rises by 0.1 with each doubling."""
    level = rng.normal(0, 0.05, subjects)
    steps = 0.1 * np.arange(4)[:, None, None]
    return 0.5 + level + steps + noise * rng.normal(size=(4, 1, subjects))


def test_worth_of_an_arm_on_the_curve():
    curve = table(np.random.default_rng(0))
    found = worth(COUNTS, curve, curve[2])
    assert found.patients.value == pytest.approx(16)
    assert found.patients.low == pytest.approx(16) == pytest.approx(found.patients.high)
    assert (found.above, found.below) == (0, 0)
    assert found.fits == pytest.approx([16])
    added = worth(COUNTS, curve, curve[2], base=4)
    assert tuple(added.patients) == pytest.approx((12, 12, 12))


def test_interval_holds_the_truth_as_often_as_it_says():
    inside = 0
    for run in range(200):
        rng = np.random.default_rng(run)
        curve = table(rng, subjects=20, noise=0.05)
        target = curve.mean(axis=0) + 0.05 * rng.normal(size=(1, 20))  # halfway between 8 and 16
        _, low, high = worth(COUNTS, curve, target, repeats=400, seed=run).patients
        inside += low <= np.sqrt(8 * 16) <= high
    assert 0.9 <= inside / 200 <= 0.99


def test_ends_of_the_curve_are_limits_not_values():
    curve = table(np.random.default_rng(0))
    best = worth(COUNTS, curve, curve[3] + 0.2)
    assert tuple(best.patients) == (32, 32, 32)
    assert (best.above, best.below) == (1, 0)
    worst = worth(COUNTS, curve, curve[0] - 0.2)
    assert tuple(worst.patients) == (4, 0, 4)  # between none and the first point
    assert (worst.above, worst.below) == (0, 1)


def test_fits_that_disagree_widen_the_interval():
    """Three fits a doubling apart: t(2) 0.05 / sqrt(3) = 0.124 Dice or 1.24 doublings on either side."""
    rng = np.random.default_rng(0)
    curve = np.repeat(table(rng, noise=0.005), 3, axis=1)
    alike, apart = (curve[1] + 0.05 + np.array(by)[:, None] for by in ([0, 0, 0], [-0.05, 0, 0.05]))
    sure, unsure = (worth(COUNTS, curve, target) for target in (alike, apart))
    assert sure.patients.value == pytest.approx(np.sqrt(8 * 16), rel=0.02) == unsure.patients.value
    assert sure.fits == pytest.approx([sure.patients.value] * 3)
    assert unsure.fits == pytest.approx([8, np.sqrt(8 * 16), 16], rel=0.02)
    half = 2 ** (student.ppf(0.975, 2) / 2 / np.sqrt(3))
    middle = np.sqrt(8 * 16)
    assert unsure.patients[1:] == pytest.approx((middle / half, middle * half), rel=0.1)
    assert 11 < sure.patients.low < sure.patients.high < 12
