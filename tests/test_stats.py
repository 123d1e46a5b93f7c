"""Laws of the intervals: closed forms, coverage by simulation, honesty at few subjects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from cmr_bench import discrimination, stats


def cohort(rng, subjects, slices=6, correlation=0.5):
    """Values of slices that share a subject's level; their mean is 0."""
    level = rng.normal(size=subjects).repeat(slices) * np.sqrt(correlation)
    values = level + rng.normal(size=subjects * slices) * np.sqrt(1 - correlation)
    return values, np.arange(subjects).repeat(slices)


DICE = 6 / 7


def dice_like(rng, subjects, slices=6, correlation=0.5):
    """Slices whose Dice is Beta(6, 1), mean 6/7, correlated within a subject by a Gaussian copula."""
    values, names = cohort(rng, subjects, slices, correlation)
    return norm.cdf(values) ** (1 / 6), names


@pytest.mark.parametrize("subjects", [8, 15, 40])
def test_interval_of_correlated_slices_covers_the_mean(subjects):
    rng = np.random.default_rng(subjects)
    inside = 0
    for run in range(400):
        values, names = cohort(rng, subjects)
        _, low, high = stats.interval(values, names, repeats=600, seed=run)
        inside += low <= 0 <= high
    assert 0.92 <= inside / 400 <= 0.98


def test_slices_as_units_would_not_cover():
    rng = np.random.default_rng(0)
    inside = 0
    for run in range(200):
        values, _ = cohort(rng, 15)
        _, low, high = stats.interval(values, np.arange(len(values)), repeats=300, seed=run)
        inside += low <= 0 <= high
    assert inside / 200 < 0.8


def test_each_subject_counts_once():
    value, low, high = stats.interval([1, 1, 1, 1, 0, 0.5], list("aaaabc"))
    assert value == pytest.approx(0.5)
    assert low < 0.5 < high


def test_too_few_subjects_give_a_value_without_interval():
    value, low, high = stats.interval([0.2, 0.4], ["a", "b"])
    assert value == pytest.approx(0.3)
    assert np.isnan(low)
    assert np.isnan(high)
    assert np.isnan(stats.interval([], []).value)
    assert np.isnan(stats.interval([np.nan], ["a"]).value)


def test_unmeasured_values_leave_a_subject_out():
    assert stats.interval([1, np.nan, 0, np.nan], list("aabc")).value == pytest.approx(0.5)


def test_general_and_vectorised_bootstrap_agree():
    values, names = cohort(np.random.default_rng(3), 20)
    fast = stats.interval(values, names, seed=5)
    slow = stats.bootstrap(
        lambda rows: values[rows].mean(), names, seed=5
    )  # equal slices: same mean
    assert tuple(slow) == pytest.approx(tuple(fast))


def test_order_of_rows_does_not_matter():
    values, names = cohort(np.random.default_rng(3), 12)
    order = np.random.default_rng(0).permutation(len(values))
    expected = tuple(stats.interval(values, names))
    assert tuple(stats.interval(values[order], names[order])) == pytest.approx(expected)


def test_holm_by_hand():
    assert stats.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert stats.holm([0.9, 0.8]) == pytest.approx([1, 1])
    found = stats.holm([0.01, np.nan, 0.2])
    assert found[[0, 2]] == pytest.approx([0.02, 0.2])
    assert np.isnan(found[1])
    assert len(stats.holm([])) == 0


@pytest.mark.parametrize("subjects", [15, 30, 60])
def test_interval_of_dice_covers_its_mean(subjects):
    """Skewed to the left and bounded, as Dice is; 2,000 repetitions stand in tests/bench."""
    rng = np.random.default_rng(subjects)
    inside = 0
    for run in range(400):
        values, names = dice_like(rng, subjects)
        _, low, high = stats.interval(values, names, repeats=600, seed=run)
        inside += low <= DICE <= high
    assert 0.91 <= inside / 400 <= 0.98


