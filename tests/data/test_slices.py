"""nnU-Net folders with one file a slice: the patient is the subject, whatever the files are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from layouts import heart, save, write_nnunet

from cmr_bench.data.nnunet import NnUNet
from cmr_bench.data.pools import load_table
from cmr_bench.data.prepare import prepare
from cmr_bench.data.survey import survey

SLICES = {"background": 0, "LV": 1, "MYO": 2, "RV": 3}


def write_slices(root: Path, pattern: str, patients: int = 4, table: str = "") -> Path:
    """Two phases of each patient, one file a slice, named by the pattern."""
    root.mkdir()
    write_nnunet(root, [], SLICES, {}, table=table)
    for patient in range(patients):
        for phase in ("ED", "ES"):
            image, mask = heart(f"p{patient}", phase)
            for k in range(1, 4):
                name = pattern.format(patient=f"patient{patient:03d}", phase=phase, k=k)
                save(root / f"imagesTr/{name}_0000.nii.gz", image[..., k : k + 1])
                save(root / f"labelsTr/{name}.nii.gz", mask[..., k : k + 1], kind="uint8")
    return root


@pytest.mark.parametrize(
    "pattern",
    ["{patient}_{phase}_slice{k:02d}", "{patient}_{phase}_z{k}", "{patient}_{phase}-slice{k:02d}",
     "{patient}_slice{k}_{phase}"],
)  # fmt: skip
def test_slices_of_one_patient_stay_together(
    tmp_path: Path, settings: dict[str, Any], pattern: str
) -> None:
    root = write_slices(tmp_path / "flat", pattern)
    table = load_table(prepare(NnUNet(root), **settings))
    assert set(table["subject"]) == {f"patient{i:03d}" for i in range(4)}
    assert table.groupby("subject")["split"].nunique().max() == 1
    one = table[(table["subject"] == "patient001") & (table["phase"] == "ED")]
    assert sorted(one["slice"]) == [1, 2, 3]


def test_slices_of_unknown_patients_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    root = write_slices(tmp_path / "flat", "{patient}x{phase}x{k}")
    with pytest.raises(ValueError, match=r"patient.*cases\.csv or data\.reader\.case"):
        prepare(NnUNet(root), **settings)
    case = r"(?P<subject>\w+)x(?P<phase>ED|ES)x(?P<slice>\d+)"
    table = load_table(prepare(NnUNet(root, case=case), **settings))
    assert table["subject"].nunique() == 4


def test_a_stack_named_like_a_slice_is_a_fault(tmp_path: Path) -> None:
    root = write_nnunet(tmp_path / "raw", ["heart_z01", "heart_z02"], SLICES, {1: 1, 2: 2, 3: 3})
    assert ["named slice" in str(fault) for fault in survey(NnUNet(root))[1]] == [True, True]
