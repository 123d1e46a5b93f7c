"""From an oriented stack to slices on one grid: antialiased resampling, crop and intensity range."""

from __future__ import annotations

import numpy as np
import torch
import torchio as tio
from scipy.ndimage import center_of_mass, gaussian_filter

from cmr_bench.data.stack import Stack
from cmr_bench.types import LABELS

CROPS = ("centre", "mask")
UNITS = ("volume", "slice")


def window(
    stack: Stack, *, spacing_mm: float, size: int, crop: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slices of (size, size) pixels of spacing_mm: images (Z, H, W), masks (Z, H, W) and what the crop loses.

    `centre` looks at the middle of the field of view, `mask` at each slice's centre of mass of the labels. The loss is
    (len(LABELS), 2): labelled pixels of each structure outside the crop and in all, counted before resampling.
    """
    depth = stack.image.shape[2]
    middle = (np.array(stack.image.shape[:2]) - 1) / 2
    runs = [(slice(0, depth), middle)] if crop == "centre" else [
        (slice(k, k + 1), _centre(stack.mask[..., k], middle)) for k in range(depth)
    ]  # fmt: skip
    images, masks, lost = [], [], np.zeros((len(LABELS), 2), dtype=np.int64)
    for part, centre in runs:
        image, mask = stack.image[..., part], stack.mask[..., part]
        lost += _lost(mask, stack.spacing_mm, centre, spacing_mm * size)
        hot = (mask[None] == np.arange(len(LABELS))[:, None, None, None]).astype(np.float32)
        low = image.min()
        both = np.concatenate([(image - low)[None], hot])
        out = _resample(both, stack.spacing_mm, centre, spacing_mm=spacing_mm, size=size)
        images.append(out[0] + low)
        masks.append(out[1:].argmax(axis=0).astype(np.uint8))
    return np.concatenate(images), np.concatenate(masks), lost


def _resample(
    channels: np.ndarray,
    source: tuple[float, float],
    centre: np.ndarray,
    *,
    spacing_mm: float,
    size: int,
) -> np.ndarray:
    """(C, rows, columns, Z) to (C, Z, size, size) around `centre` (source pixels), linear, zero outside.

    Before downsampling by f, a Gaussian of sigma^2 = (f^2 - 1) / (8 ln 2) source pixels in the plane keeps the target's
    point spread (Cardoso et al., MICCAI 2015); masks pass as one channel a label, so that thin walls are weighed, not
    picked.
    """
    side = np.array(source)
    sigma = np.sqrt((np.maximum(spacing_mm / side, 1.0) ** 2 - 1) / (8 * np.log(2)))
    reach = spacing_mm * size / 2 / side + 4 * sigma + 2
    start = np.maximum(np.floor(centre - reach), 0).astype(int)
    stop = np.ceil(centre + reach).astype(int) + 1
    needed = channels[:, start[0] : stop[0], start[1] : stop[1]]
    smooth = gaussian_filter(needed, sigma=(0, sigma[0], sigma[1], 0), mode="nearest")
    image = tio.ScalarImage(tensor=torch.from_numpy(smooth), affine=np.diag([*source, 1.0, 1.0]))
    target = np.diag([spacing_mm, spacing_mm, 1.0, 1.0])
    target[:2, 3] = (centre - start) * side - (size - 1) / 2 * spacing_mm
    moved = tio.Resample(((size, size, channels.shape[3]), target))(image)
    return np.ascontiguousarray(moved.data.numpy().transpose(0, 3, 1, 2))


def _centre(mask: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    return np.array(center_of_mass(mask > 0)) if mask.any() else otherwise


def _lost(
    mask: np.ndarray, source: tuple[float, float], centre: np.ndarray, extent_mm: float
) -> np.ndarray:
    rows, columns, _ = np.nonzero(mask)
    offset = np.abs(np.stack([rows, columns], axis=1) - centre) * np.array(source)
    labels = mask[mask > 0]
    outside = np.bincount(labels[(offset > extent_mm / 2).any(axis=1)], minlength=len(LABELS))
    return np.stack([outside, np.bincount(labels, minlength=len(LABELS))], axis=1)


def normalise(images: np.ndarray, *, per: str, low: float, high: float) -> np.ndarray:
    """Clips at the percentiles `low` and `high` of the cropped volume or slice and scales to [-1, 1]; what is constant
    between them becomes -1."""
    rescale = tio.RescaleIntensity(out_min_max=(-1, 1), percentiles=(low, high))
    out = np.full(images.shape, -1, dtype=np.float32)
    for part in [slice(None)] if per == "volume" else [slice(k, k + 1) for k in range(len(images))]:
        if np.ptp(np.percentile(images[part], (low, high))) > 0:
            out[part] = rescale(torch.from_numpy(images[part][None].astype(np.float32)))[0].numpy()
    return out.clip(-1, 1)
