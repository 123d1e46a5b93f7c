"""Synthetic images of a cell in HDF5: one group a pool, filled row by row, resumable after a kill.

A group is laid out whole and renamed into place before its first image, so that later writes touch
only bytes that are already there and a kill between any two of them leaves a readable file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmr_bench.store.files import atomic, sync, write_fault


@dataclass(frozen=True)
class Samples:
    """Groups of `images` and `masks` (N, H, W), `seeds` (N,) and `written` (N,), 1 where done."""

    path: Path

    def reserve(self, group: str, *, masks: ArrayLike, seeds: ArrayLike) -> None:
        """Room for one image a mask. What was written for the same masks and seeds stays."""
        labels = _planes(masks).astype(np.uint8)
        numbers = np.asarray(seeds, dtype=np.int64)
        if len(labels) != len(numbers):
            raise ValueError(f"{self.path} {group}: {len(labels)} masks but {len(numbers)} seeds")
        others: dict[str, dict[str, NDArray[Any]]] = {}
        if self.path.exists():
            with h5py.File(self.path, "r", locking=False) as file:
                if group in file and _same(file[group], labels, numbers):
                    return
                others = {
                    name: {k: v[()] for k, v in file[name].items()}
                    for name in file
                    if name != group
                }
        fresh = {
            "images": np.full(labels.shape, np.nan, dtype=np.float32),
            "masks": labels,
            "seeds": numbers,
            "written": np.zeros(len(labels), dtype=np.uint8),
        }
        # Laid out in memory: HDF5 takes the process down with it when a write fails on a full disk.
        with h5py.File("samples", "w", driver="core", backing_store=False) as file:
            for name, arrays in (others | {group: fresh}).items():
                for key, values in arrays.items():
                    file.create_dataset(f"{name}/{key}", data=values)
            file.flush()
            whole = file.id.get_file_image()
        with atomic(self.path) as temporary:
            temporary.write_bytes(whole)

    def missing(self, group: str) -> NDArray[np.int64]:
        """Rows whose image is not there yet, or was lost with a node though it is marked as written."""
        with h5py.File(self.path, "r", locking=False) as file:
            return _missing(file[group])

    def put(self, group: str, rows: ArrayLike, images: ArrayLike) -> None:
        """Write the images (B, 1, H, W) of the given rows.

        Raises:
            ValueError: if a value of them is not finite.
        """
        at = np.asarray(rows, dtype=np.int64)
        order = np.argsort(at)
        planes = _planes(images).astype(np.float32)
        if not np.isfinite(planes).all():
            raise ValueError(f"images, {group}: the model draws values that are not finite")
        try:
            with h5py.File(self.path, "r+", locking=False) as file:
                file[group]["images"][at[order]] = planes[order]
                file.flush()
                sync(self.path)
                file[group]["written"][at[order]] = 1
        except (OSError, RuntimeError) as error:
            raise write_fault(self.path, error) or error from error

    def read(self, group: str) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """(images (N, 1, H, W), masks (N, 1, H, W), seeds (N,)) of a complete group."""
        if not self.path.exists():
            raise ValueError(f"{self.path} does not exist: run the cell")
        with h5py.File(self.path, "r", locking=False) as file:
            if group not in file:
                raise ValueError(
                    f"{self.path} has no group {group}, only {', '.join(file) or 'none'}"
                )
            if missing := len(_missing(file[group])):
                raise ValueError(
                    f"{self.path} {group}: {missing} images are missing; run the cell again"
                )
            images, masks, seeds = (file[group][key][()] for key in ("images", "masks", "seeds"))
        return images[:, None], masks[:, None].astype(np.int64), seeds


def _planes(values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim == 4 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim == 3:
        return array
    raise ValueError(f"expected slices of shape (N, 1, H, W), got {array.shape}")


def _missing(group: h5py.Group) -> NDArray[np.int64]:
    lost = ~np.isfinite(group["images"][()]).all(axis=(1, 2))
    return np.flatnonzero((group["written"][()] == 0) | lost)


def _same(group: h5py.Group, masks: NDArray[Any], seeds: NDArray[Any]) -> bool:
    return np.array_equal(group["masks"][()], masks) and np.array_equal(group["seeds"][()], seeds)
