"""M&Ms-2: Multi-Disease, Multi-View & Multi-Center right ventricle challenge (Martin-Isla et al., IEEE JBHI 27(7), 2023)."""

from __future__ import annotations

from pathlib import Path

from cmr_bench.data.mnms import read_table
from cmr_bench.data.records import Reader, Record, below, folder, listed, nifti

LAYOUT = "dataset_information.csv with dataset/001/001_SA_ED.nii.gz, 001_SA_ED_gt.nii.gz, 001_SA_ES..., 002/..."
FIRST = {"train": 1, "val": 161, "test": 201}
"""The challenge's own split: 160 subjects to train, 40 to validate, 160 to test."""


class MnMs2(Reader):
    """Three vendors, eight groups of pathologies, 3-D volumes; the long-axis views are left alone."""

    labels = (1, 2, 3)
    phases = ("ED", "ES")

    def __init__(self, root: str | Path) -> None:
        self.root = folder(root, LAYOUT)
        files = [
            self.root / "dataset_information.csv",
            self.root.parent / "dataset_information.csv",
        ]
        self.csv = next((file for file in files if file.is_file()), files[0])
        if not self.csv.is_file():
            hint = below(self.root, "*/dataset_information.csv", "*/*/dataset_information.csv")
            raise ValueError(
                f"data.root={root}: no dataset_information.csv{hint}; expected {LAYOUT}"
            )
        self.table = read_table(self.csv, ("SUBJECT_CODE", "DISEASE", "VENDOR"))

    def records(self) -> list[Record]:
        base = self.csv.parent / "dataset"
        base = base if base.is_dir() else self.csv.parent
        codes = [row["SUBJECT_CODE"].zfill(3) for row in self.table]
        places = listed(base, "[0-9][0-9][0-9]")
        extra = {path.name for path in places if path.is_dir() or path.is_symlink()} - set(codes)
        rows = list(zip(codes, self.table, strict=True)) + [(code, {}) for code in sorted(extra)]
        if not any((base / code).is_dir() for code in codes):
            raise ValueError(f"data.root={self.root}: no folder of a subject; expected {LAYOUT}")
        return [
            self._record(base / code, phase, row) for code, row in rows for phase in self.phases
        ]

    def tables(self) -> list[Path]:
        return [self.csv]

    def _record(self, path: Path, phase: str, row: dict[str, str]) -> Record:
        number = int(path.name) if path.name.isdigit() else 0
        return Record(
            subject=path.name,
            phase=phase,
            image=nifti(path / f"{path.name}_SA_{phase}"),
            mask=nifti(path / f"{path.name}_SA_{phase}_gt"),
            values={0: 0, 1: 1, 2: 2, 3: 3},
            vendor=row.get("VENDOR", ""),
            pathology=row.get("DISEASE", ""),
            split=_split(number),
            problem="" if row else f"{self.csv.name} has no row for {path.name}",
        )


def _split(number: int) -> str:
    return next((split for split, first in reversed(FIRST.items()) if number >= first), "")
