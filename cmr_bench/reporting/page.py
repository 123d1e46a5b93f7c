"""The comparison as one HTML page that needs nothing beside itself."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from cmr_bench.reporting.axes import Span, triangles
from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.clock import clock_plot
from cmr_bench.reporting.learning import learning_plot
from cmr_bench.reporting.numbers import counts, decimals, label, number
from cmr_bench.reporting.plots import (
    colours,
    curves_plot,
    legible,
    png,
    trade_off_plot,
    triangle_plot,
)
from cmr_bench.reporting.protocols import side_by_side
from cmr_bench.reporting.roc import roc_plot
from cmr_bench.reporting.tables import (
    ARROWS,
    AXES,
    LEGIBLE,
    headlines,
    parted,
)
from cmr_bench.reporting.verdicts import Verdict, verdicts
from cmr_bench.store import read_json

STAGES = ("prepare", "masks", "autoencoder", "fit", "sample", "segmenters", "instruments", "score")


def page(found: Sequence[Entry], table: pd.DataFrame) -> str:
    groups = list(dict.fromkeys(e.group for e in found))
    palette = colours(found)
    models = triangles(table)
    controls = {e.group for e in found if e.is_control}
    curves = curves_plot(found, palette)
    learning = learning_plot(found, palette)
    drawn = legible(models)
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
        groups=[group for group in groups if group in set(table["group"])],
        palette=palette,
        axes=[] if many else _rows(main),
        details=[] if many else _rows(rest),
        headlines=headlines(table) if many else None,
        protocols=[] if many else side_by_side(table),
        left_out=len(models) - len(drawn),
        triangle=_picture(triangle_plot(drawn, palette)) if models else None,
        trade_off=_picture(trade_off_plot(drawn, palette, controls)) if len(models) > 1 else None,
        curves=_picture(curves) if curves else None,
        instruments=instruments_of(found),
        learning=_picture(learning) if learning else None,
        attacks=_picture(attacks) if attacks else None,
        clock=_picture(clock) if clock else None,
        grids=_grids(found, "grid.png"),
        copies=_grids(found, "copies.png"),
        stages=[s for s in STAGES if any(s in _seconds(e) for e in found)],
        cells=[_cell(e) for e in found],
        environments=_environments(found),
        time=time.strftime("%Y-%m-%d %H:%M"),
    )


def summary(found: Sequence[Entry], models: Mapping[str, Mapping[str, Span]]) -> list[str]:
    """What was run and, for each axis, which model leads and whether the intervals separate it."""
    if not found:
        return ["The store holds no cells yet."]
    data = " and ".join(sorted({str(e.about.get("data", "?")) for e in found}))
    names = list(dict.fromkeys(e.group for e in found))
    seeds = len({e.seed for e in found})
    states = pd.Series([e.status.state for e in found]).value_counts()
    parts = ", ".join(f"{count} {state}" for state, count in states.items())
    controls = list(dict.fromkeys(e.group for e in found if e.is_control))
    models_named = _named("model", [name for name in names if name not in controls])
    who = " and ".join(filter(None, [models_named, _named("control", controls)]))
    lines = [f"{who} on {data}, {_count(seeds, 'seed')}: {_count(len(found), 'cell')}, {parts}."]
    for axis in AXES:
        rivals = {g: s[axis] for g, s in models.items() if axis in s and g not in controls}
        if len(rivals) < 2:
            continue
        first = max(rivals, key=lambda g: rivals[g].value)
        near = [g for g in rivals if g != first and rivals[g].high >= rivals[first].low]
        lead = f"{axis.capitalize()}: {first} leads with {rivals[first].value:.2f}"
        lines.append(
            f"{lead}; not separated from {' and '.join(near) if len(near) < 4 else f'{len(near)} others'}."
            if near
            else f"{lead}, apart from all others."
        )
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _named(noun: str, names: Sequence[str]) -> str:
    more = [f"and {len(names) - LEGIBLE} more"] if len(names) > LEGIBLE else []
    words = ", ".join([*names[:LEGIBLE], *more])
    return f"{_count(len(names), noun)} ({words})" if names else ""


def _picture(figure: Figure) -> dict[str, Any]:
    """A plot at its own size, in CSS pixels."""
    return {"src": _embed(png(figure)), "width": round(96 * figure.get_figwidth())}


def _embed(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Axes with their scores, each with one entry a group, as strings."""
    axes = []
    for axis, rows in table.groupby("axis", sort=False):
        scores = []
        for name, part in rows.groupby("name", sort=False):
            digits = decimals(part)
            first = part.iloc[0]
            scores.append(
                {
                    "name": name,
                    "label": label(str(name)),
                    "arrow": ARROWS.get(first["better"] or "", ""),
                    "reference": number(part["reference"].astype(float).mean(), digits),
                    "reference_name": next((t for t in part["reference_name"] if t), ""),
                    "n": counts(part),
                    "unit": first["unit"] or "",
                    "reason": _shared_reason(part),
                    "unfit": next(filter(None, part["unfit"]), ""),
                    "values": {row["group"]: _value(row, digits) for _, row in part.iterrows()},
                }
            )
        axes.append({"name": axis, "scores": scores})
    return axes


