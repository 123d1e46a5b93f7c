"""Utility: arms are compared on the same subjects, per volume, for labelled structures alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmr_bench.metrics.utility.segmentation import Segmentation


def named(evidence, **options):
    return {s.name: s for s in Segmentation(**options).scores(evidence)}


def test_names_of_every_arm_and_domain(judge, test):
    external = replace(test, name="external", labels=(1,))
    found = named(judge(pools={"external": external}))
    for arm in ("", "both_", "real_"):
        for k in ("lv", "myo", "rv"):
            assert f"utility/{arm}dice_{k}" in found
            assert f"utility/{arm}hd95_{k}" in found
        assert f"utility/external_{arm}dice_lv" in found
        assert f"utility/external_{arm}dice_rv" not in found
    assert {"utility/external_dice_ratio", "utility/both_dice_gap"} <= set(found)


def test_unlabelled_structures_are_not_background(judge, test):
    """A prediction of the RV where the data set draws none costs nothing."""
    drawn = test.masks.where(test.masks == 1, 0)
    external = replace(test, name="external", masks=drawn, labels=(1,))

    def segment(arm, seed, pool):
        return test.masks

    found = named(judge(segment=segment, pools={"external": external}))
    assert found["utility/external_dice"].value == 1.0


def test_ratio_and_gap_are_paired(judge):
    found = named(judge())
    dice, real = found["utility/dice"], found["utility/real_dice"]
    ratio, gap = found["utility/dice_ratio"], found["utility/dice_gap"]
    assert real.value == 1.0 == dice.reference
    assert dice.value < 1
    assert ratio.value == pytest.approx(dice.value / real.value)
    assert gap.value == pytest.approx(dice.value - real.value)
    assert gap.high < 0
    assert ratio.high < 1
    assert ratio.n == 8


def test_seeds_are_averaged_within_subjects(judge, test):
    def segment(arm, seed, pool):
        return pool.masks.roll(seed, dims=-1)

    one, two, both = (
        named(judge(segment=segment), seeds=s)["utility/dice"] for s in ([0], [1], [0, 1])
    )
    assert both.value == pytest.approx((one.value + two.value) / 2)
    assert both.n == one.n == 8
    assert both.extra["segmenter_seeds"] == 2