def test_ratio_of_proportional_pairs_is_exact():
    values, names = cohort(np.random.default_rng(2), 10)
    means = stats.subject_means(values + 5, names)
    assert tuple(stats.ratio(0.9 * means, means)) == pytest.approx((0.9, 0.9, 0.9))


def test_pairs_need_both_sides():
    a = stats.subject_means([1, 2, 3, 4], list("abcd"))
    b = stats.subject_means([2, 2, 2, np.nan], list("abcd"))
    assert stats.ratio(a, b).value == pytest.approx(1.0)


def test_clopper_pearson_closed_forms():
    value, low, high = stats.proportion(0, 20)
    assert (value, low) == (0, 0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 20))
    value, low, high = stats.proportion(20, 20)
    assert (value, high) == (1, 1)
    assert low == pytest.approx(0.025 ** (1 / 20))
    assert np.isnan(stats.proportion(0, 0).value)


def test_auc_is_mann_whitney_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 30) + 1, rng.integers(0, 6, 20)
    expected = mannwhitneyu(a, b).statistic / 600
    value, low, high = discrimination.auc(a, b)
    assert value == pytest.approx(expected)
    assert low < value < high


def test_auc_of_no_signal_covers_one_half():
    rng = np.random.default_rng(0)
    inside = 0
    for run in range(300):
        a, names_a = cohort(rng, 15, slices=4)
        b, names_b = cohort(rng, 12, slices=4)
        _, low, high = discrimination.auc(
            a, b, positive_subjects=names_a, negative_subjects=names_b, repeats=400, seed=run
        )
        inside += low <= 0.5 <= high
    assert 0.91 <= inside / 300 <= 0.985


def test_perfect_auc_is_not_certain():
    few, many = (discrimination.auc(np.arange(n) + 100, np.arange(n)) for n in (5, 50))
    assert few.value == few.high == many.value == 1.0
    assert few.low < many.low < 1.0
    assert discrimination.auc(np.arange(5), np.arange(5) + 100)[:2] == (0.0, 0.0)
    assert np.isnan(discrimination.auc([2, 3], [0, 1, 1]).low)


def test_an_auc_of_equal_values_excludes_nothing():
    assert discrimination.auc(np.ones(8), np.ones(12)) == (0.5, 0.0, 1.0)
    who = np.arange(8).repeat(2)
    assert discrimination.auc(np.ones(16), np.ones(4), positive_subjects=who) == (0.5, 0.0, 1.0)


def test_tpr_names_the_rate_that_n_supports():
    others, members = np.arange(20.0), np.array([18.5, 19.5, 30, 31, 5])
    estimate, rate = discrimination.tpr_at_fpr(members, others, 0.001)
    assert rate == pytest.approx(1 / 21)
    assert estimate.value == pytest.approx(3 / 5)  # above 19, the highest of the others
    estimate, rate = discrimination.tpr_at_fpr(members, others, 0.1)
    assert rate == pytest.approx(2 / 21) and estimate.value == pytest.approx(4 / 5)


@pytest.mark.parametrize(("n", "fpr"), [(10, 0.01), (21, 0.01), (40, 0.1)])
def test_guessing_gets_the_rate_that_is_named(n, fpr):
    rng = np.random.default_rng(0)
    found = [
        discrimination.tpr_at_fpr(rng.normal(size=30), rng.normal(size=n), fpr, repeats=2)
        for _ in range(1500)
    ]
    assert np.mean([e.value for e, _ in found]) == pytest.approx(found[0][1], abs=0.01)


def test_a_share_of_all_or_none_is_not_certain():
    assert stats.open_end(stats.Estimate(1.0, 1.0, 1.0), 8) == stats.proportion(8, 8)
    assert stats.open_end(stats.Estimate(0.0, 0.0, 0.0), 14).high == pytest.approx(0.232, abs=1e-3)
    found = stats.Estimate(0.5, 0.2, 0.8)
    assert stats.open_end(found, 8) is found
    unknown = stats.Estimate(0.0, float("nan"), float("nan"))
    assert stats.open_end(unknown, 2) is unknown
