from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from cmr_bench.reporting.cells import entries
from cmr_bench.reporting.numbers import decimals, number
from cmr_bench.reporting.page import page
from cmr_bench.reporting.paired import paired
from cmr_bench.reporting.tables import compare, terminal
from cmr_bench.store import Store
from cmr_bench.types import Score


def lines(root: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Scores by (model, name), read from the files without the package."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in sorted(root.glob("cells/*/scores.jsonl")):
        model = path.parent.name.split("-")[0]
        for line in path.read_text().splitlines():
            row = json.loads(line)
            found.setdefault((model, row["name"]), []).append(row)
    return found


def test_the_table_holds_what_the_files_hold(root: Path) -> None:
    table = compare(entries(root)).set_index(["group", "name"])
    files = lines(root)
    assert set(table.index) == set(files)
    for place, rows in files.items():
        row = table.loc[place]
        if rows[0]["value"] is None:
            assert np.isnan(row["value"]) and row["reason"] == rows[0]["reason"]
            continue
        values = [r["value"] for r in rows]
        assert row["value"] == pytest.approx(np.mean(values))
        assert (row["smallest"], row["largest"]) == (min(values), max(values))
        assert row["low"] == min(r["low"] for r in rows)
        assert row["high"] == max(r["high"] for r in rows)
        assert (row["n"], row["seeds"], row["reason"]) == (15, 2, "")


def test_the_best_stands_out_only_where_its_interval_lies_apart(root: Path) -> None:
    table = compare(entries(root))
    best = {(row["name"], row["group"]) for _, row in table[table["best"]].iterrows()}
    assert best == {("fidelity/kid", "fm"), ("fidelity/coverage", "fm")}


def cell(root: Path, name: str, seed: int, value: float, **config: Any) -> None:
    made = Store(root).cell(name, f"{seed}{len(list(root.glob('cells/*')))}")
    made.write("cell.json", {"model": name, "seed": seed, "data": "phantom"})
    (made.folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed} | config))
    score = Score("fidelity/kid", value, value - 0.1, value + 0.1, n=5, better="lower")
    made.add_scores([score], metric="kid")
    made.finish()


def test_controls_do_not_compete(tmp_path: Path) -> None:
    cell(tmp_path, "control/copy", 0, 0.0)
    cell(tmp_path, "fm", 0, 1.0)
    cell(tmp_path, "ddpm", 0, 2.0)
    table = compare(entries(tmp_path))
    assert list(table["group"]) == ["ddpm", "fm", "copy"]
    assert list(table["best"]) == [False, True, False]


def test_direction_and_reference_are_those_of_all_models_in_every_block(tmp_path: Path) -> None:
    for k in range(4):
        made = Store(tmp_path).cell(f"model{k}", "0" * 12)
        made.write("cell.json", {"model": f"model{k}", "seed": 0, "data": "phantom"})
        words = {"better": "lower", "reference": 0.05 + 0.01 * k, "n": 60 + k}
        blank = Score("privacy/copied_subjects", float("nan"), reason="needs more")
        score = Score("privacy/copied_subjects", 0.1, 0.05, 0.15, **words)
        made.add_scores([blank if k in (0, 3) else score], metric="copies")
        made.finish()
    rows = [
        r for r in terminal(compare(entries(tmp_path))).splitlines() if r.startswith("  copied")
    ]
    assert len(rows) == 2
    assert all(r.startswith("  copied_subjects ↓") and "0.06 to 0.07   61 to 62" in r for r in rows)


def test_seeds_are_averaged_and_other_settings_are_columns(tmp_path: Path) -> None:
    for seed, value in ((0, 1.0), (1, 2.0)):
        cell(tmp_path, "fm", seed, value, model={"steps": 20, "seed": seed}, store={"root": seed})
    cell(tmp_path, "fm", 0, 5.0, model={"steps": 50, "seed": 0})
    table = compare(entries(tmp_path)).set_index("group")
    assert set(table.index) == {"fm steps=20", "fm steps=50"}
    assert table.loc["fm steps=20", "value"] == 1.5
    assert table.loc["fm steps=20", "seeds"] == 2


def test_the_terminal_table_fits_in_100_columns_and_holds_the_main_scores(root: Path) -> None:
    text = terminal(compare(entries(root)))
    assert max(map(len, text.splitlines())) <= 100
    assert "0.031 [0.027, 0.035]" in text and "0.012 [0.009, 0.015] *" in text
    assert "adherence_hd95_lv" not in text
    assert text.count("put vgg16.pth into the cache folder") == 1
    assert terminal(compare([])) == ""


def test_many_models_are_shown_in_blocks_that_fit(tmp_path: Path) -> None:
    for k in range(7):
        cell(tmp_path, f"model{k}", 0, 1000.0 * k + 0.123)
    text = terminal(compare(entries(tmp_path)))
    assert max(map(len, text.splitlines())) <= 100
    assert all(f"model{k}" in text for k in range(7))


@pytest.mark.parametrize(
    ("low", "high", "digits"),
    [(0.82, 0.86, 2), (0.027, 0.035, 3), (3.1, 4.6, 1), (110.0, 130.0, 0), (0.841, 0.853, 3)],
)
def test_digits_follow_the_width_of_the_interval(low: float, high: float, digits: int) -> None:
    part = pd.DataFrame({"value": [low], "low": [low], "high": [high]})
    assert decimals(part) == digits


def test_numbers_without_a_value_or_an_interval() -> None:
    nan = float("nan")
    assert decimals(pd.DataFrame({"value": [nan], "low": [nan], "high": [nan]})) >= 0
    assert decimals(pd.DataFrame({"value": [0.0], "low": [0.0], "high": [0.0]})) >= 0
    assert number(nan, 2) == "–" and number(-0.5, 1) == "−0.5"


def test_a_group_is_named_by_what_sets_it_apart_and_by_nothing_else(tmp_path: Path) -> None:
    """Every setting has a name of its own: cells that differ are never averaged as if they were seeds."""
    solvers = {"Euler": {}, "Heun": {}, "Multistep": {"order": 2}}
    for steps in (2, 18):
        for solver, more in solvers.items():
            sampler = {"_target_": f"cmr_bench.diffusion.samplers.{solver}", **more}
            cell(tmp_path, "fm", 0, 1.0, data={"limit": None}, model={"steps": steps, "sampler": sampler})  # fmt: skip
    cell(tmp_path, "fm", 0, 1.0, data={"limit": 5}, model={"steps": 2})
    names = {entry.group for entry in entries(tmp_path)}
    assert (
        len(names) == 7
        and {"fm limit=5", "fm steps=18 sampler=Heun", "fm steps=2 sampler=Multistep"} < names
    )


def test_released_sets_are_named_by_their_file(tmp_path: Path) -> None:
    for path in ("/data/one/pairs.h5", "/data/odd"):
        model = {"_target_": "cmr_bench.data.released.release", "synthetic": path}
        more = {"spacing_mm": 5 if path == "/data/odd" else None}
        cell(tmp_path, "released", 0, 1.0, model=model | more, synthetic=path)
    assert {e.group for e in entries(tmp_path)} == {"released pairs.h5", "released odd"}
    cell(tmp_path, "released", 0, 1.0, model={"synthetic": "/data/two/pairs.h5"})
    full = {e.group for e in entries(tmp_path)} - {"released odd"}
    assert full == {f"released model.synthetic=/data/{k}/pairs.h5" for k in ("one", "two")}
    (tmp_path / "alone").mkdir()
    cell(tmp_path / "alone", "released", 0, 1.0, model={"synthetic": "/data/one/pairs.h5"})
    assert entries(tmp_path / "alone")[0].group == "released pairs.h5"


def test_a_metric_more_is_no_word_where_another_setting_tells_the_cells_apart(
    tmp_path: Path,
) -> None:
    canaries = {"_target_": "cmr_bench.metrics.privacy.canaries.Canaries", "samples": 4}
    cell(tmp_path, "fm", 0, 1.0, data={"canaries": 6}, metric={"canaries": canaries})
    cell(tmp_path, "fm", 0, 1.0, data={"canaries": 0}, metric={})
    assert {e.group for e in entries(tmp_path)} == {"fm canaries=6", "fm canaries=0"}


def test_what_a_score_says_of_itself_stands_over_it_and_below_the_table(tmp_path: Path) -> None:
    cell, note = Store(tmp_path).cell("fm", "0" * 12), "high agreement can mean memorisation"
    cell.write("cell.json", {"model": "fm", "seed": 0, "data": "phantom"})
    cell.add_scores([Score("fidelity/kid", 0.1, n=9), *(Score(f"fidelity/{name}", 0.5, n=9, extra={"note": note}) for name in ("psnr", "lpips"))], metric="m")  # fmt: skip
    found = entries(tmp_path)
    table = compare(found)
    assert f"\nlpips: {note}\n" in terminal(table)
    assert f"fidelity<small>{note}</small>" in page(found, table, paired(found))


def test_a_note_of_one_model_alone_does_not_tear_its_score_apart(tmp_path: Path) -> None:
    for model, extra in (("ddpm", {"note": "few images"}), ("fm", {})):
        cell = Store(tmp_path).cell(model, "0" * 12)
        cell.write("cell.json", {"model": model, "seed": 0, "data": "phantom"})
        cell.add_scores([Score("fidelity/fid", 1.0, 0.5, 1.5, n=9, extra=extra)], metric="m")
    assert set(compare(entries(tmp_path))["note"]) == {"few images"}
