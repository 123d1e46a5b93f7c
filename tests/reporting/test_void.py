"""A result that an attack blind to the model reaches as well is shown as void."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cmr_bench.reporting.axes import triangle
from cmr_bench.reporting.cells import entries
from cmr_bench.reporting.page import page
from cmr_bench.reporting.paired import paired
from cmr_bench.reporting.tables import compare, terminal
from cmr_bench.store import Store
from cmr_bench.types import Score


def test_void_results_are_marked_with_their_reason_and_do_not_win(tmp_path: Path) -> None:
    for seed, (model, value) in enumerate({"fm": 0.5, "ddpm": 0.9}.items()):
        cell = Store(tmp_path).cell(model, f"0{seed}")
        cell.write("cell.json", {"model": model, "seed": 0, "data": "phantom"})
        (cell.folder / "config.yaml").write_text(yaml.safe_dump({"seed": 0}))
        scores = [
            Score(
                f"privacy/{name}_auc", value, value - 0.1, value + 0.1, n=40, better="lower",
                extra={"void": "the split is by vendor"} if name == "mia" else {"members": 26},
            )
            for name in ("mia", "sima")
        ]  # fmt: skip
        cell.add_scores(scores, metric="membership")
        cell.finish()
    table = compare(entries(tmp_path))
    text = terminal(table)
    assert "0.90 [0.80, 1.00] void" in text and "0.50 [0.40, 0.60] *" in text
    assert text.count("void: the split is by vendor") == 1 and text.count("void") == 3
    assert set(table.loc[table["best"], "name"]) == {"privacy/sima_auc"}
    found = entries(tmp_path)
    assert "0.90 void" in page(found, table, paired(found))


def test_an_attack_that_could_not_be_checked_is_marked_and_does_not_win(tmp_path: Path) -> None:
    for model, value in {"fm": 0.5, "ddpm": 0.9}.items():
        cell = Store(tmp_path).cell(model, "0")
        cell.write("cell.json", {"model": model, "seed": 0, "data": "phantom"})
        extra = {"unchecked": "the blind baseline needs 6 subjects"}
        cell.add_scores([Score("privacy/mia_auc", value, value - 0.1, value + 0.1, n=17, better="lower", extra=extra)], metric="m")  # fmt: skip
        cell.finish()
    table = compare(entries(tmp_path))
    text = terminal(table)
    assert text.count("] unchecked") == 2 and not table["best"].any()
    assert text.count("unchecked: the blind baseline needs 6 subjects") == 1


def test_an_attack_turned_round_does_not_win_and_the_report_says_so(tmp_path: Path) -> None:
    limits = {"fm": (0.05, 0.0, 0.12), "ddpm": (0.5, 0.4, 0.6)}
    for model, (value, low, high) in limits.items():
        cell = Store(tmp_path).cell(model, "0")
        cell.write("cell.json", {"model": model, "seed": 0, "data": "phantom"})
        cell.add_scores([Score("privacy/mia_auc", value, low, high, n=40, better="lower")], metric="membership")  # fmt: skip
        cell.finish()
    found = entries(tmp_path)
    table = compare(found)
    assert not table["best"].any()
    text = terminal(table)
    assert "0.05 [0.00, 0.12] turned" in text and text.count("turned round: an AUC") == 1
    html = page(found, table, paired(found))
    assert "0.05 turned" in html and html.count("Turned round: an AUC") == 1


def test_what_is_void_or_unfit_does_not_count_in_the_triangle() -> None:
    """As rows of a cell, whose extra says so, and as rows of a comparison."""
    attack = {"name": "privacy/mia_auc", "value": 0.9, "low": 0.8, "high": 1.0}
    other = {"name": "privacy/sima_auc", "value": 0.5, "low": 0.4, "high": 0.6}
    copies = {
        "name": "privacy/copy_rate",
        "value": 0.25,
        "low": 0.2,
        "high": 0.3,
        "reference": 0.05,
    }
    marks = {"": {}, "void": {"extra": {"void": "by vendor"}}, "column": {"void": "by vendor"}, "unchecked": {"extra": {"unchecked": "few"}}, "uncolumn": {"unchecked": "few"}, "unfit": {"unfit": "misses copies"}}  # fmt: skip
    values = {}
    for mark, more in marks.items():
        rows = {row["name"]: row for row in (attack | more, other, copies)}
        values[mark] = triangle(rows)["privacy"].value
        del rows["privacy/sima_auc"]
        assert ("privacy" in triangle(rows)) == (not more)
    assert values == pytest.approx({mark: 0.8 if mark else 0.2 for mark in marks})
