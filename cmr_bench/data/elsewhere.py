"""The files of images made elsewhere: which there are, and what each holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from cmr_bench.data.nnunet import label_values
from cmr_bench.data.stack import Stack, arrange, read
from cmr_bench.types import LABELS

LAYOUTS = (
    "an HDF5 file with images (N, H, W) and perhaps masks; dataset.json with imagesTr and perhaps labelsTr "
    "(nnU-Net raw); images/ and perhaps masks/ with the same names; or a folder of images; PNG or NIfTI"
)
KINDS = (".png", ".nii.gz", ".nii")
HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True)
class Item:
    """What one file holds, or one image of an HDF5 file: a stack, whose spacing is nan where the file names none."""

    name: str
    stack: Stack
    labelled: bool


def found(synthetic: str) -> Path:
    """The file or folder; a folder that holds one HDF5 file and no images stands for it."""
    root = Path(synthetic).expanduser()
    if not root.is_dir() and not (root.is_file() and root.suffix in HDF5):
        raise ValueError(f"synthetic={synthetic}: no such file or folder; expected {LAYOUTS}")
    inside = [p for p in sorted(root.iterdir()) if p.suffix in HDF5] if root.is_dir() else []
    return inside[0] if len(inside) == 1 else root


def checksum(synthetic: str) -> str:
    """16 hex digits of the names and contents of all files that are read."""
    root, digest = found(synthetic), hashlib.sha256()
    files = [root] if root.is_file() else [p for pair in pairs(root) for p in pair if p]
    for file in (*files, *(f for f in [root / "dataset.json"] if f.is_file())):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def pairs(root: Path) -> list[tuple[Path, Path | None]]:
    """Each image file with its mask file, in the order of their names; no mask where the release has none."""
    if (root / "dataset.json").is_file():
        images, masks, channel = root / "imagesTr", root / "labelsTr", "_0000"
    else:
        inner = root / "images"
        images, masks, channel = inner if inner.is_dir() else root, root / "masks", ""
    listed: list[tuple[Path, Path | None]] = []
    for path in sorted(images.iterdir()) if images.is_dir() else ():
        ending = next((kind for kind in KINDS if path.name.endswith(channel + kind)), None)
        if ending:
            name = path.name.removesuffix(ending).removesuffix(channel) + ending
            listed.append((path, masks / name if masks.is_dir() else None))
    if not listed:
        raise ValueError(f"synthetic={root}: no images; expected {LAYOUTS}")
    if bare := [image.name for image, mask in listed if mask is not None and not mask.is_file()]:
        raise ValueError(f"synthetic={root}: {len(bare)} images have no mask, {bare[0]} among them")
    return listed


def values_of(root: Path, labels: Mapping[str, int] | None) -> dict[int, int]:
    """{value in a mask file: index in LABELS}."""
    if labels is not None:
        if strange := sorted(set(labels) - set(LABELS)):
            raise ValueError(
                f"model.labels: {strange[0]} is no structure; name {', '.join(LABELS)}"
            )
        return {0: 0} | {int(value): LABELS.index(name) for name, value in labels.items()}
    file = root / "dataset.json"
    if not file.is_file():
        return dict(enumerate(range(len(LABELS))))
    try:
        return label_values(json.loads(file.read_text(encoding="utf-8"))["labels"], {}, file)
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{file}: not a dataset.json of nnU-Net ({error})") from error


def items(root: Path, values: Mapping[int, int]) -> Iterator[Item]:
    if root.is_file():
        yield from in_hdf5(root, values)
        return
    for image, mask in pairs(root):
        reader = in_png if image.suffix == ".png" else in_nifti
        yield reader(image, mask, values)


def in_png(path: Path, mask: Path | None, values: Mapping[int, int]) -> Item:
    grey = plane(path)
    drawn = relabelled(plane(mask), values, mask) if mask else np.zeros(grey.shape, np.uint8)
    return Item(path.name, flat(path.name, unit(grey), drawn), mask is not None)


def plane(path: Path) -> np.ndarray:
    """(H, W) of a PNG, also of a grey one that is kept in colours."""
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file)
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from error
    if pixels.ndim == 3:
        if (pixels[..., :3] != pixels[..., :1]).any():
            raise ValueError(f"{path}: a colour image; give grey ones")
        pixels = pixels[..., 0]
    return pixels


def in_nifti(path: Path, mask: Path | None, values: Mapping[int, int]) -> Item:
    try:
        image, affine = read(path)
        drawn = read(mask)[0] if mask else np.zeros(image.shape)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if drawn.shape != image.shape:
        raise ValueError(f"{path}: shape {image.shape}, but its mask has {drawn.shape}")
    ours = relabelled(np.rint(drawn).astype(np.int64), values, mask or path)
    return Item(path.name, arrange(image, ours, affine), mask is not None)


def in_hdf5(path: Path, values: Mapping[int, int]) -> Iterator[Item]:
    """`images` and perhaps `masks`, at the top or in the group `synthetic`, and perhaps the attribute spacing_mm."""
    with h5py.File(path, "r", locking=False) as file:
        node = file.get("synthetic", file)
        if "images" not in node:
            raise ValueError(f"{path}: no data set images; it holds {', '.join(file) or 'nothing'}")
        images, masks = node["images"], node.get("masks")
        spacing = float(file.attrs.get("spacing_mm", np.nan))
        if not len(images):
            raise ValueError(f"{path}: holds no image")
        if masks is not None and masks.shape != images.shape:
            raise ValueError(f"{path}: images {images.shape}, but masks {masks.shape}")
        for row in range(len(images)):
            name, image = f"{path.name} image {row}", np.squeeze(images[row])
            drawn = np.zeros(image.shape, np.uint8) if masks is None else np.squeeze(masks[row])
            ours = relabelled(drawn, values, path)
            yield Item(name, flat(name, unit(image), ours, spacing), masks is not None)


def unit(image: np.ndarray) -> np.ndarray:
    """float32; whole numbers move from [0, largest of 8 or 16 bits] to [-1, 1]."""
    if image.dtype.kind == "b":
        image = image.astype(np.uint8) * np.uint8(255)
    if image.dtype.kind in "iu":
        top = 255 if image.dtype.itemsize == 1 else 65535
        return (image / top * 2 - 1).astype(np.float32)
    return image.astype(np.float32)


def flat(name: str, image: np.ndarray, mask: np.ndarray, spacing: float = np.nan) -> Stack:
    if image.ndim != 2 or mask.shape != image.shape:
        raise ValueError(f"{name}: image {image.shape} and mask {mask.shape}, expected one plane")
    return Stack(image[..., None], mask[..., None], (spacing, spacing), np.nan)


def relabelled(mask: np.ndarray, values: Mapping[int, int], path: Path) -> np.ndarray:
    if strange := sorted(set(np.unique(mask).tolist()) - set(values)):
        raise ValueError(
            f"{path}: the mask has the value {strange[0]}, which is no label; give model.labels={{lv: 1, myo: 2, rv: 3}}"
        )
    ours = np.zeros(mask.shape, np.uint8)
    for value, label in values.items():
        ours[mask == value] = label
    return ours
