"""Overlap in mm against MONAI and by hand, and the rule for absent structures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from monai.metrics.hausdorff_distance import HausdorffDistanceMetric
from monai.metrics.meaniou import MeanIoU
from monai.metrics.surface_distance import SurfaceDistanceMetric

from cmr_bench.metrics.volumes import (
    MEASURES,
    asd,
    cases,
    dice,
    distances,
    ejection,
    hd95,
    iou,
    overlap,
    together,
)
from cmr_bench.types import Pool


def volume(masks, *, spacing=2.0, thickness=8.0, places=None):
    masks = torch.as_tensor(masks)[:, None]
    table = pd.DataFrame({"subject": "a", "phase": "ED", "slice": places or range(len(masks))})
    table["thickness_mm"] = thickness
    return Pool("test", torch.zeros(masks.shape), masks, table, spacing)


def box(depth, *, at=(0, 0), size=6, side=20):
    mask = np.zeros((depth, side, side), dtype=np.int64)
    mask[:, 4 + at[0] : 4 + at[0] + size, 4 + at[1] : 4 + at[1] + size] = 1
    return mask


def one(truth, predicted, **options):
    pool = volume(truth, **options)
    return overlap(pool.masks, torch.as_tensor(predicted)[:, None], pool=pool, labels=[1]).iloc[0]


def test_a_shift_in_the_plane_is_measured_in_mm():
    row = one(box(3), box(3, at=(0, 2)), spacing=1.5)
    assert row["dice"] == pytest.approx(4 / 6)
    assert row["hd95"] == pytest.approx(2 * 1.5)


def test_a_shift_across_slices_counts_the_thickness():
    a, b = box(4), box(4)
    a[3], b[0] = 0, 0  # the same box, one slice higher
    assert one(a, b, thickness=8.0)["hd95"] == pytest.approx(8.0)
    assert one(a, b, thickness=5.0)["hd95"] == pytest.approx(5.0)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_agrees_with_monai_on_random_shapes():
    rng = np.random.default_rng(0)
    a, b = (
        torch.nn.functional.avg_pool2d(torch.as_tensor(rng.random((5, 24, 24))), 5, 1, 2) > 0.5
        for _ in "ab"
    )
    row = one(a.long(), b.long(), spacing=1.4, thickness=9.0)
    metric = HausdorffDistanceMetric(include_background=True, percentile=95)
    stacked = [v.permute(1, 2, 0)[None, None].float() for v in (b, a)]
    assert row["hd95"] == pytest.approx(float(metric(*stacked, spacing=(1.4, 1.4, 9.0))))
    assert row["dice"] == pytest.approx(float(2 * (a & b).sum() / (a.sum() + b.sum())))
    assert row["iou"] == pytest.approx(float(MeanIoU(include_background=True)(*stacked)))
    # MONAI's "symmetric" is the same mean over the surface elements of both; its default is one-sided.
    metric = SurfaceDistanceMetric(include_background=True, symmetric=True)
    found = float(metric(*stacked, spacing=(1.4, 1.4, 9.0)))
    assert row["asd"] == pytest.approx(found)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.filterwarnings("ignore:the (prediction|ground truth) of class . is all 0:UserWarning")
def test_differs_from_monai_where_a_structure_is_absent():
    """MONAI answers inf, nan or 0 and users drop what is not finite; here a failure has its price."""
    nothing, something = box(3) * 0, box(3)
    stacked = [
        torch.as_tensor(v).permute(1, 2, 0)[None, None].float() for v in (nothing, something)
    ]
    assert not np.isfinite(float(HausdorffDistanceMetric(percentile=95)(*stacked)))
    assert not np.isfinite(float(SurfaceDistanceMetric(symmetric=True)(*stacked)))
    row = one(something, nothing)
    assert row["hd95"] == row["asd"] > 50


def test_asd_of_shifted_planes_is_their_distance():
    """Two slabs of one slice, k slices apart: every element of either surface is k thicknesses away."""
    a, b = np.zeros((2, 12, 12, 6), dtype=bool)
    a[2:9, 2:9, 1], b[2:9, 2:9, 4] = True, True
    assert asd(distances(a, b, (1.0, 1.0, 8.0))) == pytest.approx(3 * 8.0)
    far = distances(a, b, (1.0, 1.0, 5.0))
    assert asd(far) == hd95(far) == pytest.approx(15.0)


def test_asd_counts_both_surfaces():
    """A line of 3 in a line of 5: distances 0, 0, 0 one way and 1, 0, 0, 0, 1 the other, in 2.5 mm."""
    small, large = np.zeros((2, 1, 7), dtype=bool)
    small[0, 2:5], large[0, 1:6] = True, True
    there, back = distances(small, large, (1.0, 2.5)), distances(large, small, (1.0, 2.5))
    assert asd(there) == pytest.approx(2 * 2.5 / 8)
    assert asd(there) == asd(back)


def test_iou_is_a_function_of_dice():
    row = one(box(3), box(3, at=(0, 2)))
    assert row["iou"] == pytest.approx(24 / (36 + 36 - 24)) == row["dice"] / (2 - row["dice"])
    assert np.isnan(iou(box(1) > 9, box(1) > 9))


def test_volumes_in_ml_and_their_errors():
    row = one(box(3, size=6), box(3, size=8), spacing=2.0, thickness=8.0)
    assert row["truth_ml"] == pytest.approx(3 * 36 * 2 * 2 * 8 / 1000)
    assert row["predicted_ml"] == pytest.approx(3 * 64 * 2 * 2 * 8 / 1000)
    assert row["volume_error"] == pytest.approx(3 * 28 * 32 / 1000)
    assert row["volume_ratio_error"] == pytest.approx(28 / 36)
    single = one(box(1, size=6), box(1, size=8), spacing=2.0, thickness=8.0)
    assert single["truth_ml"] == pytest.approx(36 * 32 / 1000)


def volumes(truth, predicted):
    """A table of overlap with given (ED, ES) volumes of one subject."""
    table = pd.DataFrame({"subject": "a", "phase": ["ED", "ES"], "label": 1})
    return table.assign(truth_ml=truth, predicted_ml=predicted)


def test_ejection_fraction_and_its_error():
    found = ejection(volumes([150, 60], [140, 70])).iloc[0]
    assert (found["truth"], found["predicted"]) == (pytest.approx(60), pytest.approx(50))
    assert found["error"] == pytest.approx(10)
    assert ejection(volumes([150, 60], [0, 0])).iloc[0]["predicted"] == 0
    assert ejection(volumes([150, 60], [50, 70])).iloc[0]["predicted"] == 0
    assert not len(ejection(volumes([0, 0], [50, 70])))
    assert not len(ejection(volumes([150, 60], [140, 70]).iloc[:1]))  # end-systole is not there


def test_one_slice_has_a_contour():
    small, large = box(1, size=6), box(1, at=(-2, -2), size=10)
    assert one(small, large, spacing=1.0)["hd95"] == pytest.approx(np.sqrt(8), abs=0.9)
    assert one(small, large, spacing=1.0)["hd95"] > 1.9  # as a 3D block, the inside would count


def test_order_of_slices_does_not_matter_and_gaps_count():
    a, b = box(3), box(3)
    a[2], b[0] = 0, 0
    expected = one(a, b)["hd95"]
    order = [2, 0, 1]
    assert one(a[order], b[order], places=order)["hd95"] == expected
    apart = one(a[[0, 2]], b[[0, 2]], places=[0, 2])
    assert apart["hd95"] == pytest.approx(16.0)  # two places apart


def test_absent_structures():
    nothing, something = box(3) * 0, box(3)
    diagonal = np.linalg.norm([20 * 2.0, 20 * 2.0, 3 * 8.0])
    both = one(nothing, nothing)
    assert both["case"] == "both_absent"
    measures = ["dice", "iou", "hd95", "asd", "volume_error", "volume_ratio_error"]
    assert both[measures].isna().all()
    for truth, predicted, case in (
        (something, nothing, "missed"),
        (nothing, something, "invented"),
    ):
        row = one(truth, predicted)
        assert (row["case"], row["dice"]) == (case, 0.0)
        assert row["iou"] == 0 and row["volume_ratio_error"] == 1
        assert row["hd95"] == row["asd"] == pytest.approx(diagonal)
        assert row["volume_error"] == pytest.approx(3 * 36 * 32 / 1000)
    assert one(something, something)["case"] == "measured"


def test_cases_are_counted():
    table = pd.DataFrame(
        {"case": ["measured", "missed", "missed", "both_absent"], "hd95": [3.0, 99, 99, np.nan]}
    )
    assert cases(table) == {
        "measured": 1, "both_absent": 1, "missed": 2, "invented": 0, "hd95_measured": 3.0,
    }  # fmt: skip


def test_volumes_are_subject_and_phase(train):
    table = overlap(train.masks, train.masks, pool=train, labels=(1, 2, 3))
    assert len(table) == 12 * 2 * 3
    assert (table["dice"] == 1).all()
    assert (table["hd95"] == 0).all()


def test_unknown_thickness_and_doubled_slices_are_refused():
    with pytest.raises(ValueError, match="thickness_mm of a is nan"):
        one(box(3), box(3), thickness=float("nan"))
    pool = volume(box(2))
    twice = replace(pool, table=pool.table.assign(slice=0))
    with pytest.raises(ValueError, match="two slices"):
        overlap(pool.masks, pool.masks, pool=twice, labels=[1])


def test_dice_by_hand():
    a, b = np.array([True, True, False]), np.array([False, True, True])
    assert dice(a, b) == 0.5
    assert np.isnan(dice(a & False, b & False))
    assert hd95(distances(box(1)[0] == 1, box(1)[0] == 1, (1.0, 1.0))) == 0


def test_one_fit_that_invents_does_not_speak_for_those_that_rightly_see_nothing():
    keys = {"subject": "s", "phase": "ED", "label": 3}
    seen = keys | dict.fromkeys(MEASURES, 0.0) | {"case": "invented", "hd95": 60.0}
    none = keys | dict.fromkeys(MEASURES, float("nan")) | {"case": "both_absent"}
    found = together(pd.DataFrame([seen, none, none]))
    assert found["dice"].mean() == pytest.approx(2 / 3) and found["hd95"].mean() == 20
    alone = together(pd.DataFrame([none, none]))
    assert alone["dice"].isna().all()
