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
from cmr_bench.reporting.settings import setting

AXES = ("fidelity", "utility", "privacy")
ARROWS = {"higher": "↑", "lower": "↓"}
COLUMNS = (
    "axis name group control value low high smallest largest seeds n unit better "
    "reference reference_name reason best"
).split()
DETAIL = (
    r"_(?:lv|myo|rv)$|/(?:both|real|external_real)_|/(?:external_)?(?:few|strong|pretrained|both\d)"
    r"|/(?:precision|recall|density|psnr|ssim|ms_ssim)$"
)
"""Scores that stand in the full table only."""


def score_frame(found: Iterable[Entry]) -> pd.DataFrame:
    """One row for each score of each cell, as it stands in `scores.jsonl`."""
    rows = [
        {"group": e.group, "control": e.is_control, "seed": e.seed, "cell": e.cell.folder.name}
        | {"setting": setting(e)}
        | score
        for e in found
        for score in e.scores
    ]
    return pd.DataFrame(rows)


def compare(found: Sequence[Entry]) -> pd.DataFrame:
    """One row for each score and group, in the order in which metrics answered.

    Over seeds: `value` is the mean, `smallest` and `largest` its range; `low` and `high` span the
    95 % subject intervals of all seeds. `best`: the interval lies apart from those of all others.
    """
    frame = score_frame(found)
    if frame.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = [
        _over_seeds(part) | {"name": name, "group": group}
        for (name, group), part in frame.groupby(["name", "group"], sort=False)
    ]
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    table["best"] = False
    for _, part in table.groupby("name", sort=False):
        if (winner := _winner(part)) is not None:
            table.loc[winner, "best"] = True
    axes = {axis: k for k, axis in enumerate(dict.fromkeys([*AXES, *table["axis"]]))}
    names = {name: k for k, name in enumerate(dict.fromkeys(table["name"]))}
    place = [(axes[a], names[n]) for a, n in zip(table["axis"], table["name"], strict=True)]
    return table.iloc[sorted(range(len(table)), key=place.__getitem__)].reset_index(drop=True)


def _over_seeds(part: pd.DataFrame) -> dict[str, Any]:
    there = part[np.isfinite(part["value"].astype(float))]
    last = (there if len(there) else part).iloc[-1]
    values = there["value"].astype(float)
    return {
        **{k: last.get(k) for k in ("axis", "control", "unit", "better", "reference_name")},
        "value": values.mean(),
        "low": there["low"].astype(float).min(),
        "high": there["high"].astype(float).max(),
        "smallest": values.min(),
        "largest": values.max(),
        "seeds": len(there),
        "n": int(there["n"].min()) if len(there) else 0,
        "reference": there["reference"].astype(float).mean(),
        "reason": "" if len(there) else last.get("reason") or "no finite value",
    }


def _winner(part: pd.DataFrame) -> Any:
    """The model whose interval lies on the better side of all others'; controls do not compete."""
    rivals = part[~part["control"].astype(bool) & np.isfinite(part["value"].astype(float))]
    if len(rivals) < 2 or rivals["better"].iloc[0] not in ARROWS:
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


def decimals(part: pd.DataFrame) -> int:
    """Digits after the point for a row: the typical interval is 3 to 30 units of the last one."""
    width = (part["high"].astype(float) - part["low"].astype(float)).replace(0, np.nan).median()
    if not math.isfinite(width):
        largest = part["value"].astype(float).abs().max()
        width = largest / 10 if math.isfinite(largest) and largest > 0 else 0.1
    return int(np.clip(-math.floor(math.log10(width / 3)), 0, 5))


def number(value: float, digits: int) -> str:
    """With a true minus sign; a dash for what is not there."""
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def label(name: str) -> str:
    """Name without its axis, with the physical unit where it has one."""
    units = {r"paper.*(?:hd95|asd)": "pixels", r"hd95|_asd|/asd": "mm", "psnr": "dB", "volume_error": "ml", "ef_error": "%", "worth$": "patients"}  # fmt: skip
    unit = next((f" ({unit})" for part, unit in units.items() if re.search(part, name)), "")
    return name.split("/", 1)[-1] + unit


def counts(part: pd.DataFrame) -> str:
    numbers = sorted({int(n) for n in part["n"].dropna() if n})
    return "–".join(map(str, dict.fromkeys([numbers[0], numbers[-1]]))) if numbers else "–"


def terminal(table: pd.DataFrame, *, width: int = 100, columns: int = 3) -> str:
    """The main scores as text, `columns` models beside each other."""
    if table.empty:
        return ""
    groups = list(dict.fromkeys(table["group"]))
    main = table[~table["name"].str.contains(DETAIL)]
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None, legacy_windows=False)
    for at in range(0, len(groups), columns):
        console.print(_block(main, groups[at : at + columns]))
    if main["best"].any():
        console.print("* better than every other model, interval against interval")
    skipped = main[main["reason"] != ""].drop_duplicates(["name", "reason"])
    for name, reason in zip(skipped["name"], skipped["reason"], strict=True):
        console.print(f"– {name}: {reason}")
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


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
            digits = decimals(main[main["name"] == name])
            by_group = part.set_index("group")
            cells = [
                _cell(by_group.loc[group], digits) if group in by_group.index else ""
                for group in groups
            ]
            real = number(part["reference"].astype(float).mean(), digits)
            arrow = ARROWS.get(part["better"].iloc[0] or "", " ")
            block.add_row(f" {label(str(name))} {arrow}", real, counts(part), *cells)
    return block


def _cell(row: pd.Series[Any], digits: int) -> str:
    if row["reason"]:
        return "–"
    text = number(row["value"], digits)
    if math.isfinite(row["low"]) and math.isfinite(row["high"]):
        text += f" [{number(row['low'], digits)}, {number(row['high'], digits)}]"
    return text + " *" * bool(row["best"])
