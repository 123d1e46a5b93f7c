"""Overlap of masks per volume and structure, in mm, with an explicit rule for absent structures.

A volume is one phase of one subject: its slices stacked at their places. For each structure that
the data set labels:

- absent in truth and prediction: not measured (nan), counted as `both_absent`;
- absent in one of them: Dice 0, HD95 the diagonal of the volume, the largest distance there can be,
  counted as `missed` (not in the prediction) or `invented` (not in the truth);
- else Dice, and the 95th percentile Hausdorff distance with the true spacing.

No failure vanishes from a mean, and background is never a structure.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from cmr_bench.types import Masks, Pool

Volume = NDArray[np.integer]


def overlap(truth: Masks, predicted: Masks, *, pool: Pool, labels: Iterable[int]) -> pd.DataFrame:
    """One row a volume and label: subject, phase, label, dice, hd95 (mm), case.

    Subject, phase, place and spacing of each slice come from `pool`; `case` is measured,
    both_absent, missed or invented.
    """
    table, labels = pool.table, tuple(labels)
    rows = []
    for (subject, phase), at in table.groupby(["subject", "phase"], sort=True).indices.items():
        spacing = _spacing(pool, at)
        a, b = (_stacked(masks, at, table) for masks in (truth, predicted))
        for label in labels:
            rows.append((str(subject), phase, label, *_compared(a == label, b == label, spacing)))
    return pd.DataFrame(rows, columns=["subject", "phase", "label", "dice", "hd95", "case"])


def cases(table: pd.DataFrame) -> dict[str, float | str]:
    """How often each rule was used, and the mean HD95 where both structures are there."""
    counts = table["case"].value_counts()
    names = ("measured", "both_absent", "missed", "invented")
    measured = table.loc[table["case"] == "measured", "hd95"]
    found: dict[str, float | str] = {name: int(counts.get(name, 0)) for name in names}
    return found | {"hd95_measured": float(measured.mean())}


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """2 |A and B| / (|A| + |B|); nan if both are empty."""
    total = a.sum() + b.sum()
    return float(2 * (a & b).sum() / total) if total else float("nan")


def hd95(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    """Larger of the two directed 95th percentiles of surface distance, in units of spacing."""
    box = tuple(slice(side.min(), side.max() + 1) for side in np.nonzero(a | b))
    edges = [v[box] & ~binary_erosion(v[box]) for v in (a, b)]
    return max(
        float(np.percentile(distance_transform_edt(~to, sampling=spacing)[of], 95))
        for of, to in (edges, edges[::-1])
    )


def _compared(
    a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: tuple[float, ...]
) -> tuple[float, float, str]:
    if not a.any() and not b.any():
        return float("nan"), float("nan"), "both_absent"
    if not a.any() or not b.any():
        diagonal = float(np.linalg.norm(np.array(a.shape) * np.array(spacing)))
        return 0.0, diagonal, "missed" if a.any() else "invented"
    if a.shape[-1] == 1:  # one slice has a contour; in 3D all of it would be surface
        a, b, spacing = a[..., 0], b[..., 0], spacing[:2]
    return dice(a, b), hd95(a, b, spacing), "measured"


def _stacked(masks: Masks, rows: NDArray[np.intp], table: pd.DataFrame) -> Volume:
    """(H, W, D) with each slice at its place; a place without a slice is empty."""
    place = table["slice"].to_numpy()[rows].astype(int)
    place = place - place.min()
    volume = np.zeros((*masks.shape[-2:], place.max() + 1), dtype=np.int64)
    volume[..., place] = np.moveaxis(masks[torch.as_tensor(rows), 0].cpu().numpy(), 0, -1)
    return volume


def _spacing(pool: Pool, rows: NDArray[np.intp]) -> tuple[float, float, float]:
    first = pool.table.iloc[rows[0]]
    if pool.table["slice"].iloc[rows].duplicated().any():
        raise ValueError(
            f"pool {pool.name}: two slices {first['subject']} {first['phase']} in one place"
        )
    thickness = float(first["thickness_mm"])
    if len(rows) == 1:
        return pool.spacing_mm, pool.spacing_mm, 0.0
    if not thickness > 0:
        raise ValueError(
            f"pool {pool.name}: thickness_mm of {first['subject']} is {thickness}; "
            "distances in mm need the true one, prepare the data again"
        )
    return pool.spacing_mm, pool.spacing_mm, thickness
