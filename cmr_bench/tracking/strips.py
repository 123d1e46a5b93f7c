"""Images of the local log: one PNG a key and step, slices side by side, their masks in a second one.

`images/<key>/<step>.png` holds grey values, `images/<key>/<step>.masks.png` labels as an indexed palette: both can be
looked at, and both give back exactly what was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cmr_bench.store import atomic
from cmr_bench.types import LABEL_COLOURS

MASKS = ".masks.png"


class Strip(NamedTuple):
    """Images (B, H, W) and their masks as they stand in the log."""

    key: str
    step: int
    images: NDArray[np.uint8]
    masks: NDArray[np.uint8] | None

    @property
    def name(self) -> str:
        return f"{self.key}/{self.step:07d}"


def grey(images: ArrayLike) -> NDArray[np.uint8]:
    """Values in [-1, 1] as whole numbers in 0..255, in the same shape."""
    return ((np.asarray(images, dtype=np.float32).clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def write_strip(folder: Path, strip: Strip) -> None:
    palette = [value for colour in LABEL_COLOURS for value in bytes.fromhex(colour[1:])]
    for planes, suffix in ((strip.masks, MASKS), (strip.images, ".png")):
        if planes is None:
            continue
        picture = Image.fromarray(np.concatenate(list(planes), axis=1))
        if suffix == MASKS:
            picture.putpalette(palette)
        words = PngInfo()
        words.add_text("count", str(len(planes)))
        with atomic(folder / f"{strip.name}{suffix}") as temporary:
            picture.save(temporary, format="PNG", pnginfo=words)


def read_strips(folder: Path) -> Iterator[Strip]:
    """All strips below the folder, by key and step; one that cannot be read is left out."""
    for path in sorted(folder.rglob("*.png")):
        if path.name.startswith(".") or path.name.endswith(MASKS) or not path.stem.isdigit():
            continue
        beside = path.with_name(path.stem + MASKS)
        try:
            images = _planes(path)
            masks = _planes(beside) if beside.exists() else None
        except (OSError, ValueError, KeyError):
            continue
        yield Strip(str(path.parent.relative_to(folder)), int(path.stem), images, masks)


def _planes(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        count = int(picture.info["count"])
        values = np.asarray(picture)
    return np.stack(np.split(values, count, axis=1))
