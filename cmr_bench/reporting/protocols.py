"""How much of a ranking is protocol: our scores beside those of the study's own definitions, on the same samples."""

from __future__ import annotations

import io
import math
from typing import Any, NamedTuple

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from cmr_bench.reporting.numbers import decimals, number
from cmr_bench.types import LABELS


class Pair(NamedTuple):
    """Scores that answer one question: ours, several of which are averaged, and the study's."""

    ours: tuple[str, ...]
    study: str


def _each(what: str) -> tuple[str, ...]:
    return tuple(f"utility/{what}_{structure}" for structure in LABELS[1:])


PAIRS = {
    "Dice": Pair(("utility/dice",), "utility/paper_dice"),
    "HD95 (mm, pixels)": Pair(_each("hd95"), "utility/paper_hd95"),
    "ASD (mm, pixels)": Pair(_each("asd"), "utility/paper_asd"),
    "SSIM": Pair(("fidelity/ssim",), "fidelity/paper_ssim"),
    "MS-SSIM": Pair(("fidelity/ms_ssim",), "fidelity/paper_ms_ssim"),
    "PSNR (dB)": Pair(("fidelity/psnr",), "fidelity/paper_psnr"),
    "LPIPS": Pair(("fidelity/lpips",), "fidelity/paper_lpips"),
    "FID": Pair(("fidelity/fid",), "fidelity/paper_fid"),
    "attack, AUC": Pair(("privacy/mia_auc",), "privacy/fcre_auc"),
}
SIDES = ("ours", "the study's")


def side_by_side(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Two rows a measure, ours and the study's, out of the table of `compare`; none without the study's scores.

    `texts` has each model's value with its interval (ours is a mean over structures where it stands
    without one), `real` what real data score, `reason` why there is no value, `order` the models from
    the highest value to the lowest, and `verdict` whether both sides order two or more alike.
    """
    rows: list[dict[str, Any]] = []
    if not table["name"].str.contains("/paper_").any():
        return rows
    for measure, pair in PAIRS.items():
        parts = [table[table["name"].isin(names)] for names in (pair.ours, (pair.study,))]
        if all(len(part) for part in parts):
            sides = [_side(part) for part in parts]
            orders = [side["order"] for side in sides]
            verdict = "same" if orders[0] == orders[1] else "differs"
            verdict = verdict if min(map(len, orders)) > 1 else ""
            rows += [
                {"measure": measure, "side": side, "verdict": verdict, **found}
                for side, found in zip(SIDES, sides, strict=True)
            ]
    return rows if any(row["texts"] for row in rows) else []


def _side(part: pd.DataFrame) -> dict[str, Any]:
    numbers = part.astype(dict.fromkeys(("value", "low", "high", "reference"), float))
    if numbers["name"].nunique() > 1:
        numbers[["low", "high"]] = float("nan")
    there = numbers[numbers["value"].notna()]
    means = there.groupby("group", sort=False)[["value", "low", "high", "reference"]].mean()
    digits = decimals(numbers) if numbers["low"].notna().any() else 2
    models = means.drop(index=set(part.loc[part["control"].astype(bool), "group"]) & {*means.index})
    return {
        "real": number(means["reference"].mean(), digits),
        "texts": {str(group): _text(row, digits) for group, row in means.iterrows()},
        "reason": "" if len(there) else next(filter(None, part["reason"]), ""),
        "order": [str(name) for name in models["value"].sort_values(ascending=False).index],
    }


def _text(row: pd.Series, digits: int) -> str:
    limits = [number(row[key], digits) for key in ("low", "high")]
    span = f" [{limits[0]}, {limits[1]}]" if math.isfinite(row["low"]) else ""
    return number(row["value"], digits) + span


def protocols(table: pd.DataFrame, *, width: int = 100) -> str:
    """The rows of `side_by_side` as text; empty without the study's scores."""
    rows = side_by_side(table)
    if not rows:
        return ""
    groups = list(dict.fromkeys(group for row in rows for group in row["texts"]))
    view = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for title in ("by definition", "", "real", *groups, "order"):
        view.add_column(title, overflow="fold")
    for row in rows:
        first = row["side"] == SIDES[0]
        order = row["verdict"] if first else ""
        texts = [row["texts"].get(group, "–") for group in groups]
        view.add_row(row["measure"] if first else "", row["side"], row["real"], *texts, order)
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, legacy_windows=False).print(view)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    return "\n".join([*lines, *missing(rows)]) + "\n"


def missing(rows: list[dict[str, Any]]) -> list[str]:
    """One line a value that is not there: what it needs."""
    return [f"– {r['measure']}, {r['side']}: {r['reason']}" for r in rows if r["reason"]]
