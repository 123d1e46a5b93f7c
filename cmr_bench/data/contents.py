"""What one file of images made elsewhere holds: PNG, NIfTI or HDF5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from PIL import Image

from cmr_bench.data.faults import pair_faults
from cmr_bench.data.stack import Stack, arrange, read, spacing

WHOLE = 1e-3
"""A label may lie this far from a whole number."""
COARSER = 1.5
"""Spacing across the planes over that within them, from which it tells the axes apart."""


@dataclass(frozen=True)
class Item:
    """What one file holds, or one image of an HDF5 file: a stack, whose spacing is nan where the file names none."""

    name: str
    stack: Stack
    labelled: bool


def in_png(path: Path, mask: Path | None, values: Mapping[int, int]) -> Item:
    grey = plane(path)
    drawn = plane(mask, palette=False) if mask else np.zeros(grey.shape, np.uint8)
    ours = relabelled(drawn, values, mask or path)
    white = 255 if grey.dtype.itemsize == 1 else 65535
    return Item(path.name, flat(path.name, unit(grey, white), ours), mask is not None)


def plane(path: Path, *, palette: bool = True) -> np.ndarray:
    """(H, W) of a PNG, also of a grey one that is kept in colours; without `palette` the numbers of its colours."""
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB") if palette and file.mode == "P" else file)
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from error
    if pixels.ndim == 3:
        colours = pixels[..., : 3 if pixels.shape[2] > 2 else 1]  # the rest is opacity
        if (colours != colours[..., :1]).any():
            raise ValueError(f"{path}: a colour image; give grey ones")
        pixels = colours[..., 0]
    return pixels


def in_nifti(path: Path, mask: Path | None, values: Mapping[int, int]) -> Item:
    image, affine = volume(path)
    drawn, theirs = volume(mask) if mask else (np.zeros(image.shape), affine)
    for text in pair_faults(image, affine, drawn, theirs):
        raise ValueError(f"{mask}: {text}; save the mask on the grid of its image")
    ours = relabelled(drawn, values, mask or path)
    return Item(path.name, stacked(image, ours, affine), mask is not None)


def stacked(image: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> Stack:
    """The planes as they are shown, whatever spacing the header has for the axis across them.

    `arrange` cuts across the axis of largest spacing. Headers of images made elsewhere often have 1 mm or nothing there,
    so that axis is first drawn out beyond the others (by powers of two, which leave all else as it was).
    """
    through, sides = across(image.shape, affine), spacing(affine)
    drawn_out = affine.copy()
    while 0 < spacing(drawn_out)[through] < 2 * sides.max():
        drawn_out[:3, through] *= 2
    return replace(arrange(image, mask, drawn_out), thickness_mm=float(sides[through]))


def across(shape: Sequence[int], affine: np.ndarray) -> int:
    """The axis across the planes: the one of a single voxel, else that of clearly largest spacing, else the last."""
    single = [axis for axis in range(3) if shape[axis] == 1]
    if len(single) == 1:
        return single[0]
    sides = spacing(affine)
    *_, second, coarsest = np.argsort(sides, kind="stable").tolist()
    return coarsest if sides[coarsest] > COARSER * sides[second] else 2


def volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One volume (X, Y, Z) and its affine; a file of two dimensions is a single slice."""
    try:
        return slice_of(path) or read(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def slice_of(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        image = nib.load(path)
        if not isinstance(image, nib.spatialimages.SpatialImage) or image.ndim != 2:
            return None
        return np.asarray(image.dataobj, dtype=np.float32)[..., None], image.affine
    except Exception:  # what cannot be opened is named by `read`
        return None


def in_hdf5(path: Path, values: Mapping[int, int]) -> Iterator[Item]:
    """`images` and perhaps `masks`, at the top or in the group `synthetic`, and perhaps the attribute spacing_mm."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            group = file.get("synthetic")
            node = group if isinstance(group, h5py.Group) else file
            if "images" not in node:
                raise ValueError(
                    f"{path}: no data set images; it holds {', '.join(file) or 'nothing'}"
                )
            images, side = numbers(path, node, "images"), spacing_of(path, file.attrs)
            masks = numbers(path, node, "masks") if "masks" in node else None
            if not len(images):
                raise ValueError(f"{path}: holds no image")
            if masks is not None and planar(masks.shape) != planar(images.shape):
                raise ValueError(f"{path}: images {images.shape}, but masks {masks.shape}")
            white = white_of(images)
            for row in range(len(images)):
                name, image = f"{path.name} image {row}", np.squeeze(images[row])
                drawn = np.zeros(image.shape, np.uint8) if masks is None else np.squeeze(masks[row])
                ours = relabelled(drawn, values, path)
                yield Item(name, flat(name, unit(image, white), ours, side), masks is not None)
    except OSError as error:
        line = " ".join(str(error).split())[:160]
        raise ValueError(f"{path}: cannot be read ({line}); write it again") from error


def planar(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(N, H, W) of (N, 1, H, W) or (N, H, W, 1)."""
    return shape[0], *(n for n in shape[1:] if n > 1)


def numbers(path: Path, node: h5py.Group, name: str) -> h5py.Dataset:
    found = node[name]
    if not isinstance(found, h5py.Dataset) or found.ndim < 3 or found.dtype.kind not in "biuf":
        what = f"{found.dtype} {found.shape}" if isinstance(found, h5py.Dataset) else "a group"
        raise ValueError(f"{path}: {name} is {what}; store one data set of numbers (N, H, W)")
    return found


def spacing_of(path: Path, attributes: Mapping[str, object]) -> float:
    """The attribute spacing_mm, which may say the same of rows and of columns; nan where there is none."""
    given = attributes.get("spacing_mm", np.nan)
    try:
        sides = set(np.asarray(given, dtype=np.float64).ravel().tolist())
    except (TypeError, ValueError):
        sides = set()
    if len(sides) != 1:
        raise ValueError(
            f"{path}: the attribute spacing_mm is {given}; store one number, the millimetres of a pixel's side"
        )
    return sides.pop()


def white_of(images: h5py.Dataset) -> int:
    """What white is in whole numbers: the largest of 8 bits where all values fit them, otherwise that of 16."""
    wide = images.dtype.kind in "iu" and images.dtype.itemsize > 1
    return 65535 if wide and max(images[row].max() for row in range(len(images))) > 255 else 255


def unit(image: np.ndarray, white: int) -> np.ndarray:
    """float32; whole numbers move from [0, white] to [-1, 1]."""
    if image.dtype.kind == "b":
        image = image.astype(np.uint8) * np.uint8(255)
    if image.dtype.kind in "iu":
        return (image / white * 2 - 1).astype(np.float32)
    return image.astype(np.float32)


def flat(name: str, image: np.ndarray, mask: np.ndarray, side: float = np.nan) -> Stack:
    if image.ndim != 2 or mask.shape != image.shape:
        raise ValueError(f"{name}: image {image.shape} and mask {mask.shape}, expected one plane")
    return Stack(image[..., None], mask[..., None], (side, side), np.nan)


def relabelled(mask: np.ndarray, values: Mapping[int, int], path: Path) -> np.ndarray:
    whole = np.rint(mask)
    if not (np.abs(mask - whole) <= WHOLE).all():
        raise ValueError(
            f"{path}: some labels are no whole numbers (a mask resampled as an image?); resample it by the nearest label"
        )
    whole = whole.astype(np.int64)
    if strange := sorted(set(np.unique(whole).tolist()) - set(values)):
        raise ValueError(
            f"{path}: the mask has the value {strange[0]}, which is no label; give model.labels={{lv: 1, myo: 2, rv: 3}}"
        )
    ours = np.zeros(mask.shape, np.uint8)
    for value, label in values.items():
        ours[whole == value] = label
    return ours
