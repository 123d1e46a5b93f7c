"""Standard errors out of disjoint halves of the subjects, and intervals where their variance falls as one over n."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from cmr_bench.metrics.fidelity.frechet import frechet_distance
from cmr_bench.metrics.fidelity.prdc import SCALES, prdc
from cmr_bench.metrics.fidelity.two_samples import ANGLE, ROOT, by_halves
from cmr_bench.stats import Estimate


def gap(a, b):
    return float(a.mean() - b.mean())


def error_of_means(x, y):
    return np.sqrt(x.var(ddof=1) / len(x) + y.var(ddof=1) / len(y))


@pytest.mark.parametrize(("n", "m"), [(40, 10), (14, 14), (15, 49), (7, 5)])
def test_the_error_of_a_mean_is_the_analytical_one(n, m):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=n), 2 * rng.normal(size=m)
    error, factor = by_halves(gap, x, y, np.arange(n), [f"y{i}" for i in range(m)], splits=4000)
    assert error == pytest.approx(error_of_means(x, y), rel=0.04)
    fewest = min(n, m)
    freedom = 1 / (1 / (fewest - 1) + 1 / 4000)
    assert factor == pytest.approx(student.ppf(0.975, freedom))


def test_slices_of_one_subject_are_no_evidence():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=20), rng.normal(size=14)
    names, others = np.arange(20).astype(str), np.array([f"y{i}" for i in range(14)])
    single = by_halves(gap, x, y, names, others)
    repeated = by_halves(gap, x.repeat(5), y, names.repeat(5), others)
    assert repeated == pytest.approx(single)


def test_neither_rows_nor_names_decide():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=60), rng.normal(size=45)
    xs, ys = np.repeat(np.arange(20), 3).astype(str), np.array([f"y{i // 3}" for i in range(45)])
    expected = by_halves(gap, x, y, xs, ys)
    order, other = rng.permutation(60), rng.permutation(45)
    assert by_halves(gap, x[order], y[other], xs[order], ys[other]) == pytest.approx(expected)
    renamed = np.array([f"{-int(s) % 20:02d}" for s in xs])
    many = [by_halves(gap, x, y, names, ys, splits=3000)[0] for names in (xs, renamed)]
    assert many[0] == pytest.approx(many[1], rel=0.05)


def test_pairs_of_the_same_subjects_stay_together():
    """Two images of each subject, alike: their difference is as sure as that of pairs."""
    rng = np.random.default_rng(3)
    level = 10 * rng.normal(size=30)
    x, y = level + rng.normal(size=30), level + rng.normal(size=30)
    error, _ = by_halves(gap, x, y, np.arange(30), np.arange(30), splits=2000)
    assert error == pytest.approx((x - y).std(ddof=1) / 30**0.5, rel=0.05)


def test_several_distances_share_their_halves_and_few_subjects_have_none():
    x, y = np.random.default_rng(4).normal(size=(2, 12))
    names, others = np.arange(12), np.arange(12, 24)
    alone, _ = by_halves(gap, x, y, names, others)
    both, _ = by_halves(lambda a, b: [gap(a, b), 3 * gap(a, b)], x, y, names, others)
    assert both == pytest.approx([alone, 3 * alone])
    nothing = by_halves(gap, x, y, names, others // 12)
    assert nothing == pytest.approx((np.nan, np.nan), nan_ok=True)


@pytest.mark.parametrize("scale", [ROOT, ANGLE])
def test_intervals_on_a_scale_end_where_the_score_does(scale):
    for value in (0.0, 0.01, 0.5, 0.99, 1.0):
        found = scale.around(value, 0.3)
        assert 0 <= found.low <= value <= found.high <= scale.back(scale.top)
        assert scale.around(value, 0.0) == pytest.approx((value,) * 3)
    assert scale.around(0.5, 0.1).high == pytest.approx(scale.back(scale.there(0.5) + 0.1))
    unknown = Estimate(0.5, float("nan"), float("nan"))
    assert scale.around(0.5, float("nan")) == pytest.approx(unknown, nan_ok=True)


def side(rng, subjects, shift):
    """Eight slices a subject, half of the variance shared, eight dimensions."""
    names = np.arange(subjects).repeat(8)
    x = rng.normal(size=(subjects, 8))[names] + rng.normal(size=(len(names), 8))
    return torch.as_tensor(x / 2**0.5 + shift)


def scores(x, y):
    return [frechet_distance(x, y), *(float(values.mean()) for values in prdc(y, x))]


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_variances_fall_as_one_over_n_on_their_scales(shift):
    """Those of FID as they are by a factor of two where there is a difference and of four where there is none."""
    rng = np.random.default_rng(5)
    large, small = (
        np.array([scores(side(rng, n, shift), side(rng, n, 0.0)) for _ in range(400)])
        for n in (28, 14)
    )
    scales = (ROOT, *SCALES.values())
    falls = [
        scale.there(few).var() / scale.there(many).var()
        for scale, few, many in zip(scales, small.T, large.T, strict=True)
    ]
    assert all(1.4 < fall < 2.7 for fall in falls), falls
    assert (small[:, 0].var() / large[:, 0].var() > 3) == (shift == 0)
