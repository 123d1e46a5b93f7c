"""Calibration table: group means of the phantom beside those of the ACDC subjects.

    python -m cmr_bench.data.phantom_table --acdc PATH

prints a Markdown table: mean and SD of the phantom and of the real subjects, a column a group, and the difference of the
means in real SDs. Both sides go through the same measures, on label maps and on intensities scaled by the same percentiles.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image
from scipy import ndimage

from cmr_bench.data.phantom import Phantom

MEASURES = {
    "lv_edv_ml": "LV end-diastolic volume (ml)",
    "lv_esv_ml": "LV end-systolic volume (ml)",
    "lv_ef": "LV ejection fraction (%)",
    "wall_mean_mm": "ED wall thickness, mean (mm)",
    "wall_max_mm": "ED wall thickness, largest 30° sector (mm)",
    "rv_area_cm2": "RV area, middle slice, ED (cm²)",
    "rv_edv_ml": "RV end-diastolic volume (ml)",
    "blood_to_myo": "LV blood / myocardium signal",
    "rv_to_lv": "RV blood / LV blood signal",
    "dark_to_blood": "darkest tenth around the heart / LV blood",
    "bright_to_blood": "brightest twentieth around the heart / LV blood",
    "myo_cv": "SD / mean of the myocardium signal",
}
GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")
ACDC_TO_LABELS = np.array([0, 3, 2, 1])
SECTORS, NEIGHBOURHOOD_MM, FIELD_MM = 12, 40.0, 192.0


def wall_thickness(mask: np.ndarray, spacing_mm: float) -> np.ndarray:
    """(12,) mm: wall of each 30° sector about the LV centre, from the areas of cavity and wall; empty if no cavity.

    A sector of angle w and area A reaches to the radius sqrt(2 A / w).
    """
    rows, cols = np.nonzero((mask == 1) | (mask == 2))
    if not (mask == 1).any():
        return np.zeros(0)
    y, x = rows - np.nonzero(mask == 1)[0].mean(), cols - np.nonzero(mask == 1)[1].mean()
    sector = ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    cavity = np.bincount(sector, weights=mask[rows, cols] == 1, minlength=SECTORS)
    whole = np.bincount(sector, minlength=SECTORS)
    scale = spacing_mm * np.sqrt(2 * SECTORS / (2 * np.pi))
    return scale * (np.sqrt(whole) - np.sqrt(cavity))


def volume_ml(masks: np.ndarray, label: int, spacing_mm: float, thickness_mm: float) -> float:
    return float((masks == label).sum() * spacing_mm**2 * thickness_mm / 1000)


def middle(masks: np.ndarray) -> np.ndarray:
    """Slices of the middle third of those that hold a closed wall and a cavity."""
    held = [k for k, m in enumerate(masks) if (m == 1).any() and (m == 2).any()]
    third = len(held) / 3
    return np.array(held[round(third) : max(round(2 * third), round(third) + 1)], int)


def measure(
    images: np.ndarray,
    masks: np.ndarray,
    *,
    es_masks: np.ndarray,
    spacing_mm: float,
    thickness_mm: float,
) -> dict[str, float]:
    """MEASURES of one subject from its ED stack (Z, H, W), intensities in [0, 1], and its ES label maps."""
    edv = volume_ml(masks, 1, spacing_mm, thickness_mm)
    esv = volume_ml(es_masks, 1, spacing_mm, thickness_mm)
    at = middle(masks)
    image, mask = images[at], masks[at]
    walls = np.stack([wall_thickness(m, spacing_mm) for m in mask])
    heart = mask > 0
    near = (
        np.stack(
            [ndimage.distance_transform_edt(~h) * spacing_mm < NEIGHBOURHOOD_MM for h in heart]
        )
        & ~heart
    )
    blood, myo = np.median(image[mask == 1]), np.median(image[mask == 2])
    right = np.median(image[mask == 3]) if (mask == 3).any() else np.nan
    return {
        "lv_edv_ml": edv,
        "lv_esv_ml": esv,
        "lv_ef": 100 * (edv - esv) / edv,
        "wall_mean_mm": float(walls.mean()),
        "wall_max_mm": float(walls.max()),
        "rv_area_cm2": float((mask == 3).sum(axis=(1, 2)).mean() * spacing_mm**2 / 100),
        "rv_edv_ml": volume_ml(masks, 3, spacing_mm, thickness_mm),
        "blood_to_myo": float(blood / myo),
        "rv_to_lv": float(right / blood),
        "dark_to_blood": float(np.percentile(image[near], 10) / blood),
        "bright_to_blood": float(np.percentile(image[near], 95) / blood),
        "myo_cv": float(image[mask == 2].std() / image[mask == 2].mean()),
    }


def scaled(volume: np.ndarray) -> np.ndarray:
    """1st to 99th percentile onto [0, 1]."""
    low, high = np.percentile(volume, (1, 99))
    return np.clip((volume - low) / (high - low), 0, 1)


def acdc_rows(root: Path) -> Iterator[dict[str, float | str]]:
    """One row of measures a subject of the ACDC layout (Bernard et al., IEEE TMI 37(11), 2018)."""
    folders = sorted(p.parent for p in root.rglob("Info.cfg"))
    if not folders:
        raise ValueError(
            f"no Info.cfg under {root}: give the folder that holds ACDC's patientNNN folders"
        )
    for folder in folders:
        info = dict(
            line.split(": ", 1)
            for line in (folder / "Info.cfg").read_text().splitlines()
            if ": " in line
        )
        stem = {phase: f"{folder.name}_frame{int(info[phase]):02d}" for phase in ("ED", "ES")}
        image = Nifti1Image.from_filename(folder / f"{stem['ED']}.nii.gz")
        spacing, _, thickness = (float(z) for z in image.header.get_zooms()[:3])
        keep = tuple(
            slice(max(0, int(n / 2 - FIELD_MM / 2 / spacing)), int(n / 2 + FIELD_MM / 2 / spacing))
            for n in image.shape[:2]
        )
        masks = {
            phase: ACDC_TO_LABELS[
                np.asarray(Nifti1Image.from_filename(folder / f"{name}_gt.nii.gz").dataobj).astype(
                    int
                )
            ]
            for phase, name in stem.items()
        }
        yield {
            "group": info["Group"].strip(),
            **measure(
                scaled(np.asarray(image.dataobj, dtype=np.float32)[keep]).transpose(2, 1, 0),
                masks["ED"][keep].transpose(2, 1, 0),
                es_masks=masks["ES"].transpose(2, 1, 0),
                spacing_mm=spacing,
                thickness_mm=thickness,
            ),
        }


def phantom_rows(phantom: Phantom) -> Iterator[dict[str, float | str]]:
    """One row of measures a subject of the phantom."""
    for index in range(len(phantom)):
        subject = phantom[index]
        phase = subject.table["phase"].to_numpy()
        yield {
            "group": phantom.pathology(index),
            **measure(
                scaled((subject.images[phase == "ED"] + 1) / 2),
                subject.masks[phase == "ED"],
                es_masks=subject.masks[phase == "ES"],
                spacing_mm=phantom.spacing_mm,
                thickness_mm=float(subject.table["thickness_mm"].iloc[0]),
            ),
        }


def table(
    real: Iterable[dict[str, float | str]], made: Iterable[dict[str, float | str]]
) -> pd.DataFrame:
    """One row a group and measure: means and SDs of both sides and the difference of the means in real SDs."""
    sides = {
        side: pd.DataFrame(rows).groupby("group").agg(["mean", "std"])
        for side, rows in (("real", real), ("made", made))
    }
    rows = []
    for group in (g for g in GROUPS if g in sides["real"].index and g in sides["made"].index):
        for key, title in MEASURES.items():
            (mean, sd), (own, spread) = (tuple(side.loc[group, key]) for side in sides.values())
            rows.append((group, title, mean, sd, own, spread, (own - mean) / sd))
    return pd.DataFrame(
        rows,
        columns=["group", "measure", "ACDC", "SD", "phantom", "SD of phantom", "difference in SD"],
    )


def markdown(frame: pd.DataFrame) -> str:
    """The frame as one Markdown table: a row a measure, a column a group."""
    groups = list(dict.fromkeys(frame["group"]))
    lines = [
        "| phantom / ACDC, mean ± SD (difference in SDs) | " + " | ".join(groups) + " |",
        "|---|" + "---|" * len(groups),
    ]
    for title, rows in frame.groupby("measure", sort=False):
        cells = [
            f"{row['phantom']:.3g} ± {row['SD of phantom']:.2g} / {row['ACDC']:.3g} ± {row['SD']:.2g} "
            f"({row['difference in SD']:+.2f})"
            for _, row in rows.set_index("group").loc[groups].iterrows()
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--acdc", type=Path, required=True, help="folder that holds ACDC's patientNNN folders"
    )
    parser.add_argument("--subjects", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    phantom = Phantom(subjects=asked.subjects, size=128, spacing_mm=1.5, seed=asked.seed)
    print(markdown(table(acdc_rows(asked.acdc), phantom_rows(phantom))))


if __name__ == "__main__":
    main()
