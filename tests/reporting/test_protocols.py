"""Ours and the study's definitions beside each other."""

from __future__ import annotations

import pandas as pd

from cmr_bench.reporting.protocols import protocols, side_by_side
from cmr_bench.reporting.tables import COLUMNS

NAN = float("nan")


def frame(*rows):
    """(name, group, value, reference) with an interval of 0.02; a text in place of a value is a reason."""
    made = []
    for name, group, value, real in rows:
        row = dict.fromkeys(COLUMNS, "") | {"name": name, "group": group, "reference": real}
        there = not isinstance(value, str)
        row |= {"control": group == "noise", "reason": "" if there else value}
        number = value if there else NAN
        made.append(row | {"value": number, "low": number - 0.01, "high": number + 0.01})
    return pd.DataFrame(made, columns=list(COLUMNS))


def both(name, study, **values):
    return [
        (one, group, pair[side], 0.9)
        for side, one in enumerate((name, study))
        for group, pair in values.items()
    ]


def test_a_ranking_that_turns_is_said_to_differ():
    rows = both("utility/dice", "utility/paper_dice", fm=(0.8, 0.85), ddpm=(0.7, 0.86))
    ours, study = side_by_side(frame(*rows))
    assert (ours["side"], study["side"]) == ("ours", "the study's")
    assert ours["order"] == ["fm", "ddpm"] and study["order"] == ["ddpm", "fm"]
    assert ours["verdict"] == study["verdict"] == "differs"
    assert ours["texts"] == {"fm": "0.800 [0.790, 0.810]", "ddpm": "0.700 [0.690, 0.710]"}
    assert ours["real"] == "0.900"
    text = protocols(frame(*rows))
    assert "differs" in text and "the study's" in text and "0.860 [0.850, 0.870]" in text


def test_controls_have_no_place_in_the_order():
    rows = both("utility/dice", "utility/paper_dice", fm=(0.8, 0.8), noise=(0.1, 0.9))
    ours, study = side_by_side(frame(*rows))
    assert ours["order"] == study["order"] == ["fm"] and ours["verdict"] == ""


def test_structures_are_averaged_and_have_no_interval():
    rows = [(f"utility/hd95_{k}", "fm", v, v) for k, v in (("lv", 2.0), ("myo", 3.0), ("rv", 7.0))]
    ours, _ = side_by_side(frame(*rows, ("utility/paper_hd95", "fm", 1.5, 1.0)))
    assert ours["texts"] == {"fm": "4.00"} and ours["real"] == "4.00"


def test_what_is_missing_says_why_and_without_the_study_there_is_no_table():
    dice = both("utility/dice", "utility/paper_dice", fm=(0.8, 0.85))
    lpips = both("fidelity/lpips", "fidelity/paper_lpips", fm=("put alex there", "put vgg there"))
    large = both(
        "fidelity/ms_ssim", "fidelity/paper_ms_ssim", fm=(0.5, "small"), ddpm=(0.4, "small")
    )
    assert side_by_side(frame(*dice, *large))[2]["verdict"] == ""
    text = protocols(frame(*dice, *lpips))
    assert "– LPIPS, ours: put alex there\n– LPIPS, the study's: put vgg there" in text
    assert protocols(frame(*lpips)) == "" == protocols(frame(("utility/dice", "fm", 0.8, 0.9)))
    assert side_by_side(frame()) == []
