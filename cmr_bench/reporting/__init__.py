"""The report of a store: tables, plots, and one page."""

from __future__ import annotations

import os
from pathlib import Path

from cmr_bench.reporting.axes import triangle, triangles
from cmr_bench.reporting.cells import Entry, entries
from cmr_bench.reporting.page import page
from cmr_bench.reporting.plots import colours, png, triangle_plot
from cmr_bench.reporting.ranking import sentence
from cmr_bench.reporting.tables import compare, score_frame, terminal
from cmr_bench.store import atomic, read_json, write_json

__all__ = ["report", "triangle"]


def report(root: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> str:
    """Write table.csv, table.json, triangle.png and index.html; returns the table for a terminal.

    Reads the store alone, so it works while cells run and after a crash. `out` is `<root>/report`
    unless given.
    """
    folder = Path(out) if out is not None else Path(root) / "report"
    found = entries(root)
    table = compare(found)
    models = triangles(table)
    with atomic(folder / "table.csv") as temporary:
        table.to_csv(temporary, index=False)
    write_json(
        folder / "table.json",
        {
            "scores": table.to_dict("records"),
            "triangle": {g: {a: s._asdict() for a, s in m.items()} for g, m in models.items()},
            "cells": [_cell(entry) for entry in found],
        },
    )
    with atomic(folder / "triangle.png") as temporary:
        temporary.write_bytes(png(triangle_plot(models, colours(found))))
    with atomic(folder / "index.html") as temporary:
        temporary.write_text(page(found, table), encoding="utf-8")
    return terminal(table) + sentence(score_frame(found)) + status(found)


def status(found: list[Entry]) -> str:
    """One line on all cells, and one for each that is not done."""
    if not found:
        return "no cells yet\n"
    done = sum(entry.status.state == "done" for entry in found)
    lines = [f"{done} of {len(found)} cells done"]
    for entry in found:
        if entry.status.state != "done":
            log = read_json(entry.cell.folder / "failed.json").get("log")
            words = f"{entry.group} seed {entry.seed}: {entry.status.state} {entry.status.detail}"
            lines.append(words.rstrip() + (f" ({log})" if log else ""))
    return "\n".join(lines) + "\n"


def _cell(entry: Entry) -> dict[str, object]:
    return {
        "folder": entry.cell.folder.name,
        "group": entry.group,
        "seed": entry.seed,
        "state": entry.status.state,
        "detail": entry.status.detail,
        "about": dict(entry.about),
        "environment": dict(entry.environment),
        "scores": entry.scores,
    }
