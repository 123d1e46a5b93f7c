"""A W&B run: how it is opened, and what is written into it. Both the live mirror and the replay speak through this."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmr_bench.types import LABEL_COLOURS, LABELS

Grey = NDArray[np.uint8]
"""(B, H, W) images or label maps."""


def open_run(folder: Path, mode: str, arguments: Mapping[str, Any], patience: float) -> Any:
    """A run whose offline files, if it is offline, lie in `<folder>/wandb`. A known id goes on with its run.

    Waits `patience` seconds at most, says nothing on the console, and starts nothing but W&B's own service.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # no network without an account
    import wandb

    wishes: dict[str, Any] = {
        "silent": True,
        "quiet": True,
        "console": "off",
        "symlink": False,
        "init_timeout": patience / 2,
        "finish_timeout": patience * 0.9,
    }
    known = {k: v for k, v in wishes.items() if k in wandb.Settings.model_fields}
    wandb.setup(settings=wandb.Settings(silent=True, quiet=True))
    folder.mkdir(parents=True, exist_ok=True)
    words: dict[str, Any] = {**arguments, "mode": mode, "dir": str(folder), "resume": "allow"}
    return wandb.init(**words, settings=wandb.Settings(**known))


def log_images(run: Any, key: str, images: Grey, masks: Grey | None, step: int) -> None:
    """Images side by side; their masks are a layer with named structures that can be switched."""
    run.log({key: pictures(images, masks)}, step=step)


def log_table(run: Any, key: str, masks: Grey, columns: Mapping[str, Grey], step: int) -> None:
    """A table with one row a slice: the mask in colours, and an image of each column."""
    import wandb

    palette = np.array([list(bytes.fromhex(c[1:])) for c in LABEL_COLOURS], dtype=np.uint8)
    shown = [
        pictures(palette[masks], None),
        *(pictures(images, masks) for images in columns.values()),
    ]
    rows = [list(row) for row in zip(*shown, strict=True)]
    run.log({key: wandb.Table(columns=["mask", *columns], data=rows)}, step=step)


def log_frame(run: Any, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table of plain values."""
    import wandb

    run.log({key: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})


def log_bars(run: Any, key: str, values: Mapping[str, float], step: int | None = None) -> None:
    """A bar chart of named values."""
    import wandb

    table = wandb.Table(columns=["name", "value"], data=[list(item) for item in values.items()])
    run.log({key: wandb.plot.bar(table, "name", "value", title=key)}, step=step)


def pictures(images: NDArray[np.uint8], masks: Grey | None) -> list[Any]:
    import wandb

    if masks is None:
        return [wandb.Image(image) for image in images]
    classes = dict(enumerate(LABELS))
    return [
        wandb.Image(image, masks={"structures": {"mask_data": mask, "class_labels": dict(classes)}})
        for image, mask in zip(images, masks, strict=True)
    ]
