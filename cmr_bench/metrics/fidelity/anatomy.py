"""Shape of the anatomy in one mask, and volumes of the hearts whose masks are whole stacks of both phases."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import label as pieces_of

from cmr_bench.types import LABELS, Pool

Plane = NDArray[np.integer]
Region = NDArray[np.bool_]
EIGHT = np.ones((3, 3), dtype=int)
CAVITIES = {"lv": 1, "rv": 3}


class Measure(NamedTuple):
    """`needs` are the structures that must be labelled for it to mean something."""

    unit: str
    needs: frozenset[int] = frozenset()


SHAPES = {
    "area_lv": Measure("cm2", frozenset({1})),
    "area_myo": Measure("cm2", frozenset({2})),
    "area_rv": Measure("cm2", frozenset({3})),
    "roundness_lv": Measure("1 for a disc", frozenset({1})),
    "wall_thickness": Measure("mm", frozenset({1, 2})),
    "ring_closure": Measure("share of the cavity's edge", frozenset({1, 2})),
    "rv_share": Measure("share of both cavities", frozenset({1, 3})),
    "rv_distance": Measure("mm", frozenset({1, 3})),
    "pieces": Measure("pieces a structure"),
    "structures": Measure("structures a mask"),
}
"""What `shape` measures of a mask."""
VOLUMES = {
    f"{what}_{name}": Measure(unit, frozenset({k}))
    for name, k in CAVITIES.items()
    for what, unit in {"edv": "ml", "esv": "ml", "ef": "%"}.items()
}
"""What `volumes` measures of a subject."""


def shape(mask: Plane, spacing_mm: float) -> dict[str, float]:
    """SHAPES of a mask (H, W); nan where a structure that a measure speaks of is absent.

    area_*: cm2. roundness_lv: 4 pi A / P^2 of the cavity, 1 for a disc. wall_thickness: myocardial
    area over the mean of endocardial and epicardial perimeter, which is exact for a wall of even
    thickness around any convex cavity (Steiner's formula). ring_closure: share of the cavity's edge
    that touches myocardium. rv_share: RV / (RV + LV) area. rv_distance: mm between the centres of
    both cavities. pieces: connected pieces a structure, 1 where none is torn. structures: how many
    are there.
    """
    rows, columns = np.nonzero(mask)
    found = dict.fromkeys(SHAPES, float("nan")) | {"structures": 0.0}
    if not len(rows):
        return found
    mask = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    regions = {name: mask == k for k, name in enumerate(LABELS) if k and (mask == k).any()}
    area = {name: float(r.sum()) * spacing_mm**2 / 100 for name, r in regions.items()}
    found |= {f"area_{name}": cm2 for name, cm2 in area.items()}
    found["structures"] = float(len(regions))
    found["pieces"] = float(np.mean([pieces_of(r, EIGHT)[1] for r in regions.values()]))
    if "lv" not in regions:
        return found
    lv, around = regions["lv"], perimeter(regions["lv"], spacing_mm)
    found["roundness_lv"] = 4 * np.pi * 100 * area["lv"] / around**2
    found["ring_closure"] = touching(lv, mask == LABELS.index("myo"))
    if "myo" in regions:
        edges = around + perimeter(lv | regions["myo"], spacing_mm)
        found["wall_thickness"] = 100 * area["myo"] / (edges / 2)
    if "rv" in regions:
        found["rv_share"] = area["rv"] / (area["rv"] + area["lv"])
        centres = [np.argwhere(regions[name]).mean(0) for name in CAVITIES]
        found["rv_distance"] = float(np.linalg.norm(centres[0] - centres[1])) * spacing_mm
    return found


def perimeter(region: Region, spacing_mm: float) -> float:
    """Length of the edge in mm, without the staircase's excess.

    Cauchy and Crofton: half the integral, over directions and offsets, of the crossings of lines,
    here along rows, columns and both diagonals (Lehmann & Legland 2012, section 4). A convex region
    is off by at most one line a direction, so by (1 + sqrt(1/2)) pi / 2 pixels.
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
        beside = a & ~np.roll(a, -step, axis)
        edge += beside.sum()
        closed += (beside & np.roll(b, -step, axis)).sum()
    return float(closed / edge)


def shapes(pool: Pool, labels: Collection[int]) -> pd.DataFrame:
    """SHAPES of each mask of the pool, of these structures alone, beside its subject."""
    masks = pool.masks[:, 0].numpy()
    kept = np.where(np.isin(masks, list(labels)), masks, 0)
    found = pd.DataFrame([shape(mask, pool.spacing_mm) for mask in kept], columns=[*SHAPES])
    return found.assign(subject=pool.subjects)


def volumes(pool: Pool) -> pd.DataFrame:
    """VOLUMES of each subject that has slices of both phases: ED, ES in ml and 100 (EDV - ESV) / EDV in %.

    Slices of unknown thickness have no volume, and neither has their subject.
    """
    table = pool.table
    ml = pool.spacing_mm**2 * table["thickness_mm"].to_numpy(dtype=float) / 1000
    found: dict[str, pd.Series] = {}
    for name, k in CAVITIES.items():
        slices = table[["subject", "phase"]].assign(
            ml=(pool.masks == k).flatten(1).sum(1).numpy() * ml
        )
        both = slices.groupby(["subject", "phase"])["ml"].sum(skipna=False).unstack()
        both = both.reindex(columns=["ED", "ES"]).dropna()
        edv, esv = both["ED"], both["ES"]
        found |= {f"edv_{name}": edv, f"esv_{name}": esv}
        found[f"ef_{name}"] = 100 * (edv - esv) / edv.where(edv > 0)
    return pd.DataFrame(found, columns=[*VOLUMES]).rename_axis("subject").reset_index()
