"""The comparison of models: rows are scores, columns are models, over one or several seeds."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.numbers import ARROWS, arrow, counts, decimals, label, number, real
from cmr_bench.reporting.settings import setting

AXES = ("fidelity", "utility", "privacy")
COLUMNS = (
    "axis name group control value low high smallest largest seeds n unit better "
    "reference reference_name reason note void unchecked turned unfit best"
).split()
DETAIL = (
    r"_(?:lv|myo|rv)$|/(?:both|real|external_real|external_both)_|/(?:external_)?(?:few|strong|pretrained|both\d)"
    r"|_tpr_at_low_fpr$|/(?!mia_)\w+_tpr_at_fpr$"
    r"|/(?:precision|recall|density|psnr|ssim|ms_ssim)$|/(?!kid)\w+_cardiac$|fidelity/mask_(?!anatomy)"
)
"""Scores of a structure, an arm or a threshold, which stand below the others or not at all."""

TURNED = "an AUC that lies below 0.5 for certain tells members as well, the other way round: it counts as 1 − AUC"

LEGIBLE = 12
"""Models that a plot or a full table can hold beside each other; of more, only the headlines are shown."""
HEADLINES = (
    "fidelity/kid fidelity/adherence fidelity/coverage "
    "utility/dice utility/dice_ratio privacy/copy_rate privacy/mia_auc"
).split()


def score_frame(found: Iterable[Entry]) -> pd.DataFrame:
    """One row for each score of each cell, as it stands in `scores.jsonl`."""
    rows: list[dict[str, object]] = []
    for e in found:
        whose = {"group": e.group, "model": e.model, "control": e.is_control, "seed": e.seed}
        whose |= {"cell": e.cell.folder.name, "setting": setting(e)}
        rows += [whose | score for score in e.scores]
    return pd.DataFrame(rows)


def compare(found: Sequence[Entry]) -> pd.DataFrame:
    """One row for each score and group, in the order in which metrics answered.

    Over seeds: `value` is the mean, `smallest` and `largest` its range; `low` and `high` span the
    95 % subject intervals of all seeds. `best`: the interval lies apart from those of all others.
    """
    frame = score_frame(found)
    if frame.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    table = _over_seeds(frame).reindex(columns=list(COLUMNS))
    table["best"] = False
    for _, part in table.groupby("name", sort=False):
        if (winner := _winner(part)) is not None:
            table.loc[winner, "best"] = True
    axes = {axis: k for k, axis in enumerate(dict.fromkeys([*AXES, *table["axis"]]))}
    names = {name: k for k, name in enumerate(dict.fromkeys(table["name"]))}
    place = [(axes[a], names[n]) for a, n in zip(table["axis"], table["name"], strict=True)]
    return table.iloc[sorted(range(len(table)), key=place.__getitem__)].reset_index(drop=True)


def _over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each (name, group); a seed without a finite value counts for nothing but its reason."""
    keys = ["name", "group"]
    numbers = ["value", "low", "high", "reference"]
    frame = frame.astype(dict.fromkeys(numbers, float))
    frame["finite"] = np.isfinite(frame["value"])
    for mark in ("void", "unchecked", "note"):
        frame[mark] = frame["extra"].map(lambda e, k=mark: said(e, k)) if "extra" in frame else ""
    frame["unfit"] = frame["unfit"].fillna("") if "unfit" in frame else ""
    there = frame[frame["finite"]].groupby(keys, sort=False)
    kept = ["axis", "control", "unit", "better", "reference_name", "reason", "note", "finite"]
    last = frame.sort_values("finite", kind="stable").groupby(keys, sort=False).tail(1)
    order = pd.MultiIndex.from_frame(frame[keys].drop_duplicates())
    table = last.set_index(keys)[kept].reindex(order)
    table["value"] = there["value"].mean()
    table["smallest"], table["largest"] = there["value"].min(), there["value"].max()
    table["low"], table["high"] = there["low"].min(), there["high"].max()
    table["reference"] = there["reference"].mean()
    for column, counted in (("seeds", there.size()), ("n", there["n"].min())):
        table[column] = counted.reindex(order).fillna(0).astype(int)
    for mark in ("void", "unchecked", "unfit"):
        table[mark] = there[mark].max().reindex(order).fillna("")
    names = order.get_level_values("name")
    table["turned"] = [
        TURNED * turned(*one) for one in zip(names, table["high"], table["void"], strict=True)
    ]
    table["note"] = table.groupby(level="name")["note"].transform("max")
    reasons = table["reason"].fillna("").replace("", "no finite value")
    table["reason"] = reasons.where(~table["finite"], "")
    return table.reset_index()


def said(extra: Any, what: str) -> str:
    """What a score says of itself: `void`, why it is no evidence about the model, `unchecked`, why that is not known, or `note`, how to read it; mostly nothing."""
    return str(extra.get(what, "")) if isinstance(extra, dict) else ""


def turned(name: str, high: float, void: str = "") -> bool:
    """Whether a score is the AUC of an attack that tells members from others the wrong way round, for certain."""
    return bool(re.search(r"^privacy/\w+_auc(?:_|$)", name)) and high < 0.5 and not void


