"""The files of images made elsewhere: which there are, and what their masks mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from cmr_bench.data.contents import Item, in_hdf5, in_nifti, in_png, spacing_of
from cmr_bench.data.nnunet import label_values
from cmr_bench.types import LABELS

LAYOUTS = (
    "an HDF5 file with images (N, H, W) and perhaps masks; dataset.json with imagesTr and perhaps labelsTr "
    "(nnU-Net raw); images/ and perhaps masks/ (or labels/) with the same names, and perhaps dataset.json with labels and, if they are PNG, spacing_mm; or a folder of images; PNG or NIfTI"
)
KINDS = (".png", ".nii.gz", ".nii")
UNREAD = (
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".webp",
    ".mha",
    ".mhd",
    ".nrrd",
    ".dcm",
    ".npy",
    ".npz",
)
"""Other endings of images: such a file in a folder that is read is refused rather than left out in silence."""
HDF5 = (".h5", ".hdf5")


def found(synthetic: str) -> Path:
    """The file or folder; a folder that holds one HDF5 file and no images stands for it."""
    root = Path(synthetic).expanduser()
    if not root.is_dir() and not (root.is_file() and root.suffix.lower() in HDF5):
        raise ValueError(f"synthetic={synthetic}: no such file or folder; expected {LAYOUTS}")
    if root.is_file() or (root / "dataset.json").is_file() or (root / "images").is_dir():
        return root
    inside = [path for path in visible(root) if path.suffix.lower() in HDF5]
    others = [path for path in visible(root) if is_image(path)]
    if inside and inside[1:] + others:
        raise ValueError(
            f"synthetic={synthetic}: {inside[0].name} and {(inside[1:] + others)[0].name} may both be meant; "
            f"give synthetic={inside[0]}, or move it away"
        )
    return inside[0] if inside else root


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
    """Each image file with its mask file, in the order of their names; no mask where the release has none.

    Raises:
        ValueError: for an image without a mask where others have one, and for images and masks that nothing would read.
    """
    images, masks, channel = folders(root)
    drawn = {case(path): path for path in visible(masks)} if masks else {}
    inside = visible(images) if images.is_dir() else []
    names = {path: name for path in inside if (name := case(path, channel))}
    listed = [(path, drawn.get(name)) for path, name in names.items()]
    if bare := [image.name for image, mask in listed if masks and mask is None]:
        raise ValueError(f"synthetic={root}: {len(bare)} images have no mask, {bare[0]} among them")
    read = {path for pair in listed for path in pair if path}
    every = {path for part in (images, masks) if part for path in visible(part, "**/*")}
    if left := sorted(path for path in every - read if is_image(path)):
        raise ValueError(
            f"synthetic={root}: {len(left)} images or masks would not be read, {left[0].relative_to(root)} among them; "
            f"move them away, or give {LAYOUTS}"
        )
    if not listed:
        raise ValueError(f"synthetic={root}: no images; expected {LAYOUTS}")
    if broken := sorted(path for path in read if not path.is_file()):
        raise ValueError(f"{broken[0]}: the link leads nowhere; put the file there")
    return listed


def folders(root: Path) -> tuple[Path, Path | None, str]:
    """Where the images are, where the masks are if there are any, and what the names of the images add to theirs."""
    inner = root / "images"
    if (root / "dataset.json").is_file() and ((root / "imagesTr").is_dir() or not inner.is_dir()):
        named, images, channel = [root / "labelsTr"], root / "imagesTr", "_0000"
    else:
        named, images, channel = (
            [root / "masks", root / "labels"],
            inner if inner.is_dir() else root,
            "",
        )
    masks = [folder for folder in named if folder.is_dir()]
    if len(masks) > 1:
        raise ValueError(f"synthetic={root}: both masks/ and labels/ may be meant; keep one")
    return images, masks[0] if masks else None, channel


def case(path: Path, channel: str = "") -> str:
    """The name that an image and its mask share; empty for a file that is neither."""
    ending = next((kind for kind in KINDS if path.name.lower().endswith(channel + kind)), "")
    return path.name[: -len(channel + ending)] + ending if ending else ""


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """The files of a folder in the order of their names, less hidden ones such as the ._NAME that macOS leaves."""
    files = (path for path in folder.glob(pattern) if not path.is_dir())
    return sorted(
        path
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def is_image(path: Path) -> bool:
    return path.name.lower().endswith((*KINDS, *UNREAD))


def values_of(root: Path, labels: Mapping[str, int] | None) -> dict[int, int]:
    """{value in a mask file: index in LABELS}."""
    if labels is not None:
        if strange := sorted(set(labels) - set(LABELS)):
            raise ValueError(
                f"model.labels: {strange[0]} is no structure; name {', '.join(LABELS)}"
            )
        for name, value in labels.items():
            if not str(value).isdigit():
                raise ValueError(
                    f"model.labels: {name} is {value}; give the whole number that the masks hold for it, "
                    "or leave out what they do not label"
                )
        return {0: 0} | {int(value): LABELS.index(name) for name, value in labels.items()}
    if root.is_file():
        return values_in(root)
    file = root / "dataset.json"
    try:
        told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        named = told.get("labels", {name: value for value, name in enumerate(LABELS)})
    except (json.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"{file}: not a dataset.json of nnU-Net ({error})") from error
    try:
        return label_values(named, {}, file)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{file}: not a dataset.json of nnU-Net ({error})") from error
    except ValueError as error:  # its remedy is that of data sets, not of images made elsewhere
        wrong = str(error).partition(";")[0]
        raise ValueError(f"{wrong}; give model.labels={{lv: 1, myo: 2, rv: 3}}") from error


def values_in(file: Path) -> dict[int, int]:
    """Those of an HDF5 file, whose attribute `labels` may name the structures that its masks tell apart."""
    try:
        with h5py.File(file, "r", locking=False) as opened:
            given = opened.attrs.get("labels", LABELS)
    except OSError:  # said where its images are read
        given = LABELS
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in np.atleast_1d(given)]
    if set(names) - set(LABELS):
        raise ValueError(
            f"{file}: the attribute labels is {', '.join(names)}; store names of {', '.join(LABELS)}, "
            "or give model.labels={lv: 1, myo: 2, rv: 3}"
        )
    return {0: 0} | {LABELS.index(name): LABELS.index(name) for name in names}


def items(root: Path, values: Mapping[int, int]) -> Iterator[Item]:
    if root.is_file():
        yield from in_hdf5(root, values)
        return
    side = spacing_beside(root)
    for image, mask in pairs(root):
        if image.suffix.lower() == ".png":
            item = in_png(image, mask, values)
            yield replace(item, stack=replace(item.stack, spacing_mm=(side, side)))
        else:
            yield in_nifti(image, mask, values)


def spacing_beside(root: Path) -> float:
    """`spacing_mm` of dataset.json, for PNG, which has no place for it; nan where it says nothing."""
    file = root / "dataset.json"
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (
        OSError,
        ValueError,
    ):  # said by `values_of`, unless labels are given and nobody needs the file
        return float("nan")
    return spacing_of(file, told if isinstance(told, dict) else {})
