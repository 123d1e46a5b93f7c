"""Anatomy of drawn shapes, and their distributions compared with subjects as the unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from scipy.stats import ttest_ind, wasserstein_distance

from cmr_bench.metrics.fidelity.anatomy import SHAPES, perimeter, shape, touching, volumes
from cmr_bench.metrics.fidelity.masks import MaskAnatomy, apart
from cmr_bench.metrics.fidelity.two_samples import mean_difference

Y, X = np.mgrid[:96, :96] - 48.0
FAR = np.hypot(X, Y)
LINE = np.pi / 2 * (1 + 0.5**0.5)
"""Pixels by which a perimeter is off where one line more or less crosses in each direction."""


def around(side):
    """Perimeter of a square of so many pixels: `side` rows and columns, 2 side - 1 diagonals each way."""
    return np.pi / 8 * (4 * side + 4 * (2 * side - 1) / 2**0.5)


def squares(cavity, whole):
    """A square cavity in a square ring, centred."""
    mask = np.zeros((40, 40), dtype=int)
    for side, k in ((whole, 2), (cavity, 1)):
        at = slice(20 - side // 2, 20 - side // 2 + side)
        mask[at, at] = k
    return mask


@pytest.mark.parametrize("radius", [8, 15.5, 30])
def test_a_disc_is_as_long_around_as_it_must_be(radius):
    disc = radius > FAR
    assert perimeter(disc, 1.5) == pytest.approx(2 * np.pi * radius * 1.5, abs=1.5 * LINE)
    found = shape(np.where(disc, 1, 0), 1.5)
    assert found["area_lv"] == pytest.approx(disc.sum() * 1.5**2 / 100)
    assert found["roundness_lv"] == pytest.approx(
        4 * np.pi * disc.sum() / perimeter(disc, 1.0) ** 2
    )
    assert found["ring_closure"] == 0 and found["pieces"] == 1 and found["structures"] == 1
    assert np.isnan(found["wall_thickness"]) and np.isnan(found["area_myo"])


def test_an_ellipse_has_the_perimeter_of_its_four_widths():
    a, b = 30.0, 12.0
    four = np.pi / 2 * (a + b + np.sqrt(2 * (a**2 + b**2)))
    assert perimeter(np.hypot(X / a, Y / b) < 1, 2.0) == pytest.approx(2 * four, abs=2 * LINE)
    ramanujan = np.pi * (3 * (a + b) - np.sqrt((3 * a + b) * (a + 3 * b)))
    assert four == pytest.approx(ramanujan, rel=0.003)


def test_squares_are_counted_exactly():
    mask = squares(10, 16)
    assert perimeter(mask > 0, 1.0) == pytest.approx(around(16))
    assert around(1000) == pytest.approx(4000 * 0.948, rel=0.001)
    found = shape(mask, 2.0)
    assert found["area_lv"] == pytest.approx(4.0) and found["area_myo"] == pytest.approx(6.24)
    assert found["roundness_lv"] == pytest.approx(4 * np.pi * 100 / around(10) ** 2)
    mean = (around(10) + around(16)) / 2
    assert found["wall_thickness"] == pytest.approx(2.0 * 156 / mean)
    assert found["ring_closure"] == 1


def test_an_open_ring_closes_the_faces_that_it_touches():
    mask = squares(10, 16)
    mask[(mask == 2) & (np.arange(40) < 15)] = 0  # all that is left of the cavity
    assert shape(mask, 1.0)["ring_closure"] == 30 / 40
    mask[14] = 0  # and one side
    assert shape(mask, 1.0)["ring_closure"] == 20 / 40


@pytest.mark.parametrize("cavity", [FAR < 14, np.hypot(X / 24, Y / 14) < 1])
def test_an_even_wall_has_its_thickness(cavity):
    wall = distance_transform_edt(~cavity) <= 8
    mask = np.where(cavity, 1, np.where(wall, 2, 0))
    mean = (perimeter(cavity, 1.0) + perimeter(cavity | wall, 1.0)) / 2
    found = shape(mask, 1.5)["wall_thickness"]
    assert found == pytest.approx(1.5 * 8, abs=1.5 * 8 * 2 * LINE / mean)


def test_pieces_and_the_right_ventricle():
    mask = squares(10, 16)
    mask[17:23, 32:38] = 3
    found = shape(mask, 1.5)
    assert found["rv_share"] == 36 / 136
    assert found["rv_distance"] == pytest.approx(1.5 * (34.5 - 19.5))
    assert found["pieces"] == 1 and found["structures"] == 3
    mask[:3, :3] = 3
    assert shape(mask, 1.5)["pieces"] == pytest.approx(4 / 3)


def test_nothing_drawn_measures_nothing():
    found = shape(np.zeros((8, 8), dtype=int), 1.0)
    assert found.keys() == SHAPES.keys() and found.pop("structures") == 0
    assert all(np.isnan(v) for v in found.values())
    assert touching(np.eye(3, dtype=bool), np.zeros((3, 3), dtype=bool)) == 0


def test_the_distance_is_scipys_in_units_of_the_spread():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), rng.normal(size=(40, 2)) + 1
    x[:5, 1] = np.nan
    pair = [wasserstein_distance(x[:, 0], y[:, 0]), wasserstein_distance(x[5:, 1], y[:, 1])]
    assert apart(x, y, np.array([1.0, 2.0])) == pytest.approx((pair[0] + pair[1] / 2) / 2)
    assert apart(x, x + 3, np.ones(2)) == pytest.approx(3)
    x[:, 1] = np.nan
    assert apart(x, y, np.array([1.0, 2.0])) == pytest.approx(pair[0])


def test_the_test_of_means_is_welchs_where_each_subject_has_one_row():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=20), 2 * rng.normal(size=9) + 0.7
    gap, p = mean_difference(x, y, np.arange(20), np.arange(9))
    theirs = ttest_ind(x, y, equal_var=False)
    assert gap.value == pytest.approx(x.mean() - y.mean()) and p == pytest.approx(theirs.pvalue)
    low, high = theirs.confidence_interval()
    assert (gap.low, gap.high) == pytest.approx((low, high))
    thrice, same = mean_difference(np.repeat(x, 3), y, np.repeat(np.arange(20), 3), np.arange(9))
    assert [*thrice, same] == pytest.approx([*gap, p]), "three equal slices are no three subjects"


def test_equal_values_do_not_differ_and_two_subjects_are_too_few():
    gap, p = mean_difference([0.1] * 7, [0.1] * 5, [0, 1, 1, 2, 2, 2, 3], [0, 0, 0, 1, 2])
    assert gap == (0, 0, 0) and p == 1
    assert mean_difference([0.3] * 4, [0.1] * 4, range(4), range(4))[1] == 0
    gap, p = mean_difference([1.0, 2.0], [0.0, 1.0, 5.0], [0, 1], [0, 1, 2])
    assert gap.value == -0.5 and np.isnan([gap.low, gap.high, p]).all()


def test_correlated_slices_do_not_make_differences():
    """2,000 sets of 300 single masks against 15 subjects of 5 to 15 slices that look alike: no truth in p."""
    rng = np.random.default_rng(0)
    counts = rng.integers(5, 16, 15)
    who, false = np.repeat(np.arange(15), counts), [0, 0]
    for _ in range(2000):
        x = rng.normal(size=300) * 2**0.5
        y = rng.normal(size=15)[who] + rng.normal(size=len(who))
        false[0] += mean_difference(x, y, np.arange(300), who)[1] < 0.05
        false[1] += mean_difference(x, y, np.arange(300), np.arange(len(who)))[1] < 0.05
    assert 0.035 < false[0] / 2000 < 0.07 and false[1] / 2000 > 0.3


def scores_of(judge, **pools):
    evidence = judge(pools=pools)
    return {s.name: s for s in MaskAnatomy().scores(evidence)}, evidence.tables["mask_anatomy"]


def alone(pool):
    """As masks of a source are: single slices, each of its own."""
    table = pool.table.assign(subject=[f"s{i}" for i in range(len(pool))], phase="", slice=0)
    return replace(pool, table=table)


def test_real_masks_lie_at_the_floor_and_broken_ones_do_not(judge, new_cohort):
    good = alone(new_cohort("synthetic", 12, seed=5))
    broken = good.masks.clone()
    broken[..., 2:4, 2:4] = 2  # a crumb far from the ring
    broken[(broken == 2) & (broken.roll(1, -1) == 1)] = 0  # and a gap on one side of the cavity
    broken[:9][broken[:9] == 3] = 0  # and some without a right ventricle
    fine, table = scores_of(judge, synthetic=good)
    bad, _ = scores_of(judge, synthetic=replace(good, masks=broken))
    head = fine["fidelity/mask_anatomy"]
    assert 0 <= head.low < head.value < head.high and head.value < 2 * head.reference
    assert bad["fidelity/mask_anatomy"].low > head.high
    for name, real in {"ring_closure": 1, "pieces": 1, "structures": 3}.items():
        one, other = fine[f"fidelity/mask_{name}"], bad[f"fidelity/mask_{name}"]
        assert one.value == one.reference == real and one.extra["p_holm"] == 1
        assert other.value != real and other.extra["p_holm"] < 0.05
    area = fine["fidelity/mask_area_lv"]
    assert area.extra["measured_in"] == "cm2" and area.unit == "masks" and area.n == len(good)
    assert area.low < area.value < area.high and area.extra["difference"] == pytest.approx(
        area.value - area.reference
    )
    assert "both phases" in fine["fidelity/mask_ef_lv"].reason
    assert list(table["measure"]) == [*SHAPES] and table["apart_high"].notna().all()


def test_stacks_of_both_phases_have_volumes_and_ejection(judge, test):
    table = test.table.assign(thickness_mm=8.0)
    masks = torch.zeros_like(test.masks)
    masks[..., :10, :10] = 1
    masks[torch.tensor([*(table["phase"] == "ES")]), :, :5] = 0
    pool = replace(test, masks=masks, table=table)
    found = volumes(pool).set_index("subject")
    edv = 3 * 100 * 1.5**2 * 8 / 1000
    assert np.allclose(found[["edv_lv", "esv_lv", "ef_lv"]], [edv, edv / 2, 50])
    assert (found["edv_rv"] == 0).all() and found["ef_rv"].isna().all()
    scores, _ = scores_of(judge, synthetic=pool)
    ef = scores["fidelity/mask_ef_lv"]
    assert ef.value == pytest.approx(50) and ef.unit == "subjects" and ef.n == 8
    assert ef.reference == pytest.approx(volumes(test)["ef_lv"].mean())
    assert "shows" in scores["fidelity/mask_ef_rv"].reason
    one_phase = replace(pool, table=table.assign(phase="ED"))
    assert volumes(one_phase).empty


def test_structures_without_labels_are_not_measured(judge, train, test, new_cohort):
    left = {
        name: replace(pool, labels=(1,)) for name, pool in {"train": train, "test": test}.items()
    }
    scores, _ = scores_of(judge, **left, synthetic=alone(new_cohort("s", 6, labels=(1,))))
    names = {name.removeprefix("fidelity/mask_") for name in scores}
    assert names == {"anatomy", "ef_lv", "area_lv", "roundness_lv", "pieces", "structures"}
    assert scores["fidelity/mask_structures"].value == 1
    assert scores["fidelity/mask_anatomy"].extra["measures"] == 4


def test_one_subject_has_values_without_intervals(judge, train, test, new_cohort):
    lone = {"train": train.take(slice(0, 6)), "test": test.take(slice(0, 6))}
    scores, _ = scores_of(judge, **lone, synthetic=alone(new_cohort("s", 6)))
    area, head = scores["fidelity/mask_area_lv"], scores["fidelity/mask_anatomy"]
    assert area.value > 0 and area.reference > 0 and np.isnan(area.extra["p_holm"])
    assert head.value > 0 and np.isnan(head.low)


def test_empty_masks_leave_reasons(judge, test):
    nothing = replace(alone(test), masks=torch.zeros_like(test.masks))
    scores, _ = scores_of(judge, synthetic=nothing)
    assert scores["fidelity/mask_area_lv"].reason == "no mask of synthetic shows what it measures"
    assert scores["fidelity/mask_structures"].value == 0
    assert scores["fidelity/mask_anatomy"].value > 0
