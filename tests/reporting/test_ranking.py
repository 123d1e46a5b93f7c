"""Agreement of feature spaces in ranking cells."""

from __future__ import annotations

import pandas as pd
import pytest

from cmr_bench.reporting.ranking import agreement, kendall, sentence


def rows(**values):
    return pd.DataFrame(
        [
            {"cell": f"c{i}", "name": f"fidelity/{name}", "value": v}
            | {"control": False, "setting": "phantom, strict"}
            for name, column in values.items()
            for i, v in enumerate(column)
        ]
    )


def test_tau_of_known_rankings():
    assert kendall([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert kendall([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert kendall([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)  # two pairs agree, one does not
    assert kendall([1, float("nan"), 3], [5, 6, float("nan")]) != kendall([1], [1])  # nan


def test_only_cells_with_both_spaces_count():
    nan = float("nan")
    found = agreement(rows(kid=[1, 2, 3, 4], kid_cardiac=[1, 3, 2, nan]))
    assert found == {("fidelity/kid", "cardiac"): (pytest.approx(1 / 3), 3)}
    assert "cardiac" in sentence(rows(kid=[1, 2], kid_cardiac=[2, 1]))
    assert "\u22121.00 (2 cells)" in sentence(rows(kid=[1, 2], kid_cardiac=[2, 1]))


def test_cells_of_other_data_are_ranked_apart_and_controls_not_at_all():
    here, there = rows(kid=[1, 2], kid_cardiac=[1, 2]), rows(kid=[8, 9], kid_cardiac=[-8, -9])
    text = sentence(
        pd.concat([here, there.assign(setting="acdc, paper", cell="d" + there["cell"])])
    )
    first, second = text.splitlines()
    assert first.startswith("phantom, strict: ") and "1.00 (2 cells)" in first
    assert second.startswith("acdc, paper: ") and "\u22121.00 (2 cells)" in second
    noise = rows(kid=[99], kid_cardiac=[99]).assign(cell="noise", control=True)
    assert agreement(pd.concat([here, noise])) == agreement(here)


def test_nothing_to_compare_says_nothing():
    assert sentence(pd.DataFrame()) == ""
    assert sentence(rows(kid=[1, 2])) == ""
    assert sentence(rows(kid=[1], kid_cardiac=[2])) == ""
