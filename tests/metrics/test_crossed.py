"""Fits and subjects drawn together: by hand where one of them says everything, and as often right as is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from cmr_bench.metrics.utility.crossed import draws, error, estimate, p_of_none
from cmr_bench.stats import reweighted


def mean(means):
    return means[:, 0]


def test_without_variance_over_fits_it_is_the_bootstrap_over_subjects():
    gap = np.random.default_rng(0).normal(0.01, 0.03, 14)
    before = reweighted(lambda w: w @ gap / 14, 14, seed=3)
    p = ttest_1samp(gap, 0).pvalue
    for fits in (1, 3):
        cells = np.tile(gap, (fits, 1))
        assert estimate(mean, cells[None], cells, seed=3) == pytest.approx(before)
        assert error(cells).variance == pytest.approx(gap.var(ddof=1) / 14)
        assert p_of_none(cells) == pytest.approx(p)


@pytest.mark.parametrize("fits", [2, 3, 5])
def test_without_variance_over_subjects_it_is_the_t_interval_of_the_fits(fits):
    each = np.random.default_rng(1).normal(0.01, 0.03, fits)
    cells = np.tile(each[:, None], (1, 40))
    found = error(cells)
    assert found.variance == pytest.approx(each.var(ddof=1) / fits)
    assert found.freedom == pytest.approx(fits - 1)
    value, low, high = estimate(mean, cells[None], cells, repeats=40000)
    half = student.ppf(0.975, fits - 1) * each.std(ddof=1) / np.sqrt(fits)
    assert value == pytest.approx(each.mean())
    assert (value - low, high - value) == pytest.approx((half, half), rel=0.05)
    assert p_of_none(cells) == pytest.approx(ttest_1samp(each, 0).pvalue)


def test_the_variance_of_the_mean_is_neither_counted_twice_nor_lost():
    """Y = a_k + b_i + e_ki with standard deviations 2, 3 and 4: 4/5 + 9/12 + 16/60."""
    rng = np.random.default_rng(2)
    found = [
        error(2 * rng.normal(size=(5, 1)) + 3 * rng.normal(size=12) + 4 * rng.normal(size=(5, 12)))
        for _ in range(4000)
    ]
    assert np.mean([one.variance for one in found]) == pytest.approx(
        4 / 5 + 9 / 12 + 16 / 60, rel=0.04
    )


@pytest.mark.parametrize("spread", [0.01, 0.03])
def test_intervals_hold_the_truth_where_fits_vary(spread):
    inside = inside_one = 0
    for run in range(300):
        rng = np.random.default_rng(run)
        cells = 0.03 * rng.normal(size=14) + spread * rng.normal(size=(3, 1))
        cells = cells + 0.02 * rng.normal(size=(3, 14))
        _, low, high = estimate(mean, cells[None], cells, repeats=400, seed=run)
        inside += low <= 0 <= high
        _, low, high = estimate(mean, cells[None, :1], cells[:1], repeats=400, seed=run)
        inside_one += low <= 0 <= high
    assert 0.9 <= inside / 300 <= 0.98
    assert inside_one / 300 < 0.9  # one fit cannot know


def test_no_difference_and_too_few_subjects():
    assert p_of_none(np.zeros((3, 10))) == 1
    assert np.isnan(p_of_none(np.ones((3, 2))))
    _, low, high = estimate(mean, np.ones((1, 3, 2)), np.ones((3, 2)))
    assert np.isnan([low, high]).all()


def test_one_fit_is_the_paired_t_test():
    """p is uniform under no difference, and but for its near neighbourhood below 0.05 where the interval leaves 0 out."""
    rng = np.random.default_rng(1)
    p = [p_of_none(rng.normal(size=(1, 15))) for _ in range(400)]
    assert 0.03 <= np.mean(np.array(p) < 0.05) <= 0.08
    for shift in np.linspace(0, 1, 11):
        gap = rng.normal(shift, 1, (1, 20))
        _, low, high = estimate(mean, gap[None], gap)
        assert p_of_none(gap) == pytest.approx(ttest_1samp(gap[0], 0).pvalue)
        assert (p_of_none(gap) < 0.05) == (not low <= 0 <= high) or abs(p_of_none(gap) - 0.05) < 0.003  # fmt: skip
    zero = np.zeros((1, 15))
    assert (p_of_none(zero), p_of_none(zero + 1)) == (1, 0) and np.isnan(p_of_none(zero[:, :2]))


def test_one_subject_has_no_interval_however_many_fits():
    cells = np.array([[0.7], [0.8]])
    assert np.isnan(estimate(mean, cells[None], cells)[1:]).all()
    assert np.isfinite(draws(cells[None], cells, repeats=5)).all()
