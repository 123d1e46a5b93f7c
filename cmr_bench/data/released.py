"""Images made elsewhere, with or without masks, brought to the grid and the range of prepared data."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmr_bench.data.contents import Item
from cmr_bench.data.elsewhere import found, items, values_of
from cmr_bench.data.grid import normalise as percentiles
from cmr_bench.data.grid import window
from cmr_bench.data.nnunet import CASE
from cmr_bench.data.stack import Stack, right_ventricle_side
from cmr_bench.store.files import write_json
from cmr_bench.store.samples import Samples
from cmr_bench.types import Pool

log = logging.getLogger(__name__)

INTENSITIES = ("auto", "range", "percentiles")
TOLERANCE = 1e-3
DARK = -0.5
"""Images in [-1, 1] have something darker than this."""
ASIDE = np.deg2rad(60)
"""A right ventricle further than this from where the data have it: the images are turned or mirrored."""


def release(
    *,
    folder: Path,
    synthetic: str,
    like: Pool,
    normalise: Mapping[str, Any],
    intensities: str = "auto",
    spacing_mm: float | None = None,
    labels: Mapping[str, int] | None = None,
) -> None:
    """Write `folder`/samples.h5 (group `synthetic`) and `folder`/released.json out of the files at `synthetic`.

    Grid: images of another size or spacing than the data (`like`) are resampled and cropped around their middle, as
    preparation does; `spacing_mm` is for files that name none, which are otherwise taken to have the data's.
    Intensities: `range` keeps them, whole numbers (of PNG and HDF5) moved from the range of 8 or 16 bits to [-1, 1];
    `percentiles` scales each file as preparation scales a volume (`normalise`); `auto` keeps those that lie in [-1, 1],
    come near to -1 and fill more than half of it, all files together, and scales others. Masks: values 0 to 3 are
    LABELS, unless dataset.json or `labels` (name -> value) say otherwise.

    Raises:
        ValueError: in one line, naming the file or key, for anything that cannot be read or compared.
    """
    if intensities not in INTENSITIES:
        raise ValueError(f"model.intensities={intensities}: choose one of {', '.join(INTENSITIES)}")
    if spacing_mm is not None and not spacing_mm > 0:
        raise ValueError(f"model.spacing_mm={spacing_mm}: give millimetres above 0, or null")
    root = found(synthetic)
    values = values_of(root, labels)
    parts: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    planes: list[dict[str, Any]] = []
    resampled, labelled = 0, set()
    for number, item in enumerate(items(root, values)):
        stack = spaced(item, like, spacing_mm)
        image, mask, moved = gridded(item.name, stack, like)
        if not np.isfinite(image).all():
            raise ValueError(f"{item.name}: not all of its values are finite")
        parts.append(image)
        masks.append(mask)
        planes += rows(number, item)
        resampled += moved
        labelled.add(item.labelled)
    kept = intensities == "range" or (intensities == "auto" and filled(parts))
    if kept and not inside(parts):
        raise ValueError(
            f"synthetic={synthetic}: values lie outside [-1, 1]; take model.intensities=percentiles"
        )
    if kept and not filled(parts):
        log.warning(
            "synthetic=%s: model.intensities=range keeps values that do not fill [-1, 1]; "
            "where they have another scale, such as [0, 1], take auto",
            synthetic,
        )
    images = np.concatenate(
        [part.clip(-1, 1) for part in parts]
        if kept
        else [percentiles(part, **normalise) for part in parts]
    )
    every = np.concatenate(masks)
    if True in labelled:
        refuse_turned(every, like, synthetic)
    samples = Samples(folder / "samples.h5")
    samples.reserve("synthetic", masks=every, seeds=np.arange(len(every)))
    samples.put("synthetic", np.arange(len(every)), images)
    about = {
        "files": len(parts),
        "planes": planes,
        "labels": [k for k in like.labels if k in values.values()] if True in labelled else [],
        "intensities": "kept" if kept else "percentiles",
        "resampled": resampled,
    }
    write_json(folder / "released.json", about)
    log.info(
        "%d images of %d files, %s masks; intensities %s; %d files resampled",
        *(len(every), len(parts), "with" if about["labels"] else "without"),
        "as they are" if kept else "scaled between percentiles of each file",
        resampled,
    )


def rows(number: int, item: Item) -> list[dict[str, Any]]:
    """Subject, phase, slice and thickness of each plane of a file.

    The planes of a stack are those of the patient whom its name tells, as in nnU-Net: PATIENT, PATIENT_ED, PATIENT_ES. A
    file of a single plane is a subject of its own, and has no phase.
    """
    depth = item.stack.image.shape[2]
    named = re.match(CASE, re.sub(r"(_0000)?\.nii(\.gz)?$", "", item.name), re.IGNORECASE)
    if depth == 1 or not named:
        return [{"subject": f"synthetic-{number:05d}"}] * depth
    phase = (named["phase"] or "").upper()
    thickness = item.stack.thickness_mm
    of_all = {
        "subject": f"synthetic-{named['subject']}",
        "phase": phase if phase in ("ED", "ES") else "",
        "thickness_mm": thickness if np.isfinite(thickness) else None,
    }
    return [of_all | {"slice": k} for k in range(depth)]


def spaced(item: Item, like: Pool, spacing_mm: float | None) -> Stack:
    """The stack with a spacing: its own, or the one given for all, or the data's where the size is the data's."""
    stack, side = item.stack, like.images.shape[-1]
    if np.isfinite(stack.spacing_mm).all():
        return stack
    if spacing_mm is None and stack.image.shape[:2] != (side, side):
        rows, columns = stack.image.shape[:2]
        raise ValueError(
            f"{item.name}: {columns} x {rows} pixels of unknown spacing, the data have {side} x {side}; give model.spacing_mm"
        )
    spacing = like.spacing_mm if spacing_mm is None else spacing_mm
    return Stack(stack.image, stack.mask, (spacing, spacing), stack.thickness_mm)


def gridded(name: str, stack: Stack, like: Pool) -> tuple[np.ndarray, np.ndarray, bool]:
    """(images (Z, H, W), masks (Z, H, W), whether they had to be resampled)."""
    side, spacing = like.images.shape[-1], like.spacing_mm
    shape = stack.image.shape[:2]
    if shape == (side, side) and np.allclose(stack.spacing_mm, spacing, rtol=1e-3):
        return np.moveaxis(stack.image, 2, 0), np.moveaxis(stack.mask, 2, 0), False
    seen = [n * mm for n, mm in zip(shape, stack.spacing_mm, strict=True)]
    if min(seen) < (side - 1) * spacing:
        raise ValueError(
            f"{name}: shows {seen[1]:.0f} x {seen[0]:.0f} mm, the data {side * spacing:.0f} mm; "
            "give data.size and data.spacing_mm of what the images show"
        )
    images, masks, _ = window(stack, spacing_mm=spacing, size=side, crop="centre")
    return images, masks, True


def filled(parts: Sequence[np.ndarray]) -> bool:
    """Whether all values lie in [-1, 1], fill more than half of it and come near to -1: not [0, 1] with an overshoot."""
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    return inside(parts) and bool(high - low > 1 + TOLERANCE and low < DARK)


def inside(parts: Sequence[np.ndarray]) -> bool:
    return all(np.abs(part).max() <= 1 + TOLERANCE for part in parts)


def refuse_turned(masks: np.ndarray, like: Pool, synthetic: str) -> None:
    """Refuse masks whose right ventricle lies on another side than in the data."""
    theirs, ours = (
        right_ventricle_side(np.moveaxis(stack, 0, 2))
        for stack in (masks, like.masks[:, 0].numpy())
    )
    if theirs and ours and abs(np.angle(theirs / ours)) > ASIDE:
        raise ValueError(
            f"synthetic={synthetic}: the right ventricle lies on another side than in the data; turn or mirror the images"
        )
