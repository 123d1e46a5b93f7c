"""The record of a cell while it runs: a local log, mirrored to W&B.

Documented keys of a W&B run: id = key of the cell; group = sweep; tags = model, data, protocol and
the cell's own; history under the names that were logged, with the optimiser step as its step;
summary under the names of the scores (`fidelity/kid`), their limits and counts beside them
(`fidelity/kid_low`, `fidelity/kid_high`, `fidelity/kid_n`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.image import imsave
from numpy.typing import ArrayLike

from cmr_bench.store import Cell, atomic
from cmr_bench.tracking.mirror import Mirror
from cmr_bench.types import LABELS, Pool, Score


class Tracker(Logger):
    """Lightning's logger of a cell: `log.jsonl` and `images/`, mirrored to W&B.

    What the cell is (key, model, data, seed, sweep, tags) is read from its `cell.json`.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        config: Mapping[str, Any] | None = None,
        mode: str = "auto",
        project: str = "cmr_bench",
        entity: str | None = None,
        job_type: str = "cell",
    ) -> None:
        super().__init__()
        self.cell = cell
        about = cell.about
        words = [str(about.get(word) or "") for word in ("model", "data", "protocol")]
        tags = dict.fromkeys([*words, *map(str, about.get("tags") or [])])
        arguments = {
            "id": about.get("key") or cell.folder.name,
            "name": "-".join([word for word in words[:2] if word] + [f"s{about.get('seed', 0)}"]),
            "group": about.get("sweep") or None,
            "tags": [tag[:64] for tag in tags if tag],
            "config": dict(config or {}),
            "project": project,
            "entity": entity,
            "job_type": job_type,
        }
        self.mirror = Mirror(cell.folder, mode=mode, arguments=arguments)
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
        """Images (B, 1, H, W) in [-1, 1], kept as one row in `images/<key>-<step>.png`.

        In W&B the masks (B, 1, H, W) lie over them as a layer that can be switched.
        """
        self._step = self._step if step is None else int(step)
        planes = np.asarray(images, dtype=np.float32).reshape(-1, *np.shape(images)[-2:])
        labels = None if masks is None else np.asarray(masks).reshape(planes.shape)
        path = self.cell.folder / "images" / f"{key.replace('/', '-')}-{self._step:07d}.png"
        with atomic(path) as temporary:
            imsave(temporary, np.concatenate(list(planes), axis=1), vmin=-1, vmax=1, cmap="gray")
        classes = dict(enumerate(LABELS))
        self.mirror.log_images(key, planes, masks=labels, classes=classes, step=self._step)

    @rank_zero_only
    def log_grid(self, key: str, *pools: Pool, step: int | None = None, count: int = 8) -> None:
        """Slices at equal distances through pools whose rows belong together, with their masks."""
        for pool in pools:
            rows = np.linspace(0, len(pool) - 1, min(count, len(pool))).round().astype(int)
            part = pool.take(rows)
            self.log_image(f"{key}/{pool.name}", part.images, step, part.masks)

    @rank_zero_only
    def summarise(self, scores: Iterable[Score], **values: float | str) -> None:
        """The scores of the finished model in the W&B summary, and any further single values."""
        summary: dict[str, Any] = dict(values)
        for score in scores:
            if not math.isfinite(score.value):
                continue
            limits = {"low": score.low, "high": score.high, "n": score.n}
            summary[score.name] = score.value
            summary |= {f"{score.name}_{k}": v for k, v in limits.items() if math.isfinite(v)}
        self.mirror.summarise(summary)

    @rank_zero_only
    def finish(self, exit_code: int = 0) -> None:
        """End the W&B run; Lightning's `finalize` does not, since a cell goes on after `fit`."""
        self.mirror.finish(exit_code)
