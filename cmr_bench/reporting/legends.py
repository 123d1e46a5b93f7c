"""Legends that a figure makes room for: below it, never wider than it, long names shortened in the middle."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

ROW, HANDLE = 0.2, 0.65
"""Height of a row, and width of a handle with its gaps, in inches."""


def legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """Each label of the panels once; the figure grows by the height of the rows."""
    shown = {
        label: handle
        for panel in panels
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    if not shown:
        return
    width, height = figure.get_size_inches()
    room = width - HANDLE - 0.2
    names = [short(name, int(len(name) * min(1, room / inches(name)))) for name in shown]
    columns = int((width - 0.2) / (HANDLE + max(map(inches, names))))
    columns = min(max(columns, 1), 6, len(names))
    figure.set_figheight(height + ROW * -(-len(names) // columns))
    figure.legend(shown.values(), names, loc="outside lower center", ncols=columns)


def inches(name: str) -> float:
    """Width of a text of 9 points, letters being rounded to whole pixels when drawn."""
    return 1.1 * float(TextPath((0, 0), name, size=9).get_extents().width) / 72


def short(name: str, most: int) -> str:
    """The name in at most so many letters, without its middle."""
    if len(name) <= most:
        return name
    half = (most - 1) // 2
    return f"{name[: most - 1 - half]}…{name[len(name) - half :]}"
