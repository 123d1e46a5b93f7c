"""Writes prepared slices volume by volume into one HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import pandas as pd

from cmr_bench.data.survey import Seen

COLUMNS = (
    "subject",
    "phase",
    "slice",
    "level",
    "vendor",
    "centre",
    "pathology",
    "thickness_mm",
    "split",
)


class Sink:
    """A file that keeps the first error of a write to itself until it is asked.

    HDF5 cannot close a file whose writes fail: on a full disk it takes the process down with it.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self.raw = raw
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data)
        size = left.nbytes
        try:
            while self.error is None and left.nbytes:
                left = left[self.raw.write(left) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int) -> int:
        try:
            return self.raw.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    def check(self) -> None:
        if self.error is not None:
            raise self.error


class Writer:
    """Appends volumes, so that memory holds one volume whatever the cohort."""

    def __init__(self, file: h5py.File, *, size: int, sink: Sink | None = None) -> None:
        self.file, self.sink = file, sink
        self.tables: list[pd.DataFrame] = []
        for name, kind in (("images", "f4"), ("masks", "u1")):
            shape = {
                "shape": (0, size, size),
                "maxshape": (None, size, size),
                "chunks": (16, size, size),
            }
            file.create_dataset(name, dtype=kind, compression="lzf", shuffle=True, **shape)

    def add(self, images: np.ndarray, masks: np.ndarray, table: pd.DataFrame) -> None:
        for name, rows in (("images", images), ("masks", masks)):
            data = self.file[name]
            data.resize(len(data) + len(rows), axis=0)
            data[-len(rows) :] = rows
        self.tables.append(table)
        if self.sink:
            self.sink.check()

    def close(self, *, spacing_mm: float, labels: Sequence[int], prints: Sequence[Seen]) -> None:
        """The table's columns, the fingerprints of the volumes and the attributes."""
        table = pd.concat(self.tables, ignore_index=True)
        for column in COLUMNS:
            values = table[column]
            if values.dtype.kind in "if":
                self.file.create_dataset(column, data=values.to_numpy())
            else:
                self.file.create_dataset(column, data=values.tolist(), dtype=h5py.string_dtype())
        self.file["fingerprints/values"] = np.stack([item.fingerprint for item in prints])
        self.file["fingerprints/subject"] = [item.record.subject for item in prints]
        self.file.attrs["spacing_mm"] = spacing_mm
        self.file.attrs["labels"] = np.array(labels, dtype=int)


@contextmanager
def writing(path: Path, *, size: int) -> Iterator[Writer]:
    """A Writer on a new file; OSError of the disk reaches the caller after the file was closed."""
    with path.open("w+b", buffering=0) as raw:
        sink = Sink(raw)
        with h5py.File(sink, "w") as file:
            yield Writer(file, size=size, sink=sink)
        sink.check()
