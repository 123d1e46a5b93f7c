"""Agreement of feature spaces in ranking cells."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from cmr_bench.reporting.cells import entries
from cmr_bench.reporting.page import page
from cmr_bench.reporting.paired import paired
from cmr_bench.reporting.ranking import agreement, kendall, sentence
from cmr_bench.reporting.tables import compare
from cmr_bench.store import Store
from cmr_bench.types import Score


def rows(**values):
    return pd.DataFrame(
        [
            {"cell": f"c{i}", "name": f"fidelity/{name}", "value": v}
            | {"control": False, "model": "fm", "setting": "phantom, strict"}
            for name, column in values.items()
            for i, v in enumerate(column)
        ]
    )


def test_tau_of_known_rankings():
    assert kendall([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert kendall([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert kendall([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)  # two pairs agree, one does not
    assert kendall([1, float("nan"), 3], [5, 6, float("nan")]) != kendall([1], [1])  # nan


def test_only_cells_with_both_spaces_count_and_three_at_least():
    nan = float("nan")
    five = rows(kid=[1, 2, 3, 4, 5], kid_cardiac=[1, 2, 4, 3, nan])
    assert agreement(five) == {("fidelity/kid", "cardiac"): (pytest.approx(2 / 3), 4)}
    assert "kid 0.67 (4 cells)" in sentence(five)
    assert "kid 0.33 (3 cells)" in sentence(five[five["cell"] != "c0"])
    assert sentence(five[~five["cell"].isin(["c0", "c1"])]) == ""


def test_cells_of_other_data_are_ranked_apart_controls_and_released_sets_not_at_all():
    up = [1, 2, 3, 4]
    here, there = rows(kid=up, kid_cardiac=up), rows(kid=up, kid_cardiac=up[::-1])
    text = sentence(
        pd.concat([here, there.assign(setting="acdc, paper", cell="d" + there["cell"])])
    )
    first, second = text.splitlines()
    assert first.startswith("phantom, strict: ") and "1.00 (4 cells)" in first
    assert second.startswith("acdc, paper: ") and "\u22121.00 (4 cells)" in second
    noise = rows(kid=[99], kid_cardiac=[0]).assign(cell="noise", control=True)
    released = noise.assign(cell="released", control=False, model="released")
    assert agreement(pd.concat([here, noise, released])) == agreement(here)


def test_the_page_says_it_too(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for k, cell in enumerate(Store(tmp_path).cells()):
        values = {"fidelity/kid": k, "fidelity/kid_cardiac": -k}
        cell.add_scores([Score(n, v, v, v, n=9, better="lower") for n, v in values.items()], metric="two")  # fmt: skip
    found = entries(tmp_path)
    table = compare(found)
    assert "Kendall&#39;s tau: kid \u22121.00" in page(found, table, paired(found))


def test_nothing_to_compare_says_nothing():
    assert sentence(pd.DataFrame()) == ""
    assert sentence(rows(kid=[1, 2])) == ""
    assert sentence(rows(kid=[1], kid_cardiac=[2])) == ""
