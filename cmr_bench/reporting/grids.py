"""Pictures to look at: masks, the real images that own them, synthetic images for the masks; copies beside their originals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cmr_bench.store import atomic
from cmr_bench.types import LABEL_COLOURS, LABELS, Pool


def grid_rows(pool: Pool, count: int) -> NDArray[np.int64]:
    """At most `count` rows with anatomy in them, at equal distances through the pool."""
    rows: NDArray[np.int64] = np.flatnonzero((pool.masks != 0).flatten(1).any(1).numpy())
    if not len(rows):
        rows = np.arange(len(pool))
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return rows.take(places)


def grid_figure(real: Pool | None, synthetic: Pool, *, count: int = 8) -> Figure:
    """Columns are slices; rows are mask, real, synthetic, and synthetic with the mask's outline.

    Row i of `synthetic` belongs to row i of `real`, where there are real ones. All images share one grey scale,
    [-1, 1].
    """
    shown = {"synthetic": synthetic} if real is None else {"real": real, "synthetic": synthetic}
    first = next(iter(shown.values()))
    rows = grid_rows(first, count)
    names = ("mask", *shown, "with outline")
    figure = Figure(figsize=(1.15 * len(rows) + 0.3, 1.15 * len(names) + 0.45))
    panels = figure.subplots(len(names), len(rows), squeeze=False)
    figure.subplots_adjust(left=0.045, right=1, top=0.945, bottom=0.055, wspace=0.02, hspace=0.02)
    for column, row in enumerate(rows):
        mask = first.masks[row, 0].numpy()
        images = [pool.images[row, 0].numpy() for pool in (*shown.values(), synthetic)]
        _show_mask(panels[0, column], mask)
        for panel, image in zip(panels[1:, column], images, strict=True):
            panel.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        _outline(panels[-1, column], mask)
        about = first.table.iloc[row]
        title = " ".join(str(about[key]) for key in ("phase", "level") if key in about)
        panels[0, column].set_title(title, fontsize=7, color="#555555", pad=2)
    for panel, name in zip(panels[:, 0], names, strict=True):
        panel.set_ylabel(name, fontsize=8)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    for k, name in enumerate(LABELS[1:], start=1):
        place = 0.05 + 0.06 * k
        figure.text(place, 0.012, name.upper(), color=LABEL_COLOURS[k], fontsize=8, weight="bold")
    return figure


def _show_mask(panel: Axes, mask: NDArray[Any]) -> None:
    panel.imshow(mask, cmap=ListedColormap(LABEL_COLOURS), vmin=0, vmax=3, interpolation="nearest")


def _outline(panel: Axes, mask: NDArray[Any]) -> None:
    for label in (2, 3, 1):  # the cavity over the muscle around it
        if (mask == label).any():
            colour = LABEL_COLOURS[label]
            panel.contour(mask == label, levels=[0.5], colors=[colour], linewidths=0.7)


def save_grid(path: str | Path, real: Pool | None, synthetic: Pool, *, count: int = 8) -> None:
    """Write the grid as PNG."""
    figure = grid_figure(real, synthetic, count=count)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})


NEAREST = {"copies": "images", "mask_copies": "masks"}
"""Tables of the nearest training row of each synthetic one, and what of it was compared."""


def pairs_figure(
    synthetic: Pool, train: Pool, tables: Mapping[str, pd.DataFrame], *, count: int = 6
) -> Figure:
    """The worst pairs: synthetic images or masks (above) that are nearest to one training subject (below).

    One band a table of NEAREST and space, from the nearest pair on (0 is a copy); in red those below
    the threshold of held-out subjects. All images share one grey scale.
    """
    bands = [
        (f"{NEAREST[name]}, {space}", NEAREST[name], part.nsmallest(count, "near"))
        for name, table in tables.items()
        for space, part in table.groupby("space", sort=False)
    ]
    figure = Figure(figsize=(1.3 * count + 0.4, 3.3 * len(bands)))
    panels = figure.subplots(2 * len(bands), count, squeeze=False)
    figure.subplots_adjust(left=0.05, right=1, top=1 - 0.12 / len(bands), bottom=0.13 / len(bands), wspace=0.03, hspace=0.32)  # fmt: skip
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    for k, (title, what, worst) in enumerate(bands):
        above, below = panels[2 * k : 2 * k + 2]
        above[0].set_ylabel(f"{title}\nsynthetic", fontsize=7)
        below[0].set_ylabel("training", fontsize=7)
        for top, bottom, pair in zip(above, below, worst.itertuples(), strict=False):
            for panel, pool, row in (
                (top, synthetic, int(pair.row)),
                (bottom, train, int(pair.train_row)),
            ):
                if what == "masks":
                    _show_mask(panel, pool.masks[row, 0].numpy())
                else:
                    image = pool.images[row, 0].numpy()
                    panel.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            copied = pair.near < pair.limit
            words = f"{pair.near:.2f}, limit {pair.limit:.2f}"
            top.set_title(words, fontsize=6.5, pad=2, color="#a4262c" if copied else "#555555")
            bottom.set_xlabel(
                f"{pair.subject}\ndistance {pair.distance:.3g}", fontsize=6.5, labelpad=2
            )
    return figure


def save_pairs(folder: Path, synthetic: Pool, train: Pool) -> NDArray[np.float64] | None:
    """Write `copies.png` from the tables of NEAREST in the folder of a cell; its grey values in [-1, 1], None without a table."""
    there = [name for name in NEAREST if (folder / f"{name}.csv").is_file()]
    if not there:
        return None
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in there}
    figure = pairs_figure(synthetic, train, tables)
    figure.set_dpi(130)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    with atomic(folder / "copies.png") as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
    return np.asarray(canvas.buffer_rgba())[..., :3].mean(-1) / 127.5 - 1
