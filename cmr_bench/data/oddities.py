"""What looks wrong about a contour though the files are sound: warnings for a person to look at, never faults.

Two signs from physics and anatomy: blood is brighter than the wall around it in cine SSFP, and the myocardium surrounds the
cavity. The thresholds spare all 200 volumes of 70 ACDC and 30 Sunnybrook subjects, where the least mean contrast of a
volume is 0.70 and the least closed ring 0.80; in 50 of them a contour moved by 40 mm was always noticed, one by 15 mm in
four of five volumes.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects
from scipy.stats import mannwhitneyu

from cmr_bench.data.stack import Stack

RING_MM = 6.0
SMALL_MM2 = 150.0
CONTRAST = 0.65
"""Least mean chance that a cavity pixel is brighter than one of the ring around it, over a volume's slices."""
LOST = 0.75
"""The same for a single slice whose cavity also lies more than its own radius off the line through its neighbours."""
CLOSED = 0.5
CLOSE = 0.99
FAR = 30.0


def oddities(stack: Stack) -> list[str]:
    """One line for each sign that the labels of this volume lie on the wrong place."""
    found = []
    if stack.thickness_mm < CLOSE * min(stack.spacing_mm):
        found.append(
            f"slices lie {stack.thickness_mm:.3g} mm apart, closer than the pixels of {min(stack.spacing_mm):.3g} mm: "
            "is the slice spacing lost? distances and volumes in mm need it"
        )
    if stack.thickness_mm > FAR:
        found.append(
            f"slices lie {stack.thickness_mm:.3g} mm apart by the header: volumes and distances in mm need the true spacing"
        )
    depth = stack.mask.shape[2]
    slices: list[int] = np.flatnonzero((stack.mask > 0).any(axis=(0, 1))).tolist()
    gaps = sorted(set(range(slices[0], slices[-1] + 1)) - set(slices))
    if gaps:
        found.append(f"slices {_list(gaps)} between labelled ones carry no label")
    contrast = {k: cavity_contrast(stack, k) for k in range(depth)}
    seen = {k: value for k, value in contrast.items() if not np.isnan(value)}
    if seen and np.mean(list(seen.values())) < CONTRAST:
        found.append(
            f"the LV cavity is hardly brighter than its surroundings ({np.mean(list(seen.values())):.2f})"
        )
    away = [k for k in _strays(stack) if seen.get(k, 1.0) < LOST]
    if away:
        found.append(
            f"the LV contour jumps off its neighbours and off the blood pool in slices {_list(away)}"
        )
    open_rings = [k for k in slices if enclosed(stack.mask[..., k]) < CLOSED]
    if open_rings:
        found.append(
            f"the myocardium does not surround the LV cavity in slices {_list(open_rings)}"
        )
    return found


def cavity_contrast(stack: Stack, k: int) -> float:
    """Chance that a pixel of the LV cavity is brighter than one within 6 mm around it that is not RV; nan if small."""
    if (stack.mask[..., k] == 1).sum() * np.prod(stack.spacing_mm) < SMALL_MM2:
        return float("nan")
    near = _near(stack, k)
    plane, image = stack.mask[..., k][near], stack.image[..., k][near]
    cavity = plane == 1
    distance = distance_transform_edt(~cavity, sampling=stack.spacing_mm)
    ring = (distance > 0) & (distance <= RING_MM) & (plane != 3)
    if not ring.any():
        return float("nan")
    statistic = mannwhitneyu(image[cavity], image[ring], method="asymptotic").statistic
    return float(statistic) / (int(cavity.sum()) * int(ring.sum()))


def _near(stack: Stack, k: int) -> tuple[slice, ...]:
    """The box around the LV cavity with room for the ring."""
    box = find_objects((stack.mask[..., k] == 1).astype(np.uint8))[0]
    room = [int(RING_MM / side) + 2 for side in stack.spacing_mm]
    return tuple(slice(max(0, s.start - r), s.stop + r) for s, r in zip(box, room, strict=True))


def enclosed(plane: np.ndarray) -> float:
    """Share of the pixels next to the LV cavity that are myocardium; 1 where either is absent."""
    cavity = plane == 1
    if not cavity.any() or not (plane == 2).any():
        return 1.0
    return float((plane[binary_dilation(cavity) & ~cavity] == 2).mean())


def _strays(stack: Stack) -> list[int]:
    """Slices whose cavity centre lies more than its radius off the middle of the slices before and after it."""
    spacing = np.array(stack.spacing_mm)
    cavities = {
        k: np.argwhere(stack.mask[..., k] == 1) * spacing for k in range(stack.mask.shape[2])
    }
    centres = {k: points.mean(axis=0) for k, points in cavities.items() if len(points)}
    order = sorted(centres)
    strays = []
    for before, k, after in zip(order, order[1:], order[2:], strict=False):
        radius = np.sqrt(len(cavities[k]) * spacing.prod() / np.pi)
        if np.linalg.norm(centres[k] - (centres[before] + centres[after]) / 2) > radius:
            strays.append(k)
    return strays


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
