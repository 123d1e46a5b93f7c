"""ROC curves of the attacks on logarithmic axes, on which the few subjects that are found for certain can be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.legends import legend
from cmr_bench.reporting.plots import STYLE, WIDE

COLUMNS = 3


def roc(members: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """(false-positive rates, shares of members found) at every threshold, each from 0 to 1."""
    limits = np.concatenate([[np.inf], np.unique(np.concatenate([members, others]))[::-1]])
    above = [(group[None] >= limits[:, None]).mean(1) for group in (others, members)]
    return above[0], above[1]


def roc_plot(found: Sequence[Entry], palette: Mapping[str, str]) -> Figure | None:
    """One panel an attack, one line a model (its first seed); None where no attack was made.

    Axes and curves begin at one subject; the dotted line is guessing.
    """
    curves = _curves(found)
    if not curves:
        return None
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(max(WIDE, 2.9 * columns), (2.8 if columns > 1 else 4.6) * rows + 0.4),
            layout="constrained",
        )
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for panel in grid[len(curves) :]:
            panel.remove()
        for panel, (attack, lines) in zip(grid, curves.items(), strict=False):
            least = min(1 / max(len(m), len(o)) for m, o in lines.values()) / 1.5
            panel.plot([least, 1], [least, 1], color="#999999", lw=1, ls=":")
            for group, (members, others) in lines.items():
                x, y = roc(members, others)
                colour = palette.get(group, "#333333")
                seen = y > 0  # a share of nobody has no place on a logarithmic axis
                panel.step(
                    x[seen].clip(least), y[seen], where="post", color=colour, lw=1.4, label=group
                )
            panel.set(xscale="log", yscale="log", xlim=(least, 1.05), ylim=(least, 1.05))
            panel.set_title(attack, fontsize=9, loc="left")
            panel.set_aspect("equal")
            panel.grid(color="#eeeeee")
        figure.supxlabel("share of held-out subjects called members", fontsize=9)
        figure.supylabel("share of members found", fontsize=9)
        legend(figure, grid[: len(curves)])
    return figure


def _curves(found: Sequence[Entry]) -> dict[str, dict[str, tuple[Any, Any]]]:
    """{attack: {group: (suspicion of members, of others)}}."""
    curves: dict[str, dict[str, tuple[Any, Any]]] = {}
    for entry in found:
        for path in sorted(entry.cell.folder.glob("attack_*.csv")):
            table = pd.read_csv(path)
            inside = table["member"].to_numpy(bool)
            values = table["suspicion"].to_numpy(float)
            if inside.any() and not inside.all():
                lines = curves.setdefault(path.stem.removeprefix("attack_"), {})
                lines.setdefault(entry.group, (values[inside], values[~inside]))
    return curves
