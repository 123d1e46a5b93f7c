"""Synthetic images with their masks, written as other tools read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image

from cmr_bench.types import LABELS

FLAT_MM = 999.0
"""Spacing across a single slice, by which nnU-Net knows a data set of two dimensions."""


class Pairs(NamedTuple):
    """Images (N, H, W) in [-1, 1] with their masks (N, H, W), and a row of `cases` for each: its name, seed, adherence.

    `labels` are the structures that the masks tell apart: one that the data set does not label is not absent, but
    unknown.
    """

    images: np.ndarray
    masks: np.ndarray
    cases: pd.DataFrame
    spacing_mm: float
    labels: Sequence[str]


def nnunet(folder: Path, pairs: Pairs) -> None:
    """imagesTr, labelsTr and dataset.json; an image is one slice (columns, rows, 1) of float32 in [-1, 1]."""
    affine = np.diag([pairs.spacing_mm, pairs.spacing_mm, FLAT_MM, 1.0])
    for part, ending, planes in (
        ("imagesTr", "_0000", pairs.images.astype(np.float32)),
        ("labelsTr", "", pairs.masks.astype(np.uint8)),
    ):
        (folder / part).mkdir()
        for name, plane in zip(pairs.cases["case"], planes, strict=True):
            file = folder / part / f"{name}{ending}.nii.gz"
            nib.save(nib.Nifti1Image(plane.T[..., None], affine), file)
    described(
        folder,
        {
            "channel_names": {"0": "MRI"},
            "labels": values(pairs),
            "numTraining": len(pairs.cases),
            "file_ending": ".nii.gz",
        },
    )


def png(folder: Path, pairs: Pairs) -> None:
    """images/ of 16 bits, -1 black and 1 white, masks/ of 8 bits, and dataset.json: what their values are, and spacing_mm."""
    grey = np.rint((pairs.images.clip(-1, 1) + 1) / 2 * 65535).astype(np.uint16)
    for part, planes in (("images", grey), ("masks", pairs.masks.astype(np.uint8))):
        (folder / part).mkdir()
        for name, plane in zip(pairs.cases["case"], planes, strict=True):
            Image.fromarray(np.ascontiguousarray(plane)).save(folder / part / f"{name}.png")
    described(folder, {"labels": values(pairs), "spacing_mm": pairs.spacing_mm})


def hdf5(folder: Path, pairs: Pairs) -> None:
    """pairs.h5: images (N, H, W) in [-1, 1], masks (N, H, W), seeds and adherence (N,), attributes spacing_mm and labels (names)."""
    with h5py.File(folder / "pairs.h5", "w") as file:
        file["images"] = pairs.images.astype(np.float32)
        file["masks"] = pairs.masks.astype(np.uint8)
        file["seeds"] = pairs.cases["seed"].to_numpy()
        file["adherence"] = pairs.cases["dice"].to_numpy()
        file.attrs["spacing_mm"] = pairs.spacing_mm
        file.attrs["labels"] = list(pairs.labels)


def values(pairs: Pairs) -> dict[str, int]:
    """{structure: its value in the masks}, of those alone that the data set labels."""
    return {name: LABELS.index(name) for name in (LABELS[0], *pairs.labels)}


def described(folder: Path, about: Mapping[str, object]) -> None:
    (folder / "dataset.json").write_text(json.dumps(about, indent=1) + "\n")


WRITERS = {"nnunet": nnunet, "png": png, "hdf5": hdf5}