def _shared_reason(part: pd.DataFrame) -> str:
    """Why no model has this score, if all give the same reason."""
    reasons = set(part["reason"])
    return str(reasons.pop()) if len(reasons) == 1 else ""


def _value(row: pd.Series[Any], digits: int) -> dict[str, Any]:
    low, high, smallest, largest = (
        number(row[key], digits) for key in ("low", "high", "smallest", "largest")
    )
    return {
        "text": number(row["value"], digits) + " void" * bool(row["void"]),
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


def _grids(found: Sequence[Entry], name: str, most: int = 12) -> list[tuple[str, str]]:
    """The picture of this name of the first seed of each group."""
    grids: dict[str, str] = {}
    for entry in found:
        path = entry.cell.folder / name
        if entry.group not in grids and len(grids) < most and path.is_file():
            grids[entry.group] = _embed(path.read_bytes())
    return list(grids.items())


def _seconds(entry: Entry) -> dict[str, float]:
    return {k: float(v) for k, v in (entry.environment.get("seconds") or {}).items()}


def _cell(entry: Entry) -> dict[str, Any]:
    seconds = _seconds(entry)
    parameters = entry.about.get("parameters")
    encoder = entry.about.get("autoencoder_parameters")
    memory = entry.environment.get("peak_memory_gib")
    return {
        "group": entry.group,
        "seed": entry.seed,
        "folder": entry.cell.folder.name,
        "state": entry.status.state,
        "detail": entry.status.detail,
        "log": _log(entry),
        "parameters": f"{parameters / 1e6:.2f}" if parameters else "–",
        "autoencoder": f"{encoder / 1e6:.2f}" if encoder else "–",
        "nfe": entry.about.get("nfe") or "–",
        "seconds": {stage: f"{seconds[stage]:.0f}" for stage in STAGES if stage in seconds},
        "total": f"{sum(seconds.values()):.0f}" if seconds else "–",
        "memory": f"{memory:.1f}" if memory else "–",
    }


def _log(entry: Entry) -> str:
    return str(read_json(entry.cell.folder / "failed.json").get("log", ""))


def _environments(found: Sequence[Entry]) -> list[dict[str, Any]]:
    """Each distinct environment once, with the cells that ran in it."""
    seen: dict[str, dict[str, Any]] = {}
    for entry in found:
        env = entry.environment
        if not env:
            continue
        versions = ", ".join(f"{k} {v}" for k, v in (env.get("versions") or {}).items())
        facts = {
            "device": env.get("device"),
            "threads": env.get("threads"),
            "host": env.get("host"),
            "commit": env.get("git"),
            "data": env.get("data_hash"),
            "versions": versions,
        }
        known = {k: v for k, v in facts.items() if v}
        seen.setdefault(repr(known), {"facts": known, "cells": []})["cells"].append(
            f"{entry.group} seed {entry.seed}"
        )
    return list(seen.values())
