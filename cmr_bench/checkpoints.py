"""Checkpoints that a kill cannot tear: written beside their target, renamed, with one predecessor kept."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cmr_bench.store import atomic

log = logging.getLogger(__name__)


class WholeFiles(TorchCheckpointIO):
    """Checkpoints are written beside their target, synced and renamed, and the one before is kept.

    A kill at any moment leaves the last whole one under its name.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        with atomic(path) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)
            keep_previous(Path(path))


def previous(checkpoint: Path) -> Path:
    """Where the predecessor of a checkpoint lies."""
    return checkpoint.with_name(f"{checkpoint.stem}.previous{checkpoint.suffix}")


def keep_previous(checkpoint: Path) -> None:
    """Give the checkpoint its second name; the first stays until the next one takes it."""
    if checkpoint.exists():
        second = checkpoint.with_name(f".{checkpoint.stem}.second.tmp")
        second.unlink(missing_ok=True)
        try:
            os.link(checkpoint, second)
        except OSError:  # a file system without hard links
            second = checkpoint
        os.replace(second, previous(checkpoint))


def resumable(checkpoint: Path) -> Path | None:
    """What a training goes on from: its checkpoint, or the one before where that cannot be read."""
    for path in (checkpoint, previous(checkpoint)):
        if path.exists():
            try:
                torch.load(path, map_location="meta", weights_only=True, mmap=True)
            except Exception as error:  # a torn file can fail in any way
                log.warning(
                    "%s cannot be read (%s): going back to what was before it",
                    path,
                    type(error).__name__,
                )
            else:
                return path
    return None
