"""M&Ms: Multi-Centre, Multi-Vendor and Multi-Disease challenge (Campello et al., IEEE TMI 40(12), 2021)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pandas as pd

from cmr_bench.data.records import Reader, Record, barred, folder, listed, nifti

CSV = "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
TABLE = "*M&Ms*nformation*.csv"
COLUMNS = ("External code", "ED", "ES")
LAYOUT = f"{CSV} with Training/Labeled/CODE/CODE_sa.nii.gz and _sa_gt.nii.gz, and the same in Validation and Testing"
PARTS = {"Training/Labeled": "train", "Validation": "val", "Testing": "test"}


class MnMs(Reader):
    """Four vendors and six centres, 4-D volumes; the CSV tells which frames are ED and ES, counted from 0."""

    labels = (1, 2, 3)
    phases = ("ED", "ES")

    def __init__(self, root: str | Path) -> None:
        self.root = folder(root, LAYOUT)
        inside = [path for path in listed(self.root) if path.is_dir() and not barred(path)]
        files = listed(self.root, TABLE) or [
            file for path in inside for file in listed(path, TABLE)
        ]
        if not files:
            raise ValueError(f"data.root={root}: no {CSV}; expected {LAYOUT}")
        self.csv, self.table = self._information(files)
        self.root = self.csv.parent

    def records(self) -> list[Record]:
        found: list[Record] = []
        rows: dict[str, list[dict[str, str]]] = {}
        for row in self.table:
            rows.setdefault(row["External code"], []).append(row)
        for part, split in PARTS.items():
            place = self.root / part
            if place.is_dir() and not barred(place):
                paths = [p for p in listed(place) if p.is_dir() or p.is_symlink()]
                for path in paths:
                    found += self._subject(path, split, rows.pop(path.name, []))
        if not found:
            raise ValueError(
                f"data.root={self.root}: no case in {', '.join(PARTS)}; expected {LAYOUT}"
            )
        unlabelled = self.root / "Training" / "Unlabeled"
        left = sorted(code for code in rows if not (unlabelled / code).is_dir())
        absent = [
            part for part in PARTS if not (self.root / part).is_dir() or barred(self.root / part)
        ]
        if not absent:
            for code in left:
                found += self._subject(
                    self.root / "Training" / "Labeled" / code, "train", rows[code]
                )
        elif left:
            found += [self._absent(self.root / part, left) for part in absent]
        return found

    def _absent(self, part: Path, codes: list[str]) -> Record:
        """Stands for the subjects of a part of the data set that is not there."""
        why = barred(part) if part.is_dir() or part.is_symlink() else "is missing"
        problem = (
            f"{why}, and {len(codes)} subjects of {self.csv.name} have no folder, {codes[0]} first"
        )
        return Record(part.name, "", image=part, mask=part, values={}, problem=problem)

    def _information(self, files: list[Path]) -> tuple[Path, list[dict[str, str]]]:
        """The last of the files that has the columns, and its rows; the last one's error where none has."""
        for file in reversed(files):
            with suppress(ValueError):
                return file, read_table(file, COLUMNS)
        return files[-1], read_table(files[-1], COLUMNS)

    def tables(self) -> list[Path]:
        return [self.csv]

    def _subject(self, path: Path, split: str, rows: list[dict[str, str]]) -> list[Record]:
        row = rows[0] if rows else {}
        if (path.is_dir() or path.is_symlink()) and (wrong := barred(path)):
            return [Record(path.name, "", image=path, mask=path, values={}, problem=wrong)]
        found = []
        for phase in self.phases:
            frame = row.get(phase, "").removesuffix(".0")
            problem = (
                "" if frame.isdigit() else f"{self.csv.name} gives no {phase} frame for {path.name}"
            )
            if len(rows) > 1:
                problem = f"{self.csv.name} has {len(rows)} rows for {path.name}"
            found.append(
                Record(
                    subject=path.name,
                    phase=phase,
                    image=nifti(path / f"{path.name}_sa"),
                    mask=nifti(path / f"{path.name}_sa_gt"),
                    values={0: 0, 1: 1, 2: 2, 3: 3},
                    frame=int(frame) if frame.isdigit() else 0,
                    vendor=row.get("VendorName") or row.get("Vendor") or "",
                    centre=row.get("Centre") or row.get("Center") or "",
                    pathology=row.get("Pathology") or "",
                    split=split,
                    problem=problem,
                )
            )
        return found


def read_table(
    file: Path, columns: tuple[str, ...], *, lower: bool = False
) -> list[dict[str, str]]:
    """The rows of a CSV as text without blanks around it, the columns' names perhaps in lower case; ValueError if it
    lacks one of the columns."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # empty, of another encoding, or of rows of different lengths
        line = " ".join(str(error).split())
        raise ValueError(f"{file}: not a CSV file in UTF-8 ({line}); save it as one") from error
    names = [str(column).strip() for column in table.columns]
    table.columns = [name.lower() for name in names] if lower else names
    if missing := [column for column in columns if column not in table.columns]:
        raise ValueError(
            f"{file}: no column {', '.join(missing)}; it has {', '.join(table.columns)}"
        )
    return [{str(k): str(v).strip() for k, v in row.items()} for row in table.to_dict("records")]
