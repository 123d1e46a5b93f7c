"""The memorisation clock: loss gap, attacks and copies against the optimiser step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.legends import legend
from cmr_bench.reporting.plots import STYLE, WIDE

PANELS = {
    "loss_gap": "loss, held-out less training",
    "mia_auc": "loss attack, AUC",
    "extraction_auc": "extraction by masks, AUC",
    "copy_rate": "near-copies, share of images",
}
PREFIX = "memorisation/"
STEP = "privacy/memorisation_step"

Curve = np.ndarray[Any, Any]
"""(checkpoints, 5): step, value, lower and upper limit, reference; nan where there is none."""


def clock_plot(found: Sequence[Entry], palette: Mapping[str, str]) -> Figure | None:
    """One panel a quantity, one line a model (its first seed); None where no clock ran for two checkpoints.

    Bands are 95 % intervals, dotted lines what a model that knows nobody gets, dashed ones the step where
    memorisation began.
    """
    first = {entry.group: entry for entry in reversed(found)}
    clocks = {group: curves(entry.cell.logged()) for group, entry in sorted(first.items())}
    panels = [
        name for name in PANELS if any(len(clock.get(name, ())) > 1 for clock in clocks.values())
    ]
    if not panels:
        return None
    with matplotlib.rc_context(STYLE):
        across = min(2, len(panels))
        down = -(-len(panels) // across)
        figure = Figure(figsize=(max(WIDE, 4.4 * across), 0.6 + 2.4 * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for rest in grid[len(panels) :]:
            rest.remove()
        for panel, name in zip(grid, panels, strict=False):
            for group, clock in clocks.items():
                if len(clock.get(name, ())) > 1:
                    _draw(panel, clock[name], group, palette.get(group, "#333333"))
                    _mark(panel, first[group], palette.get(group, "#333333"))
            panel.set_title(PANELS[name], fontsize=9, loc="left")
            panel.set_xlabel("step")
            panel.grid(color="#eeeeee")
            panel.set_axisbelow(True)
        legend(figure, grid[: len(panels)])
    return figure


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """The curves of PANELS out of the rows of a log."""
    logged: dict[str, dict[int, float]] = {}
    for row in rows:
        name = str(row.get("name"))
        if name.startswith(PREFIX) and row.get("value") is not None:
            at = logged.setdefault(name.removeprefix(PREFIX), {})
            at[int(row["step"])] = float(row["value"])
    train, held_out = (logged.get(name, {}) for name in ("train_loss", "held_out_loss"))
    logged["loss_gap"] = {step: held_out[step] - train[step] for step in train if step in held_out}
    logged["loss_gap_reference"] = dict.fromkeys(train, 0.0)
    ends = ("", "_low", "_high", "_reference")
    return {
        name: np.array(
            [
                [step, *(logged.get(name + end, {}).get(step, np.nan) for end in ends)]
                for step in sorted(logged[name])
            ]
        )
        for name in PANELS
        if logged.get(name)
    }


def _draw(panel: Axes, curve: Curve, label: str, colour: str) -> None:
    step, value, low, high, reference = curve.T
    panel.plot(step, value, color=colour, marker="o", ms=3, lw=1.3, label=label)
    panel.fill_between(step, low, high, color=colour, alpha=0.12, lw=0)
    panel.plot(step, reference, color="#999999", lw=1, ls=":")


def step_of(entry: Entry) -> float | None:
    """The step where memorisation began; None where it did not."""
    steps = [score["value"] for score in entry.scores if score["name"] == STEP]
    return next((float(step) for step in steps if step is not None and np.isfinite(step)), None)


def _mark(panel: Axes, entry: Entry, colour: str) -> None:
    if (step := step_of(entry)) is not None:
        panel.axvline(step, color=colour, lw=1, ls="--")
