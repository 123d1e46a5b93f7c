"""Prepared data as pools."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch

from cmr_bench.data.leakage import Twin, twins
from cmr_bench.data.writer import COLUMNS
from cmr_bench.store.files import read_json
from cmr_bench.types import Pool


def load_pool(
    path: str | Path, split: str, name: str | None = None, *, without: Collection[str] = ()
) -> Pool:
    """The rows of one split of a prepared folder (or of its data.h5), less the subjects in `without`."""
    with _open(path) as file:
        table = _table(file)
        rows = np.flatnonzero((table["split"] == split) & ~table["subject"].isin(list(without)))
        if not len(rows):
            found = ", ".join(sorted(set(table["split"])))
            raise ValueError(f"{path}: split {split} is empty; it holds {found}")
        span = slice(int(rows[0]), int(rows[-1]) + 1)
        images, masks = (file[key][span][rows - rows[0]] for key in ("images", "masks"))
        return Pool(
            name=name or split,
            images=torch.from_numpy(images)[:, None],
            masks=torch.from_numpy(masks.astype(np.int64))[:, None],
            table=table.iloc[rows].drop(columns="split").reset_index(drop=True),
            spacing_mm=float(file.attrs["spacing_mm"]),
            labels=tuple(int(label) for label in file.attrs["labels"]),
        )


def people(path: str | Path) -> dict[str, str]:
    """{subject: the first name of the person} of those who are in the data under several names, by the twins of the manifest."""
    twins = read_json(Path(path) / "manifest.json").get("twins", ())
    same = {name: name for twin in twins for name in twin[:2]}
    for first, second, _ in twins:
        one, other = same[first], same[second]
        same |= {name: min(one, other) for name in same if same[name] in (one, other)}
    return {name: person for name, person in same.items() if name != person}


def shared(main: str | Path, external: str | Path) -> list[Twin]:
    """Subjects of `external` (second) whose scan is also in `main` (first): the external pool must do without them.

    A subject of the same name in both is refused: it is one patient. A bare number is a row's number, not a name,
    and tells nothing; its scans are compared like the others.
    """
    ours, theirs = _prints(main), _prints(external)
    names = sorted(n for n in set(ours[0]) & set(theirs[0]) if not n.isdigit())
    if names:
        raise ValueError(
            f"leakage: {len(names)} subjects are in data.root and in external.root, {names[0]} among them; "
            "give another external data set"
        )
    return twins(ours, theirs)


def load_table(path: str | Path) -> pd.DataFrame:
    """The columns of all slices of a prepared folder, `split` among them."""
    with _open(path) as file:
        return _table(file)


def content_hash(path: str | Path) -> str:
    """16 hex digits of all slices, masks and table columns of a prepared data set."""
    digest = hashlib.sha256()
    with _open(path) as file:
        for name in ("images", "masks"):
            for start in range(0, len(file[name]), 256):
                digest.update(file[name][start : start + 256].tobytes())
        for column in COLUMNS:
            digest.update("\x1f".join(map(str, _column(file, column))).encode())
    return digest.hexdigest()[:16]


def _prints(path: str | Path) -> tuple[list[str], np.ndarray]:
    with _open(path) as file:
        if "fingerprints" not in file:
            return [], np.zeros(0)
        return [text.decode() for text in file["fingerprints/subject"][()]], file[
            "fingerprints/values"
        ][()]


def _table(file: h5py.File) -> pd.DataFrame:
    return pd.DataFrame({column: _column(file, column) for column in COLUMNS})


def _column(file: h5py.File, name: str) -> np.ndarray:
    data = file[name]
    return data.asstr()[()] if h5py.check_string_dtype(data.dtype) else data[()]


def _open(path: str | Path) -> h5py.File:
    file = Path(path) if Path(path).suffix == ".h5" else Path(path) / "data.h5"
    if not file.is_file() or not file.with_name("manifest.json").is_file():
        raise ValueError(
            f"{path}: no prepared data (data.h5 and manifest.json); run python -m cmr_bench.prepare"
        )
    return h5py.File(file, "r")
