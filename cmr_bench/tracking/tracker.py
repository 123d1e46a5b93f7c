"""The record of a cell while it runs: a local log, mirrored to W&B under the keys of `record`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import ArrayLike

from cmr_bench.store import Cell
from cmr_bench.tracking.mirror import Mirror
from cmr_bench.tracking.record import (
    Sent,
    facts,
    identity,
    summary,
    tables,
    target,
    told,
)
from cmr_bench.tracking.strips import Strip, grey, read_strips, write_strip
from cmr_bench.types import Pool, Score


class Tracker(Logger):
    """Lightning's logger of a cell: `log.jsonl` and `images/`, mirrored to W&B.

    What the cell is (key, model, data, seed, sweep, tags) is read from its `cell.json`.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        config: Mapping[str, Any] | None = None,
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
        project: str = "cmr_bench",
        entity: str | None = None,
        job_type: str = "cell",
    ) -> None:
        super().__init__()
        self.cell = cell
        arguments = identity(cell, config or {}, project=project, entity=entity, job_type=job_type)
        self.target = target("online", project, entity)
        self.mirror = Mirror(cell.folder, mode=mode, arguments=arguments)
        if self.mirror.mode == "online":
            sent = Sent(cell)
            sent.write(self.target, sent.read(self.target) | {"live": True})
        self._step = 0

    @property
    def name(self) -> str:
        return "cell"

    @property
    def version(self) -> str:
        return self.cell.folder.name

    @property
    def save_dir(self) -> str:
        return str(self.cell.folder)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._step = self._step if step is None else int(step)
        # Lightning adds its epoch, and a training here is one epoch of steps.
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        self.cell.log(self._step, values)
        self.mirror.log(values, self._step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the resolved configuration was recorded when the cell was opened."""

    @rank_zero_only
    def log_image(
        self, key: str, images: ArrayLike, step: int | None = None, masks: ArrayLike | None = None
    ) -> None:
        """Images (B, 1, H, W) in [-1, 1], kept side by side in `images/<key>/<step>.png`.

        In W&B the masks (B, 1, H, W) lie over them as a layer that can be switched.
        """
        self._show(key, images, step, masks)

    def _show(
        self, key: str, images: ArrayLike, step: int | None, masks: ArrayLike | None
    ) -> Strip:
        self._step = self._step if step is None else int(step)
        planes = grey(images).reshape(-1, *np.shape(images)[-2:])
        labels = None if masks is None else np.asarray(masks, dtype=np.uint8).reshape(planes.shape)
        strip = Strip(key, self._step, planes, labels)
        write_strip(self.cell.folder / "images", strip)
        self.mirror.log_images(key, planes, labels, self._step)
        return strip

    @rank_zero_only
    def log_grid(self, key: str, *pools: Pool, step: int | None = None, count: int = 8) -> None:
        """Slices at equal distances through pools whose rows belong together, with their masks.

        Of several pools W&B also gets a table with one row a slice.
        """
        strips = []
        for pool in pools:
            rows = np.linspace(0, len(pool) - 1, min(count, len(pool))).round().astype(int)
            part = pool.take(rows)
            strips.append(self._show(f"{key}/{pool.name}", part.images, step, part.masks))
        for (name, at), (masks, images) in tables(strips).items():
            self.mirror.log_table(name, masks, images, at)

    @rank_zero_only
    def summarise(self, scores: Iterable[Score], **values: float | str) -> None:
        """The scores of the finished model in the W&B summary, and any further single values.

        The axes of a triangle (`triangle/<axis>`) also become bars.
        """
        bars = {k.split("/")[1]: float(v) for k, v in values.items() if k.startswith("triangle/")}
        self.mirror.summarise(values | summary(map(asdict, scores)))
        if bars:
            self.mirror.log_bars("triangle", bars)

    @rank_zero_only
    def finish(self, exit_code: int = 0) -> None:
        """End the W&B run; Lightning's `finalize` does not, since a cell goes on after `fit`."""
        self.mirror.summarise(facts(self.cell))
        if self.mirror.finish(exit_code) and exit_code == 0:
            steps = (row["step"] for row in self.cell.logged())
            strips = read_strips(self.cell.folder / "images")
            Sent(self.cell).write(self.target, told(self.cell, steps, strips))
