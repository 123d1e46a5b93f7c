"""Anatomy of drawn shapes, and the distance of their distributions with subjects as the unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from cmr_bench.metrics.fidelity.anatomy import anatomy, perimeter, touching
from cmr_bench.metrics.fidelity.masks import MaskAnatomy, wasserstein

Y, X = np.mgrid[:96, :96] - 48.0
FAR = np.hypot(X, Y)


def ring(inner=14.0, outer=22.0):
    return np.select([inner > FAR, outer > FAR], [1, 2], 0)


@pytest.mark.parametrize("radius", [8, 15, 30])
def test_a_disc_is_round_and_as_long_around_as_it_must_be(radius):
    assert perimeter(radius > FAR, 1.5) == pytest.approx(2 * np.pi * radius * 1.5, rel=0.03)
    found = anatomy(np.where(radius > FAR, 1, 0), 1.5)
    assert found["area_lv"] == pytest.approx(np.pi * (1.5 * radius) ** 2 / 100, rel=0.05)
    assert found["roundness_lv"] == pytest.approx(1, abs=0.06)
    assert np.isnan(found["wall_thickness"]) and np.isnan(found["area_myo"])
    assert found["ring_closure"] == 0 and found["components"] == 1


def test_an_ellipse_is_as_round_as_ramanujan_says():
    a, b = 30.0, 12.0
    around = np.pi * (3 * (a + b) - np.sqrt((3 * a + b) * (a + 3 * b)))
    found = anatomy(np.where(np.hypot(X / a, Y / b) < 1, 1, 0), 2.0)
    assert found["roundness_lv"] == pytest.approx(4 * np.pi * np.pi * a * b / around**2, rel=0.05)


def test_a_ring_has_its_wall_and_is_closed():
    found = anatomy(ring(), 1.5)
    assert found["wall_thickness"] == pytest.approx(8 * 1.5, rel=0.04)
    assert found["ring_closure"] == 1
    half = ring()
    half[(half == 2) & (X < 0)] = 0
    assert anatomy(half, 1.5)["ring_closure"] == pytest.approx(0.5, abs=0.02)


def test_an_even_wall_around_an_ellipse_has_its_thickness():
    from scipy.ndimage import distance_transform_edt

    cavity = np.hypot(X / 24, Y / 14) < 1
    mask = np.where(cavity, 1, np.where(distance_transform_edt(~cavity) <= 8, 2, 0))
    assert anatomy(mask, 1.0)["wall_thickness"] == pytest.approx(8, rel=0.05)


def test_pieces_and_the_right_ventricle():
    mask = ring()
    mask[np.hypot(X - 36, Y) < 7] = 3
    found = anatomy(mask, 1.0)
    assert found["rv_share"] == pytest.approx(7**2 / (7**2 + 14**2), rel=0.05)
    assert found["rv_distance"] == pytest.approx(36, abs=0.1)
    assert found["components"] == 1
    mask[:3, :3] = 3
    assert anatomy(mask, 1.0)["components"] == pytest.approx(4 / 3)


def test_nothing_drawn_measures_nothing():
    assert all(np.isnan(v) for v in anatomy(np.zeros((8, 8), dtype=int), 1.0).values())
    assert touching(np.eye(3, dtype=bool), np.zeros((3, 3), dtype=bool)) == 0


def test_the_distance_is_scipys_and_counts_subjects():
    rng = np.random.default_rng(0)
    who, others = np.repeat(np.arange(20), 6), np.repeat(np.arange(30), 6)
    x = np.repeat(rng.normal(size=20), 6) + 0.01 * rng.normal(size=120)
    y = np.repeat(rng.normal(size=30), 6) + 0.5
    found = wasserstein(x, y, who, others)
    assert found.value == pytest.approx(wasserstein_distance(x, y))
    alone = wasserstein(x, y, np.arange(120), np.arange(180))
    assert found.high - found.low > 1.5 * (alone.high - alone.low)
    shift = wasserstein(x, x + 2.0, who, who)
    assert shift.value == pytest.approx(2.0)


def test_real_masks_lie_at_the_floor_and_broken_ones_do_not(judge, new_cohort):
    def scores(pool):
        return {s.name: s for s in MaskAnatomy(repeats=100).scores(judge(synthetic=pool))}

    good = new_cohort("synthetic", 12, seed=5)
    torn = good.masks.clone()
    torn[..., 2:4, 2:4] = 2  # a crumb far from the ring
    torn[(torn == 2) & (torn.roll(1, -1) == 1)] = 0  # and a gap on one side of the cavity
    fine, bad = scores(good), scores(replace(good, masks=torn))
    head = "fidelity/mask_anatomy"
    assert fine[head].value < 2 * fine[head].reference and fine[head].value < bad[head].value
    assert bad["fidelity/mask_ring_closure"].extra["mean_synthetic"] < 1
    assert bad["fidelity/mask_components"].value > fine["fidelity/mask_components"].value
    area = fine["fidelity/mask_area_lv"]
    assert area.low < area.high and area.unit == "masks"
    assert area.value < 3 * area.extra["reference_high"]
    assert "both phases" in fine["fidelity/mask_ejection"].reason


def test_structures_without_labels_are_not_measured(judge, test):
    pools = {"test": replace(test, labels=(1,))}
    names = {s.name for s in MaskAnatomy(repeats=20).scores(judge(pools=pools))}
    assert "fidelity/mask_roundness_lv" in names
    assert not names & {f"fidelity/mask_{m}" for m in ("area_rv", "ring_closure", "components")}
