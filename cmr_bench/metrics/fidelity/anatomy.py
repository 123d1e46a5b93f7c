"""Shape of the anatomy in one mask: areas, roundness, wall, ring, pieces, right ventricle beside the left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as pieces_of

Plane = NDArray[np.integer]
Region = NDArray[np.bool_]
EIGHT = np.ones((3, 3), dtype=int)

MEASURES = {
    "area_lv": "cm2",
    "area_myo": "cm2",
    "area_rv": "cm2",
    "roundness_lv": "",
    "wall_thickness": "mm",
    "ring_closure": "",
    "components": "",
    "rv_share": "",
    "rv_distance": "mm",
}
"""What `anatomy` measures, with its unit."""


def anatomy(mask: Plane, spacing_mm: float) -> dict[str, float]:
    """MEASURES of a mask (H, W); nan where a structure that a measure needs is absent.

    area_*: cm2. roundness_lv: 4 pi A / P^2 of the cavity, 1 for a disc. wall_thickness: myocardial
    area over the mean of endocardial and epicardial perimeter, which is exact for a wall of even
    thickness around any convex cavity (Steiner's formula). ring_closure: share of the cavity's edge
    that touches myocardium. components: connected pieces a structure, 1 where none is torn.
    rv_share: RV / (RV + LV) area. rv_distance: mm between the centres of both cavities.
    """
    lv, myo, rv = (mask == k for k in (1, 2, 3))
    area = {name: float(r.sum()) * spacing_mm**2 for name, r in (("lv", lv), ("myo", myo), ("rv", rv))}  # fmt: skip
    found = {f"area_{name}": mm2 / 100 if mm2 else float("nan") for name, mm2 in area.items()}
    found |= dict.fromkeys(MEASURES.keys() - found.keys(), float("nan"))
    torn = [pieces_of(r, EIGHT)[1] for r in (lv, myo, rv) if r.any()]
    if torn:
        found["components"] = float(np.mean(torn))
    if lv.any():
        found["roundness_lv"] = 4 * np.pi * area["lv"] / perimeter(lv, spacing_mm) ** 2
        found["ring_closure"] = touching(lv, myo)
    if lv.any() and myo.any():
        edges = perimeter(lv, spacing_mm) + perimeter(lv | myo, spacing_mm)
        found["wall_thickness"] = area["myo"] / (edges / 2)
    if lv.any() and rv.any():
        found["rv_share"] = area["rv"] / (area["rv"] + area["lv"])
        centres = [np.argwhere(r).mean(0) for r in (lv, rv)]
        found["rv_distance"] = float(np.linalg.norm(centres[0] - centres[1])) * spacing_mm
    return found


def perimeter(region: Region, spacing_mm: float) -> float:
    """Length of the edge in mm, without the staircase's excess.

    Cauchy and Crofton: half the integral, over directions and offsets, of the crossings of lines,
    here along rows, columns and both diagonals (Lehmann & Legland 2012, section 4).
    """
    r = np.pad(region, 1)
    straight = (r[1:] != r[:-1]).sum() + (r[:, 1:] != r[:, :-1]).sum()
    diagonal = (r[1:, 1:] != r[:-1, :-1]).sum() + (r[1:, :-1] != r[:-1, 1:]).sum()
    return float(np.pi / 8 * spacing_mm * (straight + diagonal / np.sqrt(2)))


def touching(inner: Region, outer: Region) -> float:
    """Share of the pixel faces of `inner` on its outside that have `outer` on the other side."""
    a, b = np.pad(inner, 1), np.pad(outer, 1)
    edge = closed = 0
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        beside = a & ~np.roll(a, step, axis)
        edge += beside.sum()
        closed += (beside & np.roll(b, step, axis)).sum()
    return float(closed / edge)
