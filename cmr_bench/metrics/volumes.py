"""Agreement of masks per volume and structure, in mm and ml, with an explicit rule for absent structures.

A volume is one phase of one subject: its slices stacked at their places. For each structure that
the data set labels:

- absent in truth and prediction: not measured (nan), counted as `both_absent`;
- absent in one of them: Dice and IoU 0, HD95 and ASD the diagonal of the volume, the largest distance
  there can be, the volume error all of the other's volume and relative 1, counted as `missed` (not in
  the prediction) or `invented` (not in the truth);
- else Dice, IoU, and distances of the surfaces with the true spacing.

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
Structure = NDArray[np.bool_]
Far = tuple[NDArray[np.float64], NDArray[np.float64]]
MEASURES = ("dice", "iou", "hd95", "asd", "volume_error", "volume_ratio_error")
AGREED = dict.fromkeys(MEASURES, 0.0) | {"dice": 1.0, "iou": 1.0}
COLUMNS = ("subject", "phase", "label", *MEASURES, "truth_ml", "predicted_ml", "case")


def overlap(truth: Masks, predicted: Masks, *, pool: Pool, labels: Iterable[int]) -> pd.DataFrame:
    """One row a volume and label, with the columns of COLUMNS.

    hd95 and asd in mm, volume_error |predicted - true| in ml, volume_ratio_error the same over the
    true volume. Subject, phase, place and spacing of each slice come from `pool`; `case` is
    measured, both_absent, missed or invented.
    """
    table, labels = pool.table, tuple(labels)
    rows = []
    for (subject, phase), at in table.groupby(["subject", "phase"], sort=True).indices.items():
        spacing = _spacing(pool, at)
        ml = pool.spacing_mm**2 * float(table["thickness_mm"].iloc[at[0]]) / 1000
        a, b = (_stacked(masks, at, table) for masks in (truth, predicted))
        for label in labels:
            one, other = a == label, b == label
            found = _compared(one, other, spacing) | _sizes(one, other, ml)
            rows.append({"subject": str(subject), "phase": phase, "label": label, **found})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def together(found: pd.DataFrame) -> pd.DataFrame:
    """`overlap` of several fits, one below the other: where one invents a structure, those that rightly see none agree with the truth.

    Alone they are not measured there; dropped from a mean over fits, the one that invents would speak for all.
    """
    keys = [found[key] for key in ("subject", "phase", "label", "level") if key in found]
    invented = (found["case"] == "invented").groupby(keys).transform("any")
    found.loc[invented, [*MEASURES]] = found.loc[invented, [*MEASURES]].fillna(AGREED)
    return found


def cases(table: pd.DataFrame) -> dict[str, float | str]:
    """How often each rule was used, and the mean HD95 where both structures are there."""
    counts = table["case"].value_counts()
    names = ("measured", "both_absent", "missed", "invented")
    measured = table.loc[table["case"] == "measured", "hd95"]
    found: dict[str, float | str] = {name: int(counts.get(name, 0)) for name in names}
    return found | {"hd95_measured": float(measured.mean())}


def ejection(table: pd.DataFrame, label: int = 1) -> pd.DataFrame:
    """One row a subject with both phases: true and predicted ejection fraction and |difference|, in %.

    100 (EDV - ESV) / EDV of a cavity, out of a table of `overlap`. A prediction is held to 0..100 %,
    and is 0 where it sees no cavity at end-diastole; a subject without a true one is left out.
    """
    one = table[table["label"] == label]
    columns = {}
    for side in ("truth", "predicted"):
        ml = one.pivot(index="subject", columns="phase", values=f"{side}_ml")
        ml = ml.reindex(columns=["ED", "ES"]).dropna()
        share = 100 * (ml["ED"] - ml["ES"]) / ml["ED"].where(ml["ED"] > 0)
        columns[side] = share if side == "truth" else share.fillna(0).clip(0, 100)
    found = pd.DataFrame(columns).dropna()
    return found.assign(error=(found["predicted"] - found["truth"]).abs()).reset_index()


def dice(a: Structure, b: Structure) -> float:
    """2 |A and B| / (|A| + |B|); nan if both are empty."""
    total = a.sum() + b.sum()
    return float(2 * (a & b).sum() / total) if total else float("nan")


def iou(a: Structure, b: Structure) -> float:
    """|A and B| / |A or B|; nan if both are empty."""
    either = (a | b).sum()
    return float((a & b).sum() / either) if either else float("nan")


def hd95(far: Far) -> float:
    """Larger of the two directed 95th percentiles of surface distance (of `distances`)."""
    return max(float(np.percentile(side, 95)) for side in far)


def asd(far: Far) -> float:
    """Average symmetric surface distance: the mean over the surface elements of both (of `distances`)."""
    return float(np.concatenate(far).mean())


def distances(a: Structure, b: Structure, spacing: tuple[float, ...]) -> Far:
    """From each surface element of a to the nearest of b, and the other way, in units of spacing.

    Neither may be empty. The surface are the elements of a structure with a face on its outside.
    """
    box = tuple(slice(side.min(), side.max() + 1) for side in np.nonzero(a | b))
    one, other = (v[box] & ~binary_erosion(v[box]) for v in (a, b))
    far = [distance_transform_edt(~edge, sampling=spacing) for edge in (one, other)]
    return far[1][one], far[0][other]


def _compared(a: Structure, b: Structure, spacing: tuple[float, ...]) -> dict[str, float | str]:
    if not a.any() and not b.any():
        return dict.fromkeys(MEASURES, float("nan")) | {"case": "both_absent"}
    if not a.any() or not b.any():
        diagonal = float(np.linalg.norm(np.array(a.shape) * np.array(spacing)))
        case = "missed" if a.any() else "invented"
        return {"dice": 0.0, "iou": 0.0, "hd95": diagonal, "asd": diagonal, "case": case}
    if a.shape[-1] == 1:  # one slice has a contour; in 3D all of it would be surface
        a, b, spacing = a[..., 0], b[..., 0], spacing[:2]
    far = distances(a, b, spacing)
    return {
        "dice": dice(a, b),
        "iou": iou(a, b),
        "hd95": hd95(far),
        "asd": asd(far),
        "case": "measured",
    }


def _sizes(a: Structure, b: Structure, ml: float) -> dict[str, float]:
    """Volumes and their errors; an element has `ml` millilitres."""
    true, found = float(a.sum()), float(b.sum())
    sizes = {"truth_ml": true * ml, "predicted_ml": found * ml}
    if not true and not found:
        return sizes
    ratio = abs(found - true) / true if true else 1.0
    return sizes | {"volume_error": abs(found - true) * ml, "volume_ratio_error": ratio}


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
