from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmr_bench.discrimination import auc, auc_difference, wins
from cmr_bench.reporting import report
from cmr_bench.reporting.cells import entries
from cmr_bench.reporting.paired import paired
from cmr_bench.seeds import numpy_rng
from cmr_bench.stats import holm
from cmr_bench.store import Store
from cmr_bench.types import Score

TEST = [f"{k:03d}" for k in range(12)]


def answer(cell: Path, dice: np.ndarray, suspicion: np.ndarray) -> None:
    """Two volumes and two structures of each of twelve subjects, and what an attack says of forty."""
    volumes = [
        {"domain": "test", "arm": arm, "subject": s, "phase": phase, "label": k, "fit": 0, "dice": d - 0.3 * (arm == "real")}
        for arm in ("synthetic", "real")
        for s, d in zip(TEST, dice, strict=True)
        for phase in ("ED", "ES")
        for k in (1, 2)
    ]  # fmt: skip
    pd.DataFrame(volumes).to_csv(cell / "utility_volumes.csv", index=False)
    about = {"subject": range(40), "member": np.arange(40) < 25, "suspicion": suspicion}
    pd.DataFrame(about).to_csv(cell / "attack_mia.csv", index=False)


@pytest.fixture
def store(root: Path, tmp_path: Path) -> Store:
    """DDPM is a little worse than FM on each patient; patients differ far more than models do. LDM was not asked."""
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    rng = numpy_rng("paired")
    hard, seen = rng.uniform(0.5, 0.9, 12), rng.normal(size=40)
    for entry in entries(tmp_path):
        if entry.group != "ldm":
            fm = entry.group == "fm"
            dice = hard - 0.03 * (not fm) + rng.normal(0, 0.005, 12)
            answer(entry.cell.folder, dice, seen + 4.0 * fm * (np.arange(40) < 25))
    return Store(tmp_path)


def test_patients_tell_models_apart_whose_intervals_overlap(store: Store, tmp_path: Path) -> None:
    table = paired(entries(tmp_path)).set_index("name")
    dice = table.loc["utility/dice"]
    assert (dice["first"], dice["second"], dice["n"]) == ("ddpm", "fm", 12)
    assert dice["high"] < 0 and abs(dice["difference"] + 0.03) < 0.01
    attack = table.loc["privacy/mia_auc"]
    assert attack["n"] == 40 and attack["high"] < -0.2
    np.testing.assert_allclose(table["p_holm"], holm(table["p"]))
    text = report(tmp_path)
    assert "dice of ddpm is below that of fm" in text and "2 comparisons" in text
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<td>ddpm − fm</td><td><span class=" in page


def test_fits_are_as_much_a_chance_as_subjects(store: Store, tmp_path: Path) -> None:
    """Three fits that differ by far more than patients do: the models are no longer told apart."""
    far = {"ddpm": (-0.2, 0.0, 0.2), "fm": (0.2, 0.0, -0.2)}
    for entry in entries(tmp_path):
        if entry.group in far:
            path = entry.cell.folder / "utility_volumes.csv"
            table = pd.read_csv(path)
            fits = [table.assign(fit=k, dice=table["dice"] + d) for k, d in enumerate(far[entry.group])]  # fmt: skip
            pd.concat(fits).to_csv(path, index=False)
    one_seed = [e for e in entries(tmp_path) if e.seed == entries(tmp_path)[0].seed]
    row = paired(one_seed).set_index("name").loc["utility/dice"]
    assert row["difference"] == pytest.approx(-0.03, abs=0.01)
    assert row["low"] < -0.3 and row["high"] > 0.3 and row["p"] > 0.5


def test_seeds_are_averaged_within_a_subject(store: Store, tmp_path: Path) -> None:
    found = entries(tmp_path)
    mean = {}
    for model in ("ddpm", "fm"):
        tables = [
            pd.read_csv(e.cell.folder / "utility_volumes.csv") for e in found if e.group == model
        ]
        both = pd.concat(tables)
        mean[model] = both[both["arm"] == "synthetic"].groupby("subject")["dice"].mean()
    row = paired(found).set_index("name").loc["utility/dice"]
    assert row["difference"] == pytest.approx((mean["ddpm"] - mean["fm"]).mean())
    assert row["low"] < row["difference"] < row["high"] < 0 and row["p"] < 0.05