def _winner(part: pd.DataFrame) -> Any:
    """The model whose interval lies on the better side of all others'; controls do not compete, nor do attacks `turned`."""
    rivals = part[~part["control"].astype(bool) & np.isfinite(part["value"].astype(float))]
    if (
        len(rivals) < 2
        or rivals["better"].iloc[0] not in ARROWS
        or (rivals[["void", "unchecked", "turned", "unfit"]] != "").any(axis=None)
    ):
        return None
    if not np.isfinite(rivals[["low", "high"]].astype(float)).all(axis=None):
        return None
    if rivals["better"].iloc[0] == "higher":
        first, others = rivals["value"].idxmax(), rivals["high"]
        apart = rivals.loc[first, "low"] > others.drop(first)
    else:
        first, others = rivals["value"].idxmin(), rivals["low"]
        apart = rivals.loc[first, "high"] < others.drop(first)
    return first if bool(apart.all()) else None


def parted(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The main scores, and those in more detail."""
    detail = table["name"].str.contains(DETAIL)
    return table[~detail], table[detail]


def terminal(table: pd.DataFrame, *, width: int = 100, columns: int = 3) -> str:
    """The main scores as text, `columns` models beside each other."""
    if table.empty:
        return ""
    groups = list(dict.fromkeys(table["group"]))
    main, _ = parted(table)
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None, legacy_windows=False)
    if len(groups) > LEGIBLE:
        console.print(_headlines(table))
    else:
        for at in range(0, len(groups), columns):
            console.print(_block(main, groups[at : at + columns]))
    if main["best"].any():
        console.print("* better than every other model, interval against interval")
    skipped = main[main["reason"] != ""].drop_duplicates(["name", "reason"])
    for name, reason in zip(skipped["name"], skipped["reason"], strict=True):
        console.print(f"– {name}: {reason}")
    for note, part in main[main["note"] != ""].groupby("note", sort=False):
        console.print(f"{', '.join(map(label, dict.fromkeys(part['name'])))}: {note}")
    for line in read_so(main):
        console.print(line)
    for name, reason in zip(*_unfit(main), strict=True):
        console.print(f"✗ {name}: {reason}")
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def headlines(table: pd.DataFrame) -> tuple[list[str], dict[str, list[str]]]:
    """Names of the headline scores, and what real data and each group scored there: for more models than columns."""
    part = table[table["name"].isin(HEADLINES)]
    names = [name for name in HEADLINES if name in set(part["name"])]
    digits = {name: decimals(rows) for name, rows in part.groupby("name")}
    rows = {"real": [real(part[part["name"] == name], digits[name]) for name in names]}
    rows |= {str(group): ["–"] * len(names) for group in table["group"]}
    for _, row in part.iterrows():
        text = number(row["value"], digits[row["name"]]) + _marks(row)
        rows[str(row["group"])][names.index(row["name"])] = text
    return names, rows


def _headlines(table: pd.DataFrame) -> Table:
    names, rows = headlines(table)
    view = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    view.add_column("", overflow="fold")
    for name in names:
        side = arrow(table[table["name"] == name])
        view.add_column(f"{label(name)} {side}", justify="right")
    for group, texts in rows.items():
        view.add_row(group, *texts)
    return view


def _unfit(table: pd.DataFrame) -> tuple[Any, Any]:
    """Names of the scores that are struck out, and why."""
    found = table[table["unfit"] != ""].drop_duplicates(["name", "unfit"])
    return found["name"], found["unfit"]


def _block(main: pd.DataFrame, groups: Sequence[str]) -> Table:
    block = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    block.add_column("", no_wrap=True)
    block.add_column("real", justify="right", no_wrap=True)
    block.add_column("n", justify="right", no_wrap=True)
    for group in groups:
        block.add_column(group, justify="left", overflow="fold")
    shown = main[main["group"].isin(groups)]
    for axis, rows in shown.groupby("axis", sort=False):
        block.add_section()
        block.add_row(str(axis).upper())
        for name, part in rows.groupby("name", sort=False):
            every = main[main["name"] == name]
            digits = decimals(every)
            by_group = part.set_index("group")
            cells = [
                _cell(by_group.loc[group], digits) if group in by_group.index else ""
                for group in groups
            ]
            title = f" {label(str(name))} {arrow(every)}"
            block.add_row(title, real(every, digits), counts(every), *cells)
    return block


def _cell(row: pd.Series[Any], digits: int) -> str:
    if row["reason"]:
        return "–"
    text = number(row["value"], digits)
    if math.isfinite(row["low"]) and math.isfinite(row["high"]):
        text += f" [{number(row['low'], digits)}, {number(row['high'], digits)}]"
    return text + _marks(row)


def _marks(row: pd.Series[Any]) -> str:
    """What is to be known of a value beside itself."""
    return " *" * bool(row["best"]) + flags(row) + " ✗" * bool(row["unfit"])


def read_so(table: pd.DataFrame) -> list[str]:
    """What the `flags` of a table mean, one line a reason."""
    words = {"void": "void", "unchecked": "unchecked", "turned": "turned round"}
    return [
        f"{word}: {reason}"
        for mark, word in words.items()
        for reason in dict.fromkeys(table.loc[table[mark] != "", mark])
    ]


def flags(row: pd.Series[Any]) -> str:
    """Of the result of an attack: that it is no evidence about the model, may be none, or is to be read the other way round."""
    return "".join(f" {mark}" for mark in ("void", "unchecked", "turned") if row[mark])
