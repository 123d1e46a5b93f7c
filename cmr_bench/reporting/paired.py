"""Which models differ on the same patients: paired differences, corrected for how many were looked at.

Two models whose intervals overlap may still differ: both were judged on the same subjects, and what makes a subject
easy or hard for both falls out of the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from cmr_bench.discrimination import auc_difference, wins
from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.numbers import label, number
from cmr_bench.reporting.tables import void
from cmr_bench.stats import Estimate, difference, difference_p, holm, subject_means

MOST = 20
"""Pairs of models that are compared; more would be a search."""
RESOLVED = 0.05

COLUMNS = ("name", "first", "second", "difference", "low", "high", "n", "p")
DICE = {"test": "utility/dice", "external": "utility/external_dice"}


def paired(found: Sequence[Entry]) -> pd.DataFrame:
    """One row a score and pair of models: first less second on the subjects that both were judged on.

    Scores are the Dice of segmenters that saw synthetic images alone, and the AUC of each attack on membership that is
    not void; seeds of a model are averaged within a subject. Intervals resample subjects; `p_holm` is corrected for the
    number of rows (Holm 1979). Pairs differ in the model or in its settings, not in both; controls are left out, and of
    more than MOST pairs none is compared.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in found:
        if entry.status.state == "done" and not entry.is_control:
            groups.setdefault(entry.group, []).append(entry)
    pairs = [(a, b) for a, b in combinations(groups, 2) if _alike(groups[a][0], groups[b][0])]
    pairs = pairs if len(pairs) <= MOST else []
    scores = {name: by_subject(groups[name]) for name in dict.fromkeys(sum(pairs, ()))}
    rows = [
        (name, a, b, *estimate, n, p)
        for a, b in pairs
        for name in sorted(scores[a].keys() & scores[b].keys(), key=_place)
        for estimate, n, p in [gap(scores[a][name], scores[b][name])]
        if n
    ]
    table = pd.DataFrame(rows, columns=[*COLUMNS])
    return table.assign(p_holm=holm(table["p"]))


def _alike(a: Entry, b: Entry) -> bool:
    """One model in two settings, or two models in one; images made elsewhere have no settings of ours."""
    settings = [e.group.removeprefix(e.model) for e in (a, b) if e.model != "released"]
    return a.model == b.model or len(set(settings)) < 2


def _place(name: str) -> tuple[bool, str]:
    return name not in DICE.values(), name


def by_subject(cells: Sequence[Entry]) -> dict[str, Any]:
    """What each score is the mean of: the Dice of each subject, or `wins` of members (rows) over others (columns)."""
    parts: dict[str, list[Any]] = {}
    for entry in cells:
        folder = entry.cell.folder
        if (path := folder / "utility_volumes.csv").is_file():
            table = pd.read_csv(path, dtype={"subject": str})
            for domain, part in table[table["arm"] == "synthetic"].groupby("domain"):
                dice = subject_means(part["dice"], part["subject"])
                parts.setdefault(DICE[str(domain)], []).append(dice)
        sound = {row["name"] for row in entry.scores if not void(row.get("extra"))}
        for path in sorted(folder.glob("attack_*.csv")):
            name = f"privacy/{path.stem.removeprefix('attack_')}_auc"
            if name in sound:
                table = pd.read_csv(path, dtype={"subject": str}).set_index("subject")
                sides = {side: part["suspicion"] for side, part in table.groupby("member")}
                if len(sides) < 2:
                    continue
                won = wins(sides[True].to_numpy(float), sides[False].to_numpy(float))
                frame = pd.DataFrame(won, sides[True].index, sides[False].index)
                parts.setdefault(name, []).append(frame)
    return {name: sum(tables[1:], tables[0]) / len(tables) for name, tables in parts.items()}


def gap(first: Any, second: Any) -> tuple[Estimate, int, float]:
    """(difference of the means, subjects, p) over the subjects that both know."""
    both = first.sub(second)
    if isinstance(both, pd.Series):
        return difference(first, second), both.count(), difference_p(first, second)
    both = both.dropna(axis=0, how="all").dropna(axis=1)
    estimate, p = auc_difference(both.to_numpy())
    return estimate, sum(both.shape), p


def resolved(table: pd.DataFrame) -> str:
    """A line for each difference that stands after the correction, or one that says that none does."""
    if table.empty:
        return ""
    many = f"after Holm's correction for {len(table)} comparisons"
    stands = table[table["p_holm"] < RESOLVED].to_dict("records")
    if not stands:
        return f"no two models differ on the same subjects, {many}\n"
    return f"on the same subjects, {many}:\n" + "".join(map(_line, stands))


def _line(row: Any) -> str:
    better = "above" if row["difference"] > 0 else "below"
    value, low, high, p = (number(row[key], 3) for key in ("difference", "low", "high", "p_holm"))
    return f"  {label(row['name'])} of {row['first']} is {better} that of {row['second']}: {value} [{low}, {high}], p {p}\n"
