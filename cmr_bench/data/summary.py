"""What a prepared data set holds, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table

from cmr_bench.data.pools import load_table
from cmr_bench.data.splits import SPLITS
from cmr_bench.store.files import read_json

SHOWN = 20


def summary(folder: str | Path) -> Group:
    """Subjects and slices by split, vendor and pathology; voxels outside the crop; warnings and faults."""
    table = load_table(folder)
    table = table[table["split"].isin(SPLITS)]
    manifest = read_json(Path(folder) / "manifest.json")
    notes: list[RenderableType] = [_counts(table, str(manifest.get("name", "")))]
    if manifest.get("outside"):
        notes.append("labelled voxels outside the crop: " + _shares(manifest["outside"]))
    left = sum(volume.get("slices_unlabelled", 0) for volume in manifest.get("volumes", []))
    if left:
        notes.append(f"slices without a label: {left}")
    if planted := manifest.get("canaries"):
        count = len(planted["repeats"]) // 2
        notes.append(f"planted phantom subjects: {count}, and {count} like them for comparison")
    faults = [f"{fault['file']}: {fault['fault']}" for fault in manifest.get("faults", [])]
    notes += _list("warnings", manifest.get("warnings", [])) + _list("left out for a fault", faults)
    notes.append(f"prepared in {folder}")
    return Group(*notes)


def _counts(table: pd.DataFrame, title: str) -> Table:
    grid = Table(title=title, title_justify="left")
    grid.add_column("")
    for name in (*SPLITS, "all"):
        grid.add_column(name, justify="right")
    parts = [table[table["split"] == name] for name in SPLITS] + [table]
    grid.add_row("subjects", *(str(part["subject"].nunique()) for part in parts))
    grid.add_row("slices", *(str(len(part)) for part in parts), end_section=True)
    for column in ("vendor", "pathology"):
        for value in sorted(set(table[column])):
            counts = [part.loc[part[column] == value, "subject"].nunique() for part in parts]
            grid.add_row(f"{column} {value or '(unknown)'}", *map(str, counts))
        grid.add_section()
    return grid


def _shares(shares: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())


def _list(title: str, lines: Sequence[str]) -> list[RenderableType]:
    more = [f"  ... and {len(lines) - SHOWN} more in manifest.json"] if len(lines) > SHOWN else []
    return (
        [f"{title}: {len(lines)}", *(f"  {line}" for line in lines[:SHOWN]), *more] if lines else []
    )
