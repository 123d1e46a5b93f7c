"""The report of a store: tables, plots, and one page."""

from __future__ import annotations

import os
from pathlib import Path

from cmr_bench.reporting.axes import triangle, triangles
from cmr_bench.reporting.cells import Entry, entries
from cmr_bench.reporting.page import page
from cmr_bench.reporting.paired import paired, resolved
from cmr_bench.reporting.plots import colours, legible, png, triangle_plot
from cmr_bench.reporting.protocols import protocols
from cmr_bench.reporting.ranking import sentence
from cmr_bench.reporting.tables import compare, score_frame, terminal
from cmr_bench.store import atomic, read_json, write_json

__all__ = ["report", "triangle"]


def report(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    every_cell: bool = False,
    sweep: str | None = None,
) -> str:
    """Write table.csv, scores.csv (of each cell), pairs.csv, table.json, triangle.png and index.html; returns the table for a terminal.

    Reads the store alone, so it works while cells run and after a crash; only finished cells are compared. `out` is `<root>/report`
    unless given; `sweep` leaves out the cells of others. With `every_cell` the text begins with a line for each cell.
    """
    folder = Path(out) if out is not None else Path(root) / "report"
    every = entries(root, waiting=True, sweep=sweep)
    found = [entry for entry in every if entry.status.state != "outdated"]
    table = compare([entry for entry in found if entry.status.state == "done"])
    models = triangles(table)
    pairs = paired(found)
    for name, frame in {
        "table.csv": table,
        "scores.csv": score_frame(found),
        "pairs.csv": pairs,
    }.items():
        with atomic(folder / name) as temporary:
            frame.drop(columns="extra", errors="ignore").to_csv(temporary, index=False)
    write_json(
        folder / "table.json",
        {
            "scores": table.to_dict("records"),
            "triangle": {g: {a: s._asdict() for a, s in m.items()} for g, m in models.items()},
            "cells": [_cell(entry) for entry in found],
        },
    )
    with atomic(folder / "triangle.png") as temporary:
        temporary.write_bytes(png(triangle_plot(legible(models), colours(found))))
    with atomic(folder / "index.html") as temporary:
        temporary.write_text(page(found, table, pairs), encoding="utf-8")
    lines = cell_list(every) if every_cell else ""
    below = protocols(table) + resolved(pairs) + sentence(score_frame(found)) + status(every)
    return lines + terminal(table) + below


def status(found: list[Entry]) -> str:
    """One line on all cells, and one for each that is not done."""
    if not found:
        return "no cells yet\n"
    rest = [entry for entry in found if entry.status.state != "done"]
    lines = [f"{len(found) - len(rest)} of {len(found)} cells done"]
    lines += [f"{entry.group} seed {entry.seed}: {standing(entry)}" for entry in rest]
    return "\n".join(lines) + "\n"


def cell_list(found: list[Entry]) -> str:
    """One line for each cell: folder, model and settings, seed, and where it stands."""
    rows = [(e.cell.folder.name, e.group, f"seed {e.seed}", standing(e)) for e in found]
    widths = [max(len(row[k]) for row in rows) for k in range(3)] if rows else []
    lines = ["  ".join([*map(str.ljust, row, widths), row[3]]) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def standing(entry: Entry) -> str:
    """The state of a cell; of a failed one the last line of its error and its log."""
    log = read_json(entry.cell.folder / "failed.json").get("log")
    words = f"{entry.status.state} {entry.status.detail}".rstrip()
    return words + (f" ({log})" if log and entry.status.state == "failed" else "")


def _cell(entry: Entry) -> dict[str, object]:
    return {
        "folder": entry.cell.folder.name,
        "group": entry.group,
        "seed": entry.seed,
        "state": entry.status.state,
        "detail": entry.status.detail,
        "about": dict(entry.about),
        "environment": dict(entry.environment),
    }
