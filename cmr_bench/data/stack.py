"""A short-axis stack in one orientation: columns towards the lateral wall, rows towards the inferior wall, base first.

Short-axis planes are oblique, so turning them to the closest anatomical axes (RAS) would mix data sets up. Here a stack
keeps its planes, and of the eight ways to show a plane the one is taken that puts the right ventricle on the left and the
anterior wall on top, as on a scanner's screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torchio as tio

from cmr_bench.data.records import Record

LATERAL = np.array([-0.70, -0.70, 0.10])
INFERIOR = np.array([0.30, -0.40, -0.84])
APICAL = np.array([-0.65, 0.55, -0.50])
"""Mean directions of a heart in RAS millimetres: septum to lateral wall, anterior to inferior wall, base to apex."""
CLEARLY = 1.5
"""Slices lie this many times further apart, or are this many times fewer, than rows and columns."""
OBLIQUE = 0.05
"""Direction cosines below this (3 degrees) off the axes: the header was never a scanner's, it tells axis order alone."""


@dataclass(frozen=True)
class Stack:
    """image (rows, columns, slices) float32 and mask of the same shape in our labels; spacing_mm of rows and columns."""

    image: np.ndarray
    mask: np.ndarray
    spacing_mm: tuple[float, float]
    thickness_mm: float

    def turned(self, quarters: int) -> Stack:
        """The stack after quarter turns counterclockwise in its plane."""
        rows, columns = self.spacing_mm
        return Stack(
            np.rot90(self.image, quarters),
            np.rot90(self.mask, quarters),
            (columns, rows) if quarters % 2 else (rows, columns),
            self.thickness_mm,
        )


def read(path: Path, frame: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """One volume (X, Y, Z) and its affine; ValueError in one line where the file cannot give it."""
    nifti = path.name.endswith((".nii", ".nii.gz"))
    try:
        image = (
            tio.ScalarImage(path, reader=_nibabel, check_nans=False)
            if nifti
            else tio.ScalarImage(path)
        )
        data = image.data.numpy()
        affine = np.asarray(image.affine, dtype=np.float64)
    except Exception as error:  # readers raise what they like on damaged files
        line = " ".join(str(error).split())[:160]
        raise ValueError(f"cannot be read ({type(error).__name__}: {line})") from error
    if frame is None and len(data) > 1:
        raise ValueError(f"has {len(data)} frames where one volume is expected")
    if frame is not None and not 0 <= frame < len(data):
        raise ValueError(f"has {len(data)} frames, no frame {frame}")
    return data[frame or 0], affine


def _nibabel(path: str | Path) -> tuple[torch.Tensor, np.ndarray]:
    """Unlike ITK, nibabel refuses a truncated file instead of filling it with zeros."""
    image = nib.load(path)
    if not isinstance(image, nib.spatialimages.SpatialImage):
        raise ValueError("not an image")
    if isinstance(image, nib.Nifti1Pair) and not image.header["sform_code"]:
        _refuse_no_spacing(Path(path), image)
    data = np.asarray(image.dataobj)
    data = data if data.dtype.kind == "f" else data.astype(np.float32)
    if data.ndim not in (3, 4):
        raise ValueError(f"{data.ndim} dimensions, expected 3 or 4")
    data = data[None] if data.ndim == 3 else np.moveaxis(data, -1, 0)
    return torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32)), image.affine


def _refuse_no_spacing(path: Path, image: nib.Nifti1Pair) -> None:
    """ValueError for a voxel side of 0 in the file, which nibabel would turn into 1 mm; nothing lies across one slice."""
    with nib.openers.ImageOpener(str(path)) as stream:
        header = type(image.header).from_fileobj(stream, check=False)
    several = np.array(image.shape[:3]) > 1
    if not header["pixdim"][1 : 1 + len(several)][several].all():
        sides = ", ".join(f"{side:g}" for side in header["pixdim"][1:4])
        raise ValueError(f"the header's pixdim is {sides} mm; give the spacing of the slices")


def spacing(affine: np.ndarray) -> np.ndarray:
    return np.sqrt((affine[:3, :3] ** 2).sum(axis=0))


