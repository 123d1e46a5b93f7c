"""The comparison as one HTML page that needs nothing beside itself."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from cmr_bench.reporting.axes import triangles
from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.clock import clock_plot, step_of
from cmr_bench.reporting.cost import STAGES, cost, environments, seconds_of
from cmr_bench.reporting.learning import learning_plot
from cmr_bench.reporting.meanings import meaning
from cmr_bench.reporting.numbers import arrow, counts, decimals, label, number, real
from cmr_bench.reporting.paired import RESOLVED
from cmr_bench.reporting.plots import (
    colours,
    curves_plot,
    legible,
    png,
    trade_off_plot,
    triangle_plot,
)
from cmr_bench.reporting.protocols import side_by_side
from cmr_bench.reporting.ranking import sentence
from cmr_bench.reporting.roc import roc_plot
from cmr_bench.reporting.summary import origin_lines, summary
from cmr_bench.reporting.tables import (
    HEADLINES,
    LEGIBLE,
    flags,
    parted,
    read_so,
    score_frame,
)
from cmr_bench.reporting.verdicts import Verdict, verdicts
from cmr_bench.store import read_json


def page(found: Sequence[Entry], table: pd.DataFrame, pairs: pd.DataFrame) -> str:
    groups = list(dict.fromkeys(table["group"]))
    palette = colours(found)
    models = triangles(table)
    controls = {e.group for e in found if e.is_control}
    curves = curves_plot(found, palette)
    learning = learning_plot(found, palette)
    drawn = legible(models)
    trade_off = trade_off_plot(drawn, palette, controls)
    many = len(groups) > LEGIBLE
    attacks = roc_plot(found, palette)
    main, rest = parted(table)
    clock = clock_plot(found, palette)
    template = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
    ).get_template("page.html")
    return template.render(
        sentences=summary(found, models),
        origins=origin_lines(table),
        groups=groups,
        palette=palette,
        axes=[] if many else _rows(main),
        details=[] if many else _rows(rest),
        headlines=_headlines(table) if many else [],
        marks=read_so(table),
        protocols=[] if many else side_by_side(table),
        pairs=_pairs(pairs),
        agreement=sentence(score_frame(found)).splitlines(),
        left_out=len(models) - len(drawn),
        triangle=_picture(triangle_plot(drawn, palette)) if models else None,
        trade_off=_picture(trade_off) if trade_off else None,
        curves=_picture(curves) if curves else None,
        instruments=instruments_of(found),
        untested=untested_of(found),
        learning=_picture(learning) if learning else None,
        attacks=_picture(attacks) if attacks else None,
        clock=_picture(clock) if clock else None,
        began=any(step_of(e) is not None for e in found),
        grids=_grids(found, "grid.png"),
        copies=_grids(found, "copies.png"),
        stages=[s for s in STAGES if any(s in seconds_of(e) for e in found)],
        cells=[cost(e) for e in found],
        environments=environments(found),
        time=time.strftime("%Y-%m-%d %H:%M"),
    )


def _picture(figure: Figure) -> dict[str, Any]:
    """A plot at its own size, in CSS pixels."""
    return {"src": _embed(png(figure)), "width": round(96 * figure.get_figwidth())}


def _embed(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Axes with their scores, those under one note together; each score with one entry a group, as strings."""
    axes = []
    for (axis, note), rows in table.groupby(["axis", "note"], sort=False):
        scores = []
        for name, part in rows.groupby("name", sort=False):
            digits = decimals(part)
            n = counts(part)
            scores.append(
                {
                    "name": name,
                    "label": label(str(name)),
                    "meaning": meaning(str(name)),
                    "arrow": arrow(part),
                    "reference": real(part, digits),
                    "reference_name": next((t for t in part["reference_name"] if t), ""),
                    "n": n,
                    "unit": next((unit for unit in part["unit"] if unit), ""),
                    "reason": _shared_reason(part),
                    "unfit": next(filter(None, part["unfit"]), ""),
                    "values": {
                        row["group"]: _value(row, digits) | {"n": row["n"] if " to " in n else ""}
                        for _, row in part.iterrows()
                    },
                }
            )
        axes.append({"name": axis, "note": note, "scores": scores})
    return axes


def _pairs(pairs: pd.DataFrame) -> dict[str, Any]:
    """One column a score, one row a pair of models; empty where nothing was compared."""
    names = list(dict.fromkeys(pairs["name"]))
    digits = {
        name: 1 + decimals(part.rename(columns={"difference": "value"}))
        for name, part in pairs.groupby("name")
    }
    rows = []
    for (first, second), part in pairs.groupby(["first", "second"], sort=False):
        texts = {
            row["name"]: {
                **{k: number(row[k], digits[row["name"]]) for k in ("difference", "low", "high")},
                "p": number(row["p_holm"], 3),
                "stands": row["p_holm"] < RESOLVED,
            }
            for row in part.to_dict("records")
        }
        rows.append({"pair": f"{first} − {second}", "texts": texts})
    return {"names": {name: label(name) for name in names}, "rows": rows} if rows else {}


def _headlines(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The headline scores in their order, for more models than columns."""
    scores = [score for axis in _rows(table) for score in axis["scores"]]
    return sorted(
        (s for s in scores if s["name"] in HEADLINES), key=lambda s: HEADLINES.index(s["name"])
    )


def _shared_reason(part: pd.DataFrame) -> str:
    """Why no model has this score, if all give the same reason."""
    reasons = set(part["reason"])
    return str(reasons.pop()) if len(reasons) == 1 else ""


def _value(row: pd.Series[Any], digits: int) -> dict[str, Any]:
    low, high, smallest, largest = (
        number(row[key], digits) for key in ("low", "high", "smallest", "largest")
    )
    return {
        "text": number(row["value"], digits) + flags(row),
        "interval": "" if "–" in (low, high) else f"{low} to {high}",
        "seeds": "" if smallest == largest else f"seeds {smallest} to {largest}",
        "best": bool(row["best"]),
        "reason": row["reason"],
        "unfit": row["unfit"],
    }


def instruments_of(found: Sequence[Entry]) -> list[Verdict]:
    """The verdicts on all metrics of all cells; cells on the same data share them."""
    records = (read_json(e.cell.folder / "instruments.json") for e in found)
    return list(dict.fromkeys(verdict for record in records for verdict in verdicts(record)))


def untested_of(found: Sequence[Entry]) -> dict[str, list[str]]:
    """The metrics that no control tests, by why not."""
    why: dict[str, list[str]] = {}
    for entry in found:
        record = read_json(entry.cell.folder / "instruments.json")
        for name, reason in record.get("untested", {}).items():
            why.setdefault(reason, []).append(label(name))
    return {reason: list(dict.fromkeys(names)) for reason, names in why.items()}


def _grids(found: Sequence[Entry], name: str, most: int = 12) -> list[tuple[str, str, str]]:
    """The first whole picture of this name in each group, and the caption that it carries."""
    grids: dict[str, tuple[str, str, str]] = {}
    for entry in found:
        path = entry.cell.folder / name
        if entry.group in grids or len(grids) == most or not path.is_file():
            continue
        try:
            with Image.open(path) as picture:
                picture.load()
                caption = str(picture.info.get("Description", ""))
        except (OSError, SyntaxError):  # what Pillow says of a torn PNG
            continue
        grids[entry.group] = (entry.group, _embed(path.read_bytes()), caption)
    return list(grids.values())
