"""Pictures to look at: masks, the real images that own them, synthetic images for the masks; copies beside their originals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cmr_bench.metrics.fidelity.spaces import in_space
from cmr_bench.reporting.verdicts import verdicts
from cmr_bench.store import atomic, read_json
from cmr_bench.types import LABEL_COLOURS, LABELS, LEVELS, Pool


def grid_rows(pool: Pool, count: int) -> NDArray[np.int64]:
    """At most `count` rows at equal distances among those whose anatomy has the median area or more."""
    areas = (pool.masks != 0).flatten(1).sum(1).numpy()
    least = np.median(areas[areas > 0]) if areas.any() else 0
    rows: NDArray[np.int64] = np.flatnonzero(areas >= least)
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return rows.take(places)


def grid_figure(real: Pool | None, synthetic: Pool, *, count: int = 8) -> Figure:
    """Columns are slices; rows are mask, real, synthetic, and synthetic with the mask's outline, as far as they are there.

    Row i of `synthetic` belongs to row i of `real`, where there are real ones. All images share one grey scale,
    [-1, 1].
    """
    first = synthetic if real is None else real
    rows = grid_rows(first, count)
    names = _names(real, synthetic)
    figure = Figure(figsize=(1.15 * len(rows) + 0.3, 1.15 * len(names) + 0.45))
    panels = figure.subplots(len(names), len(rows), squeeze=False)
    foot, head = 0.22 / figure.get_figheight(), 1 - 0.2 / figure.get_figheight()
    figure.subplots_adjust(left=0.045, right=1, top=head, bottom=foot, wspace=0.02, hspace=0.02)
    for column, row in enumerate(rows):
        mask = first.masks[row, 0].numpy()
        for panel, name in zip(panels[:, column], names, strict=True):
            if name == "mask":
                _show_mask(panel, mask)
                continue
            pool = first if name == "real" else synthetic
            panel.imshow(pool.images[row, 0].numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")  # fmt: skip
            if name == "with outline":
                _outline(panel, mask)
        about = first.table.iloc[row]
        title = " ".join(str(about[key]) for key in ("phase", "level") if key in about)
        panels[0, column].set_title(title, fontsize=7, color="#555555", pad=2)
    for panel, name in zip(panels[:, 0], names, strict=True):
        panel.set_ylabel(name, fontsize=8)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    for k, name in enumerate(LABELS[1:] if "mask" in names else (), start=1):
        place = 0.05 + 0.06 * k
        figure.text(place, 0.012, name.upper(), color=LABEL_COLOURS[k], fontsize=8, weight="bold")
    return figure


def _names(real: Pool | None, synthetic: Pool) -> list[str]:
    first = synthetic if real is None else real
    masked = bool((first.masks != 0).any())
    there = {"mask": masked, "real": real is not None, "synthetic": True, "with outline": masked}
    return [name for name, shown in there.items() if shown]


def _show_mask(panel: Axes, mask: NDArray[Any]) -> None:
    panel.imshow(mask, cmap=ListedColormap(LABEL_COLOURS), vmin=0, vmax=3, interpolation="nearest")


def _outline(panel: Axes, mask: NDArray[Any]) -> None:
    for label in (2, 3, 1):  # the cavity over the muscle around it
        if (mask == label).any():
            colour = LABEL_COLOURS[label]
            panel.contour(mask == label, levels=[0.5], colors=[colour], linewidths=0.7)


def save_grid(path: str | Path, real: Pool | None, synthetic: Pool, *, count: int = 8) -> None:
    """Write the grid as PNG; its caption names the rows."""
    _save(path, grid_figure(real, synthetic, count=count), ", ".join(_names(real, synthetic)))


def subjects_figure(pools: Sequence[Pool], *, count: int = 9) -> Figure:
    """A column a subject, alike many of each pool; a row a level: the slice in the middle of it, of the first phase, outlined."""
    columns = []
    for pool in pools:
        names = np.unique(pool.subjects)
        places = np.linspace(0, len(names) - 1, min(count // len(pools), len(names))).round()
        columns += [(pool, name) for name in names[places.astype(int)]]
    figure = Figure(figsize=(1.3 * len(columns) + 0.3, 1.3 * len(LEVELS) + 0.3))
    panels = figure.subplots(len(LEVELS), len(columns), squeeze=False)
    head = 1 - 0.3 / figure.get_figheight()
    figure.subplots_adjust(left=0.03, right=1, top=head, bottom=0, wspace=0.02, hspace=0.02)
    for (pool, subject), column in zip(columns, panels.T, strict=True):
        own = pool.table[pool.subjects == subject]
        own = own[own["phase"] == own["phase"].iloc[0]]
        title = f"{subject} {own['phase'].iloc[0]}\n{pool.name}"
        column[0].set_title(title, fontsize=7, color="#555555", pad=2)
        for level, panel in zip(LEVELS, column, strict=True):
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
            rows = own.index[own["level"] == level]
            if len(rows):
                row = rows[len(rows) // 2]
                panel.imshow(pool.images[row, 0].numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")  # fmt: skip
                _outline(panel, pool.masks[row, 0].numpy())
    for level, panel in zip(LEVELS, panels[:, 0], strict=True):
        panel.set_ylabel(level, fontsize=8)
    return figure


def save_subjects(path: str | Path, pools: Sequence[Pool]) -> None:
    """Write `subjects_figure` as PNG."""
    _save(path, subjects_figure(pools), "subjects of each split: base, middle and apex")


def _save(path: str | Path, figure: Figure, caption: str) -> None:
    """As PNG, which carries its caption."""
    with atomic(path) as temporary:
        about = {"Software": None, "Description": caption}
        figure.savefig(temporary, format="png", dpi=130, metadata=about)


NEAREST = {
    "copies": ("images", "privacy/copy_rate", "pixels"),
    "mask_copies": ("masks", "privacy/mask_copy_rate", "contour"),
}
"""Tables of the nearest training row of each synthetic one: what of it was compared, the score made of it, its default space."""

CAPTION = (
    "synthetic (above), each with the training row that is nearest to it (below), at most one a training subject; "
    "0 is that row itself, 1 half way from it to another subject; red: below the limit that held-out subjects pass, "
    "grey: the score is unfit here"
)


def pairs_figure(
    synthetic: Pool,
    train: Pool,
    tables: Mapping[str, pd.DataFrame],
    *,
    unfit: Collection[str] = (),
    count: int = 6,
) -> Figure:
    """The worst pairs: synthetic images or masks (above) that are nearest to one training subject (below).

    One band a table of NEAREST and space, from the nearest pair on (0 is a copy), one pair a training subject;
    in red those below the threshold of held-out subjects, unless the rate of that space is among the scores `unfit`.
    All images share one grey scale.
    """
    bands = [
        (name, str(space), part.sort_values("near").drop_duplicates("subject").head(count))
        for name, table in tables.items()
        for space, part in table.groupby("space", sort=False)
    ]
    figure = Figure(figsize=(1.3 * count + 0.4, 3.3 * len(bands)))
    edge = 0.2 / len(bands) / 3.3
    outer = figure.add_gridspec(len(bands), 1, left=0.05, right=1, top=1 - edge, bottom=2 * edge, hspace=0.22)  # fmt: skip
    for k, (name, space, worst) in enumerate(bands):
        what, rate, default = NEAREST[name]
        struck_out = in_space(rate, space, default) in unfit
        panels = outer[k].subgridspec(2, count, wspace=0.03, hspace=0.02).subplots(squeeze=False)
        for panel in panels.flat:
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        panels[0, 0].set_ylabel(f"{what}, {space}\nsynthetic", fontsize=7)
        panels[1, 0].set_ylabel("training", fontsize=7)
        for (top, bottom), pair in zip(panels.T, worst.itertuples(), strict=False):
            for panel, pool, row in (
                (top, synthetic, int(pair.row)),
                (bottom, train, int(pair.train_row)),
            ):
                if what == "masks":
                    _show_mask(panel, pool.masks[row, 0].numpy())
                else:
                    image = pool.images[row, 0].numpy()
                    panel.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            red = pair.near < pair.limit and not struck_out
            words = f"{pair.near:.3f}, limit {pair.limit:.3f}"
            top.set_title(words, fontsize=6.5, pad=2, color="#a4262c" if red else "#777777")
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
    tested = verdicts(read_json(folder / "instruments.json"))
    unfit = {name for one in tested if one.state == "unfit" for name in one.strikes}
    figure = pairs_figure(synthetic, train, tables, unfit=unfit)
    figure.set_dpi(130)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    _save(folder / "copies.png", figure, CAPTION)
    return np.asarray(canvas.buffer_rgba())[..., :3].mean(-1) / 127.5 - 1
