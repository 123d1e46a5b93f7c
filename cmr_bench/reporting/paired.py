"""Which models differ on the same patients: paired differences, corrected for how many were looked at.

Two models whose intervals overlap may still differ: both were judged on the same subjects, and what makes a subject
easy or hard for both falls out of the difference.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from cmr_bench.discrimination import auc_difference, wins
from cmr_bench.metrics.utility.crossed import estimate, p_of_none
from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.numbers import label, number
from cmr_bench.reporting.tables import said
from cmr_bench.stats import Array, Estimate, holm

log = logging.getLogger(__name__)

MOST = 20
"""Pairs of models that are compared; more would be a search."""
RESOLVED = 0.05

COLUMNS = ("name", "first", "second", "difference", "low", "high", "n", "p")
JUDGES = ("data.", "external.", "segmenter.", "metric.")
"""Settings of the data and the judges: where they differ, it is not the model that makes the difference."""
DICE = {"test": "utility/dice", "external": "utility/external_dice"}


def paired(found: Sequence[Entry]) -> pd.DataFrame:
    """One row a score and pair of models: first less second on the subjects that both were judged on.

    Scores are the Dice of segmenters that saw synthetic images alone, with intervals over subjects and seeds of the models (of
    the segmenters, where a model has one), and the AUC of each attack on membership that is not void, over subjects alone,
    averaged over seeds. `p_holm` is corrected for the number of rows (Holm 1979). Pairs have the same data and judges, and differ in the model or in its settings, not in both; controls
    are left out, and of more than MOST pairs none is compared.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in found:
        if entry.status.state == "done" and not entry.is_control:
            groups.setdefault(entry.group, []).append(entry)
    pairs = [(a, b) for a, b in combinations(groups, 2) if _alike(groups[a][0], groups[b][0])]
    if len(pairs) > MOST:
        log.info("%d pairs of models: none is compared; report sweep=NAME takes fewer", len(pairs))
        pairs = []
    answers = {name: by_subject(groups[name]) for name in dict.fromkeys(sum(pairs, ()))}
    rows = [
        (name, a, b, *estimate, n, p)
        for a, b in pairs
        for name in sorted(answers[a].keys() & answers[b].keys(), key=_place)
        for estimate, n, p in [gap(name, answers[a][name], answers[b][name])]
        if n
    ]
    table = pd.DataFrame(rows, columns=[*COLUMNS])
    return table.assign(p_holm=holm(table["p"]))


def _alike(a: Entry, b: Entry) -> bool:
    """One model in two settings, or two models in one, judged alike; images made elsewhere have no settings of ours."""
    keys = {*a.settings, *b.settings}
    differ = {key for key in keys if a.settings.get(key) != b.settings.get(key)}
    told = a.settings.keys() & b.settings.keys() - {"data.limit"}
    if any(key.startswith(JUDGES) for key in differ & told):
        return False
    others = [key for key in differ if not key.startswith("model.")]
    return a.model == b.model or "released" in (a.model, b.model) or not others


def _place(name: str) -> tuple[bool, str]:
    return name not in DICE.values(), name


def by_subject(cells: Sequence[Entry]) -> dict[str, pd.DataFrame]:
    """What each sound score is the mean of: the Dice of each volume and structure, or `wins` of members (rows) over others."""
    parts: dict[str, list[pd.DataFrame]] = {}
    for entry in cells:
        folder = entry.cell.folder
        sound = {
            r["name"] for r in entry.scores if not (said(r.get("extra"), "void") or r.get("unfit"))
        }
        if (path := folder / "utility_volumes.csv").is_file():
            table = pd.read_csv(path, dtype={"subject": str})
            for domain, part in table[table["arm"] == "synthetic"].groupby("domain"):
                parts.setdefault(DICE[str(domain)], []).append(part.assign(seed=entry.seed))
        for path in sorted(folder.glob("attack_*.csv")):
            table = pd.read_csv(path, dtype={"subject": str}).set_index("subject")
            sides = {side: part["suspicion"] for side, part in table.groupby("member")}
            if len(sides) == 2:
                won = wins(sides[True].to_numpy(float), sides[False].to_numpy(float))
                frame = pd.DataFrame(won, sides[True].index, sides[False].index)
                name = f"privacy/{path.stem.removeprefix('attack_')}_auc"
                parts.setdefault(name, []).append(frame)
        parts = {name: tables for name, tables in parts.items() if name in sound}
    return {
        name: pd.concat(tables)
        if name in DICE.values()
        else sum(tables[1:], tables[0]) / len(tables)
        for name, tables in parts.items()
    }


def gap(name: str, first: pd.DataFrame, second: pd.DataFrame) -> tuple[Estimate, int, float]:
    """(difference of the means, subjects, p) over the subjects and structures that both know."""
    if name in DICE.values():
        one, other = cells(first, second)
        if not one.size:
            return Estimate(float("nan"), float("nan"), float("nan")), 0, float("nan")
        gain = one - other
        found = estimate(lambda m: m[:, 0], gain[None], gain)
        return found, gain.shape[1], p_of_none(gain)
    both = first.sub(second).dropna(axis=0, how="all").dropna(axis=1)
    found, p = auc_difference(both.to_numpy())
    return found, sum(both.shape) if both.size else 0, p


def cells(first: pd.DataFrame, second: pd.DataFrame) -> tuple[Array, Array]:
    """(K, n) mean Dice of two models over the structures that both label, in the seeds or fits and in the subjects of both."""
    shared = {*first["label"]} & {*second["label"]}
    several = min(table["seed"].nunique() for table in (first, second)) > 1
    one, other = (
        table[table["label"].isin(shared)]
        .pivot_table(index="seed" if several else "fit", columns="subject", values="dice")
        .reset_index(drop=True)
        for table in (first, second)
    )
    one, other = one.align(other, join="inner")
    known = (one + other).notna().all()
    return one.loc[:, known].to_numpy(), other.loc[:, known].to_numpy()


def resolved(table: pd.DataFrame) -> str:
    """A line for each difference that stands after the correction, or one that says that none does."""
    if table.empty:
        return ""
    many = f"after Holm's correction for {table['p'].count()} comparisons"
    stands = table[table["p_holm"] < RESOLVED].to_dict("records")
    if not stands:
        return f"no two models differ on the same subjects, {many}\n"
    return f"on the same subjects, {many}:\n" + "".join(map(_line, stands))


def _line(row: Any) -> str:
    better = "above" if row["difference"] > 0 else "below"
    value, low, high, p = (number(row[key], 3) for key in ("difference", "low", "high", "p_holm"))
    return f"  {label(row['name'])} of {row['first']} is {better} that of {row['second']}: {value} [{low}, {high}], p {p}\n"
