"""Plots of a comparison: triangle, trade-off of axis pairs, training curves."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmr_bench.reporting.axes import Span, complete
from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.legends import legend
from cmr_bench.reporting.tables import AXES, LEGIBLE

COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"),
    *("#332288", "#882255", "#999933", "#aa4499", "#44aa99", "#661100"),
)
"""Those of Okabe and Ito (2008), distinct also to colour-blind readers; from the eighth model on muted ones of Tol (2021)."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": "#333333",
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "legend.frameon": False,
}


WIDE = 6.5
"""Least width of a figure in inches, so that one panel alone is no thumbnail."""


def png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=160, metadata={"Software": None})
    return stream.getvalue()


def colours(found: Sequence[Entry]) -> dict[str, str]:
    """A colour for each group; controls are grey."""
    groups = {entry.group: entry.is_control for entry in found}
    models = [group for group, control in groups.items() if not control]
    palette = {group: COLOURS[k % len(COLOURS)] for k, group in enumerate(models)}
    greys = ("#8c8c8c", "#b3b3b3", "#666666")
    controls = [group for group, control in groups.items() if control]
    return palette | {group: greys[k % len(greys)] for k, group in enumerate(controls)}


def legible(models: Mapping[str, Any]) -> dict[str, Any]:
    """The first models, as many as a plot can hold."""
    return dict(list(models.items())[:LEGIBLE])


