"""The learning curve: Dice against the number of real subjects, with and without synthetic images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.legends import legend
from cmr_bench.reporting.plots import STYLE, WIDE
from cmr_bench.reporting.settings import alike

DOMAINS = {"utility/": "unseen subjects", "utility/external_": "external domain"}
ALONE = "real alone"


def learning_plot(found: Sequence[Entry], palette: Mapping[str, str]) -> Figure | None:
    """One panel a setting and domain, one line a model and one for real subjects alone.

    None without few-subject arms. Cells of another data set, protocol or segmenter have panels of their own.

    Bands are the 95 % intervals over test subjects; over seeds, values are means and bands span all.
    Dotted: synthetic images alone.
    """
    settings = alike(found)
    panels = {
        (name, domain): _lines(part, domain)
        for name, part in settings.items()
        for domain in DOMAINS
    }
    panels = {where: lines for where, lines in panels.items() if len(lines.get(ALONE, ())) > 1}
    if not panels:
        return None
    with matplotlib.rc_context(STYLE):
        across = min(len(panels), len(DOMAINS))
        down = -(-len(panels) // across)
        figure = Figure(figsize=(max(WIDE, 4.4 * across), 0.6 + 2.8 * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for rest in grid[len(panels) :]:
            rest.remove()
        grid = grid[: len(panels)]
        for panel, ((name, domain), lines) in zip(grid, panels.items(), strict=True):
            for line, points in lines.items():
                _draw(panel, line, points, palette.get(line, "#333333"))
            counts = sorted({int(n) for points in lines.values() for n in points[:, 0] if n})
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(FixedLocator(counts))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.set_xticks(counts, [str(count) for count in counts])
            title = DOMAINS[domain] + (f" ({name})" if len(settings) > 1 else "")
            panel.set_title(title, fontsize=9, loc="left")
            panel.set(xlabel="real subjects", ylabel="Dice")
            panel.grid(color="#eeeeee")
            panel.set_axisbelow(True)
        legend(figure, grid)
    return figure


def _draw(panel: Axes, name: str, points: np.ndarray[Any, Any], colour: str) -> None:
    """A line with its band; a point at no real subjects is a dotted level."""
    label = name if name == ALONE else f"with {name}"
    none, some = points[points[:, 0] == 0], points[points[:, 0] > 0]
    panel.plot(some[:, 0], some[:, 1], color=colour, marker="o", ms=3.5, lw=1.3, label=label)
    panel.fill_between(some[:, 0], some[:, 2], some[:, 3], color=colour, alpha=0.12, lw=0)
    for value in none[:, 1]:
        panel.axhline(value, color=colour, lw=1.1, ls=":", label=f"{name} alone")


def _lines(found: Sequence[Entry], domain: str) -> dict[str, np.ndarray[Any, Any]]:
    """(real subjects, Dice, low, high) by count for real subjects alone and for each model."""
    rows: dict[str, dict[float, list[tuple[float, float, float]]]] = {}
    for entry in found:
        for score in entry.scores:
            extra = score.get("extra") or {}
            stem = str(score["name"]).removeprefix(domain).removesuffix("dice")
            other_domain = domain == "utility/" and stem.startswith("external_")
            ours = score["name"] == f"{domain}{stem}dice" and not other_domain
            if not ours or extra.get("on_curve") != "true" or not np.isfinite(score["value"]):
                continue
            line = ALONE if extra["synthetic"] == "none" else entry.group
            at = rows.setdefault(line, {}).setdefault(float(extra["real_subjects"]), [])
            at.append((score["value"], score["low"], score["high"]))
    lines = {}
    for name, points in rows.items():
        spans = {n: np.array(values, dtype=float) for n, values in points.items()}
        lines[name] = np.array(
            [[n, v[:, 0].mean(), v[:, 1].min(), v[:, 2].max()] for n, v in sorted(spans.items())]
        )
    return dict(sorted(lines.items(), key=lambda line: line[0] != ALONE))
