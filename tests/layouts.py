"""Tiny cohorts in the layouts that the data sets are handed out in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

from cmr_bench.seeds import numpy_rng

SHAPE = (48, 40, 6)
SPACING = (2.5, 2.5, 10.0)
ACDC_VALUES = {1: 3, 2: 2, 3: 1}


def heart(subject: str, phase: str = "ED") -> tuple[np.ndarray, np.ndarray]:
    """(columns, rows, slices) image and mask in our labels, base first, RV on the left, as ACDC stores them."""
    rng = numpy_rng("heart", subject)
    texture = gaussian_filter(rng.normal(size=SHAPE), (1.5, 1.5, 0.5))
    image = 200 + 60 * texture / texture.std()
    mask = np.zeros(SHAPE, dtype=np.uint8)
    x, y = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij")
    middle = np.array([26.0, 20.0]) + rng.uniform(-2, 2, 2)
    for k in range(SHAPE[2]):
        cavity = (7.5 if phase == "ED" else 6.0) - 0.7 * k
        far = np.hypot(x - middle[0], y - middle[1])
        right = np.hypot((x - middle[0] + 8) / 1.2, y - middle[1]) < cavity
        mask[..., k] = np.select([far < cavity, far < cavity + 2.5, right], [1, 2, 3], 0)
    image[mask == 1] += 600
    image[mask == 2] -= 100
    image[mask == 3] += 500
    return image.clip(0), mask


def save(
    path: Path, data: np.ndarray, affine: np.ndarray | None = None, kind: str = "int16"
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(
        nib.Nifti1Image(data.astype(kind), np.diag([*SPACING, 1]) if affine is None else affine),
        path,
    )


def recoded(mask: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
    """Our labels as a data set's own values."""
    out = np.zeros_like(mask)
    for ours, theirs in values.items():
        out[mask == ours] = theirs
    return out


def write_acdc(root: Path, subjects: Iterable[str], part: str = "training") -> Path:
    for i, subject in enumerate(subjects):
        base = root / part / subject
        for phase, frame in (("ED", 1), ("ES", 12)):
            image, mask = heart(subject, phase)
            save(base / f"{subject}_frame{frame:02d}.nii.gz", image)
            save(
                base / f"{subject}_frame{frame:02d}_gt.nii.gz",
                recoded(mask, ACDC_VALUES),
                kind="uint8",
            )
        group = ("NOR", "DCM")[i % 2]
        (base / "Info.cfg").write_text(
            f"ED: 1\nES: 12\nGroup: {group}\nHeight: 180.0\nNbFrame: 30\nWeight: 80.0\n"
        )
    return root


def write_mnms(root: Path, codes: Mapping[str, str]) -> Path:
    """`codes` gives each subject's part, such as Training/Labeled; frames 2 (ED) and 0 (ES) of four."""
    lines = [",External code,VendorName,Vendor,Centre,ED,ES,Age,Pathology,Sex,Height,Weight"]
    for i, (code, part) in enumerate(codes.items()):
        vendor = ("Siemens", "Philips", "GE", "Canon")[i % 4]
        lines.append(
            f"{i},{code},{vendor},{'ABCD'[i % 4]},{i % 3 + 1},2,0,61,{('NOR', 'HCM')[i % 2]},F,170,70"
        )
        (ed, ed_mask), (es, es_mask) = heart(code), heart(code, "ES")
        film = np.stack([es, ed, ed, es], axis=-1)
        gt = np.stack([es_mask, 0 * ed_mask, ed_mask, 0 * es_mask], axis=-1)
        save(root / part / code / f"{code}_sa.nii.gz", film, kind="float32")
        if "Unlabeled" not in part:
            save(root / part / code / f"{code}_sa_gt.nii.gz", gt, kind="uint8")
    csv = root / "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
    csv.write_text("\n".join(lines) + "\n")
    return root


def write_mnms2(root: Path, codes: Iterable[int]) -> Path:
    lines = ["SUBJECT_CODE,DISEASE,VENDOR,SCANNER,FIELD"]
    for code in codes:
        lines.append(f"{code},{('NORM', 'TRI')[code % 2]},Philips Medical Systems,Achieva,1.5")
        for phase in ("ED", "ES"):
            image, mask = heart(f"mnms2 {code}", phase)
            save(root / f"dataset/{code:03d}/{code:03d}_SA_{phase}.nii.gz", image)
            save(root / f"dataset/{code:03d}/{code:03d}_SA_{phase}_gt.nii.gz", mask, kind="uint8")
            save(root / f"dataset/{code:03d}/{code:03d}_LA_{phase}.nii.gz", image[..., :1])
    (root / "dataset_information.csv").write_text("\n".join(lines) + "\n")
    return root


def write_nnunet(
    root: Path,
    cases: Iterable[str],
    labels: Mapping[str, object],
    values: Mapping[int, int],
    *,
    table: str = "",
    part: str = "Tr",
) -> Path:
    for case in cases:
        image, mask = heart(case.rsplit("_", 1)[0], "ES" if case.endswith("ES") else "ED")
        save(root / f"images{part}" / f"{case}_0000.nii.gz", image)
        save(root / f"labels{part}" / f"{case}.nii.gz", recoded(mask, values), kind="uint8")
    description = {"channel_names": {"0": "cine"}, "labels": labels, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(description))
    if table:
        (root / "cases.csv").write_text(table)
    return root