def triangle_plot(models: Mapping[str, Mapping[str, Span]], palette: Mapping[str, str]) -> Figure:
    """Axes from the centre (0) to the corners (1, as good as real data), one outline a model."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        corners = {axis: _corner(k) for k, axis in enumerate(AXES)}
        _web(axes, list(corners.values()))
        for axis, (x, y) in corners.items():
            axes.text(1.13 * x, 1.13 * y, axis, ha="center", va="center", weight="bold")
        for k, (group, spans) in enumerate(models.items()):
            shift = 0.022 * (k - (len(models) - 1) / 2)
            _outline(axes, corners, spans, colour=palette[group], name=group, shift=shift)
        axes.set_aspect("equal")
        axes.axis("off")
        axes.set(xlim=(-1.15, 1.15), ylim=(-0.72, 1.22))
        legend(figure, [axes])
        if not models:
            axes.text(0, 0.2, "no scores yet", ha="center", color="#999999")
    return figure


def _corner(k: int) -> tuple[float, float]:
    angle = math.radians(90 - 120 * k)
    return math.cos(angle), math.sin(angle)


def _web(axes: Axes, corners: Sequence[tuple[float, float]]) -> None:
    ring = [*corners, corners[0]]
    for share in (0.25, 0.5, 0.75, 1.0):
        shade = "#999999" if share == 1 else "#dddddd"
        axes.plot(*(share * np.array(ring)).T, color=shade, lw=0.8, zorder=0)
        axes.text(
            0, share, f"{share:g}", color="#666666", fontsize=7, ha="center", va="center", zorder=5,
            bbox={"fc": "white", "ec": "none", "alpha": 0.85, "pad": 0.8},
        )  # fmt: skip
    for x, y in corners:
        axes.plot([0, x], [0, y], color="#dddddd", lw=0.8, zorder=0)


def _outline(
    axes: Axes,
    corners: Mapping[str, tuple[float, float]],
    spans: Mapping[str, Span],
    *,
    colour: str,
    name: str,
    shift: float,
) -> None:
    """Markers at the values, bars along the axes for the intervals, moved sideways by `shift`."""
    points = []
    for axis, (value, low, high) in spans.items():
        along = np.array(corners[axis])
        aside = shift * np.array([-along[1], along[0]])
        axes.plot(
            *np.transpose([low * along + aside, high * along + aside]),
            color=colour,
            lw=2.4,
            alpha=0.45,
            solid_capstyle="butt",
        )
        points.append(value * along + aside)
    ring = [*points, points[0]] if len(points) == len(AXES) else points
    axes.plot(*np.transpose(ring), color=colour, lw=1.3, marker="o", ms=4, label=name)
    if complete(spans):
        axes.fill(*np.transpose(points), color=colour, alpha=0.04, lw=0)


def trade_off_plot(
    models: Mapping[str, Mapping[str, Span]],
    palette: Mapping[str, str],
    controls: Collection[str] = (),
) -> Figure | None:
    """Pairs of axes that two models have or more; filled where no other model is as good on both and better on one.

    Controls are shown as squares and do not compete. None without such a pair.
    """
    pairs = {
        pair: there
        for pair in combinations(AXES, 2)
        if len(there := {g: s for g, s in models.items() if s.keys() >= set(pair)}) > 1
    }
    if not pairs:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(WIDE, 3 * len(pairs)), 3.2), layout="constrained")
        panels = figure.subplots(1, len(pairs), squeeze=False).flat
        for panel, ((one, two), there) in zip(panels, pairs.items(), strict=True):
            for group, spans in there.items():
                x, y = spans[one], spans[two]
                beaten = any(
                    other[one].value >= x.value
                    and other[two].value >= y.value
                    and (other[one].value, other[two].value) != (x.value, y.value)
                    for name, other in there.items()
                    if name not in controls
                )
                panel.errorbar(
                    x.value,
                    y.value,
                    xerr=[[x.value - min(x.low, x.value)], [max(x.high, x.value) - x.value]],
                    yerr=[[y.value - min(y.low, y.value)], [max(y.high, y.value) - y.value]],
                    fmt="s" if group in controls else "o",
                    color=palette[group],
                    mfc="white" if beaten else palette[group],
                    elinewidth=1,
                    label=group,
                )
            panel.set(xlabel=one, ylabel=two)
            panel.grid(color="#eeeeee")
            panel.set_axisbelow(True)
        legend(figure, figure.axes)
    return figure


def curves_plot(
    found: Sequence[Entry], palette: Mapping[str, str], *, panels: int = 6, most: int = 24
) -> Figure | None:
    """What was logged against the optimiser step, one panel a name, of the first `most` cells; None if nothing was."""
    curves: dict[str, list[tuple[str, np.ndarray[Any, Any]]]] = {}
    for entry in found[:most]:
        for name, points in _curves(entry).items():
            if len(points) > 1:
                curves.setdefault(name, []).append((entry.group, points))
    names = sorted(curves, key=lambda name: ("loss" not in name, name))[:panels]
    if not names:
        return None
    wide = min(3, len(names))
    high = math.ceil(len(names) / wide)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(WIDE, 3 * wide), 2.3 * high + 0.3), layout="constrained")
        grid = figure.subplots(high, wide, squeeze=False)
        for panel in grid.flat[len(names) :]:
            panel.axis("off")
        for panel, name in zip(grid.flat, names, strict=False):
            for group, points in curves[name]:
                panel.plot(*points.T, color=palette[group], lw=1, alpha=0.8, label=group)
            values = np.concatenate([points[:, 1] for _, points in curves[name]])
            if "loss" in name and values.min() > 0 and values.max() > 10 * values.min():
                panel.set_yscale("log")
            panel.set_title(name, fontsize=9, loc="left")
            panel.set_xlabel("step")
        legend(figure, grid.flat[: len(names)])
    return figure


def _curves(entry: Entry, *, most: int = 400) -> dict[str, np.ndarray[Any, Any]]:
    """(step, value) by name, thinned by means over equal stretches of the log to `most` points."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in entry.cell.logged():
        ours = str(row.get("name")).startswith("memorisation/")  # it has a plot of its own
        if row.get("value") is not None and row.get("name") not in ("epoch", None) and not ours:
            points.setdefault(str(row["name"]), []).append((row["step"], row["value"]))
    return {
        name: np.array([np.mean(part, axis=0) for part in np.array_split(pairs, most) if len(part)])
        for name, pairs in points.items()
    }