def slice_axis(shape: tuple[int, ...], affine: np.ndarray) -> int:
    """The axis with spacing clearly above both others', otherwise the one with clearly fewest voxels; ValueError
    where neither tells it."""
    for sizes in (spacing(affine), 1 / np.array(shape)):
        order = np.argsort(sizes)
        if sizes[order[2]] >= CLEARLY * sizes[order[1]]:
            return int(order[2])
    sides = " x ".join(f"{side:.3g}" for side in spacing(affine))
    raise ValueError(
        f"cannot tell the slice axis of {' x '.join(map(str, shape))} voxels of {sides} mm; "
        "correct the spacing in the header"
    )


def display_axes(
    shape: tuple[int, ...], affine: np.ndarray
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Array axes that become (rows, columns, slices) and the sign of each.

    A scanner's header tells the patient's directions; an axis-aligned one does not, and then columns and rows follow
    the first and second axis of the header's space, as ACDC and Sunnybrook are handed out.
    """
    size = spacing(affine)
    directions = affine[:3, :3] / size
    through = slice_axis(shape, affine)
    planar = [axis for axis in range(3) if axis != through]
    oblique = np.sort(np.abs(directions), axis=0)[1].max() > OBLIQUE
    if oblique:
        lateral, inferior, apical = LATERAL, INFERIOR, APICAL
    else:
        world = np.eye(3)
        worlds = sorted(int(np.abs(directions[:, axis]).argmax()) for axis in planar)
        lateral, inferior = world[worlds[0]], world[worlds[1]]
        apical = world[3 - sum(worlds)]

    def agreement(rows: int, columns: int) -> float:
        return float(abs(directions[:, columns] @ lateral) + abs(directions[:, rows] @ inferior))

    rows, columns = max([planar[::-1], planar], key=lambda pair: agreement(*pair))
    signs = [
        1 if directions[:, axis] @ towards >= 0 else -1
        for axis, towards in ((rows, inferior), (columns, lateral), (through, apical))
    ]
    return (rows, columns, through), (signs[0], signs[1], signs[2])


def load(record: Record) -> Stack:
    """The record's volumes, oriented; labels in ours. Faults must have been looked for before."""
    image, affine = read(record.image, record.frame)
    mask, _ = read(record.mask, record.frame)
    return arrange(image, relabel(mask, record), affine)


def relabel(mask: np.ndarray, record: Record) -> np.ndarray:
    ours = np.zeros(mask.shape, dtype=np.uint8)
    whole = np.rint(mask)
    for value, label in record.values.items():
        ours[whole == value] = label
    return ours


def arrange(image: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> Stack:
    axes, signs = display_axes(image.shape, affine)
    flip = tuple(slice(None, None, sign) for sign in signs)
    image, mask = image.transpose(axes)[flip], mask.transpose(axes)[flip]
    if apex_first(mask):
        image, mask = image[..., ::-1], mask[..., ::-1]
    size = spacing(affine)[list(axes)]
    return Stack(image, mask, (float(size[0]), float(size[1])), float(size[2]))


def apex_first(mask: np.ndarray) -> bool:
    """Whether the labelled area grows along the slices (a heart narrows towards its apex); correlation below -0.3
    or above 0.3 decides, otherwise the header's order stands."""
    area = (mask > 0).sum(axis=(0, 1)).astype(float)
    slices = np.flatnonzero(area)
    if len(slices) < 3 or np.ptp(area[slices]) == 0:
        return False
    return bool(np.corrcoef(slices, area[slices])[0, 1] > 0.3)


def right_ventricle_side(mask: np.ndarray) -> complex:
    """Unit vector (columns + i rows) from the left to the right ventricle over the slices that show both; 0 if none."""
    total = 0j
    for plane in np.moveaxis(mask, 2, 0):
        lv, rv = np.argwhere(plane == 1), np.argwhere(plane == 3)
        if len(lv) and len(rv):
            rows, columns = rv.mean(axis=0) - lv.mean(axis=0)
            total += complex(columns, rows)
    return total / abs(total) if total else 0j
