"""The files of images made elsewhere: which there are, and what their masks mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from cmr_bench.data.contents import Item, in_hdf5, in_nifti, in_png
from cmr_bench.data.nnunet import label_values
from cmr_bench.types import LABELS

LAYOUTS = (
    "an HDF5 file with images (N, H, W) and perhaps masks; dataset.json with imagesTr and perhaps labelsTr "
    "(nnU-Net raw); images/ and perhaps masks/ with the same names; or a folder of images; PNG or NIfTI"
)
KINDS = (".png", ".nii.gz", ".nii")
HDF5 = (".h5", ".hdf5")


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
