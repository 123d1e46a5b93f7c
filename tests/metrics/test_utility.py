"""Utility: arms are compared on the same subjects, per volume, for labelled structures alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmr_bench.metrics.utility.arms import Arm
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


def test_an_arm_is_not_judged_on_structures_that_its_images_do_not_label(judge, test, train):
    lone = replace(train, name="synthetic", labels=(1,))
    found = named(judge(lone))
    assert "utility/dice_lv" in found and "utility/dice_rv" not in found


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


PLAN = [
    "real", "synthetic", "both",
    Arm("strong", strong=True), Arm("few3", subjects=3), Arm("few6", subjects=6),
    Arm("few3_both", subjects=3, ratio=None, fits=1), Arm("few99", subjects=99),
]  # fmt: skip


def learns(arm, seed, pool):
    """The more real subjects, the nearer to the truth."""
    if arm.kind == "synthetic" or arm.name == "few3_both":
        return pool.masks.roll(1, dims=-1)
    shift = {3: 2, 6: 1}.get(arm.subjects, 0)
    return pool.masks.roll(shift, dims=-1)


def test_arms_of_a_plan_are_scored_and_described(judge):
    found = named(judge(segment=learns), arms=PLAN, seeds=[0, 1])
    few = found["utility/few3_both_dice"]
    assert few.extra["segmenter_seeds"] == 1
    assert few.extra["real_subjects"] == 3 and few.extra["synthetic"] == "all"
    assert found["utility/few3_dice"].extra["segmenter_seeds"] == 2
    assert found["utility/few3_dice"].extra["synthetic"] == "none"
    assert found["utility/strong_dice"].extra["on_curve"] == "false"
    assert "utility/few3_dice_lv" not in found and "utility/strong_asd_lv" in found
    assert "12" in found["utility/few99_dice"].reason
    for what in ("iou_lv", "asd_myo", "volume_error_rv", "ef_error_lv", "ef_error_rv"):
        assert found[f"utility/{what}"].n == 8, what
    assert found["utility/dice_lv"].value > found["utility/iou_lv"].value


def test_an_arm_of_fewer_fits_is_compared_at_its_own_seeds(judge):
    def segment(arm, seed, pool):
        return pool.masks.roll(seed, dims=-1)

    found = named(
        judge(segment=segment), arms=["real", "synthetic", Arm("same", fits=1)], seeds=[0, 1, 2]
    )
    gap = found["utility/same_dice_gap"]
    assert (gap.value, gap.low, gap.high) == (0, 0, 0)
    assert found["utility/same_dice_ratio"].value == 1
    for what in ("dice", "asd_lv", "ef_error_rv"):
        score = found[f"utility/same_{what}"]
        assert score.reference == score.value, what
    assert found["utility/real_dice"].value < found["utility/same_dice"].value


def test_p_values_are_corrected_for_all_comparisons(judge, test):
    external = replace(test, name="external", labels=(1,))
    found = named(judge(segment=learns, pools={"external": external}), arms=PLAN[:3])
    gaps = [s for name, s in found.items() if name.endswith("dice_gap")]
    assert [s.extra["comparisons"] for s in gaps] == [4] * 4
    worse, same = found["utility/dice_gap"].extra, found["utility/both_dice_gap"].extra
    assert 0 < worse["p"] < 0.01 and worse["p_holm"] in (4 * worse["p"], 3 * worse["p"])
    assert same["p"] == pytest.approx(1) == same["p_holm"]


def test_few_subjects_with_synthetic_images_are_compared_with_the_same_alone(judge, test):
    """Roll by seed: fits of the few differ by it, and one of theirs is worse than the other."""

    def segment(arm, seed, pool):
        shift = {"few3": 2 + seed, "few3_both": 1}.get(arm.name, 0)
        return pool.masks.roll(shift, dims=-1)

    arms = [*PLAN[:2], Arm("few3", subjects=3), Arm("few3_both", subjects=3, ratio=None)]
    arms += [Arm("few6_both", subjects=6, ratio=None)]  # without few6 there is nothing beside it
    external = replace(test, name="external", labels=(1,))
    found = named(judge(segment=segment, pools={"external": external}), arms=arms, seeds=[0, 1, 2])
    assert "utility/few6_both_gain" not in found and "utility/gain" not in found
    for prefix in ("utility/", "utility/external_"):
        gain = found[f"{prefix}few3_both_gain"]
        own, alone = (found[f"{prefix}{name}_dice"].value for name in ("few3_both", "few3"))
        assert gain.value == pytest.approx(own - alone)
        assert gain.reference == 0 and "same real subjects alone" in gain.reference_name
        assert 0 < gain.extra["fits_low"] < gain.value < gain.extra["fits_high"]
        assert gain.low < gain.extra["fits_low"]  # three fits are few
        assert gain.extra["comparisons"] == 2 * (4 + 1)
        assert gain.extra["p"] < gain.extra["p_holm"]
        assert gain.extra["interval_over"] == "test subjects and the seeds of 3 fits"


def test_one_fit_says_what_its_interval_covers(judge):
    found = named(judge(segment=learns), arms=PLAN)
    for name in ("dice_gap", "dice_ratio", "worth", "few3_both_gain"):
        extra = found[f"utility/{name}"].extra
        assert extra["interval_over"] == "test subjects alone: there is one fit", name
        assert "fits_low" not in extra


def test_blanks_have_reasons(judge, test):
    """End-diastole alone; no right ventricle in any mask; a domain whose structures nobody was taught."""
    alone = replace(test.take((test.table["phase"] == "ED").to_numpy()), name="test")
    bare = replace(alone, masks=alone.masks.where(alone.masks != 3, 0))
    other = replace(test, name="external", labels=())

    def segment(arm, seed, pool):
        return pool.masks.where(pool.masks != 3, 0)

    evidence = judge(segment=segment, pools={"test": bare, "external": other})
    found = named(evidence, arms=PLAN[:5])
    blank = {name: score.reason for name, score in found.items() if score.value != score.value}
    assert blank["utility/ef_error_lv"] == "no subject of test has a structure lv at both ED and ES"
    assert blank["utility/dice_rv"] == "no volume of test has a structure rv"
    for name in ("dice", "dice_gap", "dice_ratio", "worth"):
        assert "external labels no structure that" in blank[f"utility/external_{name}"], name
    assert all(blank.values()), [name for name, reason in blank.items() if not reason]
    assert not any("\n" in reason for reason in blank.values())


def test_comparisons_of_too_few_subjects_are_none(judge, test):
    two = replace(test.take(slice(0, 12)), name="external")
    found = named(judge(segment=learns, pools={"external": two}), arms=PLAN[:3])
    gaps = [s for name, s in found.items() if name.endswith("dice_gap")]
    assert sum(s.extra["p"] == s.extra["p"] for s in gaps) == 2
    assert [s.extra["comparisons"] for s in gaps] == [2] * 4


def test_synthetic_images_are_as_many_as_the_ratio_asks_for(judge):
    """There are 60; the training pool has 72 slices, three of its subjects 18."""
    arms = [Arm("half", ratio=0.5), Arm("two", ratio=2), Arm("few", subjects=3, ratio=2)]
    found = named(judge(segment=learns), arms=["real", "synthetic", "both", *arms])
    expected = {"half": 36, "few": 36, "both": 60, "real": 0}
    for name, count in expected.items():
        assert found[f"utility/{name}_dice"].extra["synthetic_images"] == count, name
    reason = "1:2 needs 144 synthetic images and there are 60: raise synthesis.count"
    assert found["utility/two_dice"].reason == reason
    assert "utility/two_dice_gap" not in found


def test_worth_is_read_off_the_real_curve(judge):
    found = named(judge(segment=learns), arms=PLAN)
    assert found["utility/worth"].value == pytest.approx(6)
    assert found["utility/few3_both_worth"].value == pytest.approx(3)
    assert found["utility/worth"].reference == 12
    assert found["utility/few3_both_worth"].reference == 9
    assert "utility/both_worth" not in found  # at the end of the curve nothing can be told
    assert "utility/worth" not in named(judge(segment=learns))  # no curve


def test_volumes_and_breakdown_stay_with_the_cell(judge, test):
    vendors = [f"V{int(s[-1]) % 2}" for s in test.table["subject"]]
    table = test.table.assign(vendor=vendors, level=["base", "middle", "apex"] * 16)
    evidence = judge(pools={"test": replace(test, table=table)}, segment=learns)
    found = named(evidence)
    volumes, parts = (evidence.tables[f"utility_{name}"] for name in ("volumes", "breakdown"))
    assert len(volumes) == 3 * 8 * 2 * 3  # arms, subjects, phases, structures
    mean = parts[(parts["arm"] == "synthetic") & (parts["structure"] == "mean")].set_index("group")
    assert mean.loc["all", "dice"] == pytest.approx(found["utility/dice"].value)
    assert mean.loc["all", "dice_low"] == pytest.approx(found["utility/dice"].low)
    assert set(mean.index) == {"all", "V0", "V1", "base", "middle", "apex"}
    assert mean.loc["V0", "n"] == 4 and mean.loc["base", "n"] == 8
    assert mean.loc[["V0", "V1"], "dice"].mean() == pytest.approx(mean.loc["all", "dice"])


def test_arms_without_a_reference_or_with_one_name_twice_are_refused():
    for arms in (["synthetic"], ["real", "synthetic", Arm("real", strong=True)]):
        with pytest.raises(ValueError, match="take synthetic, real and others"):
            Segmentation(arms=arms)