def test_void_attacks_and_controls_are_not_compared(store: Store, tmp_path: Path) -> None:
    for cell in store.cells():
        void = Score(
            "privacy/mia_auc", 0.6, 0.5, 0.7, extra={"void": "the blind baseline succeeds"}
        )
        cell.add_scores([void], metric="mia")
    assert set(paired(entries(tmp_path))["name"]) == {"utility/dice"}
    one = [e for e in entries(tmp_path) if e.group == "fm"]
    assert paired(one).empty


def test_an_attack_without_members_is_no_comparison(store: Store, tmp_path: Path) -> None:
    for path in tmp_path.glob("cells/*/attack_mia.csv"):
        table = pd.read_csv(path)
        table[~table["member"]].to_csv(path, index=False)
    assert set(paired(entries(tmp_path))["name"]) == {"utility/dice"}
    report(tmp_path)


def test_the_difference_of_two_aucs() -> None:
    """Its value is that of two AUCs; its p is uniform where both know alike much, also from the same subjects."""
    rng = numpy_rng("delong")
    p = []
    for _ in range(400):
        shared = rng.normal(size=60)
        first, second = (
            shared + rng.normal(size=60) + 0.5 * (np.arange(60) < 35) for _ in range(2)
        )
        gap = wins(first[:35], first[35:]) - wins(second[:35], second[35:])
        found, one = auc_difference(gap, repeats=50)
        p.append(one)
    assert found.value == pytest.approx(auc(first[:35], first[35:]).value - auc(second[:35], second[35:]).value)  # fmt: skip
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.085
    assert auc_difference(0 * gap)[1] == 1.0
    assert np.isnan(auc_difference(gap[:2])[1]) and np.isnan(auc_difference(gap[:, :0])[0].value)


def test_what_is_unfit_judged_otherwise_or_of_other_data_is_not_compared(
    store: Store, tmp_path: Path
) -> None:
    found = entries(tmp_path)
    unfit = [
        {**row, "unfit": "accuses heldout" * row["name"].endswith("auc")} for row in found[0].scores
    ]
    struck = [replace(e, scores=unfit) for e in found]
    assert set(paired(struck)["name"]) == {"utility/dice"}
    for key, value in {
        "data.vendors": "[D]",
        "segmenter.fit.steps": 9,
        "metric.kid.repeats": 1,
    }.items():
        others = [
            replace(e, settings={**e.settings, key: value if e.group == "fm" else 0}) for e in found
        ]
        assert paired(others).empty
    limited = [replace(e, settings={**e.settings, "data.limit": 8}) for e in found]
    assert len(paired(limited)) == 2


def test_dice_is_that_of_the_structures_that_both_models_label(
    store: Store, tmp_path: Path
) -> None:
    for path in tmp_path.glob("cells/fm-*/utility_volumes.csv"):
        table = pd.read_csv(path)
        table[table["label"] == 1].to_csv(path, index=False)
    for path in tmp_path.glob("cells/ddpm-*/utility_volumes.csv"):
        table = pd.read_csv(path)
        table.loc[table["label"] == 2, "dice"] = 0.0
        table.to_csv(path, index=False)
    row = paired(entries(tmp_path)).set_index("name").loc["utility/dice"]
    assert abs(row["difference"] + 0.03) < 0.01


def test_attacks_without_a_subject_in_common_are_no_comparison(
    store: Store, tmp_path: Path
) -> None:
    for path in tmp_path.glob("cells/fm-*/attack_mia.csv"):
        table = pd.read_csv(path)
        table["subject"] += 100 * table["member"]
        table.to_csv(path, index=False)
    assert set(paired(entries(tmp_path))["name"]) == {"utility/dice"}
