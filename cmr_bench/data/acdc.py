"""ACDC: Automated Cardiac Diagnosis Challenge (Bernard et al., IEEE TMI 37(11), 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cmr_bench.data.records import Reader, Record, barred, below, folder, listed, nifti

LAYOUT = "patientNNN/ with Info.cfg, patientNNN_frameFF.nii.gz and _gt.nii.gz, directly or in training/ and testing/"
VALUES = {0: 0, 1: 3, 2: 2, 3: 1}
"""ACDC's 1 right ventricle, 2 myocardium, 3 left ventricle, as ours."""


class ACDC(Reader):
    """One centre (Dijon), Siemens 1.5 T and 3 T; groups NOR, DCM, HCM, MINF, RV in Info.cfg."""

    labels = (1, 2, 3)
    phases = ("ED", "ES")

    def __init__(self, root: str | Path) -> None:
        self.root = folder(root, LAYOUT)

    def records(self) -> list[Record]:
        found = [record for patient, split in self._patients() for record in _read(patient, split)]
        found += [_wrong(part, barred(part)) for part in self._parts() if barred(part)]
        if not found:
            hint = below(
                self.root, "*/training", "*/database", "*/*/training", "*/patient*", "*/*/patient*"
            )
            raise ValueError(f"data.root={self.root}: not an ACDC folder{hint}; expected {LAYOUT}")
        return found

    def tables(self) -> list[Path]:
        return [patient / "Info.cfg" for patient, _ in self._patients()]

    def _parts(self) -> Iterator[Path]:
        """Folders that may hold patients, readable or not."""
        for base in (self.root, self.root / "database"):
            parts = (base, base / "training", base / "testing")
            yield from (part for part in parts if part.is_dir() or part.is_symlink())

    def _patients(self) -> Iterator[tuple[Path, str]]:
        for part in self._parts():
            split = {"training": "train", "testing": "test"}.get(part.name, "")
            if not barred(part):
                patients = listed(part, "patient*")
                yield from (
                    (path, split) for path in patients if path.is_dir() or path.is_symlink()
                )


def _read(patient: Path, split: str) -> Iterator[Record]:
    if wrong := barred(patient):
        yield _wrong(patient, wrong)
        return
    info, problem = _info(patient / "Info.cfg")
    if problem:
        yield replace(_wrong(patient / "Info.cfg", problem), subject=patient.name)
        return
    for phase in ACDC.phases:
        text = info.get(phase, "").removesuffix(".0")
        wrong = "" if text.isdigit() else f"gives no frame number for {phase}"
        stem = f"{patient.name}_frame{int(text):02d}" if not wrong else "Info.cfg"
        yield Record(
            subject=patient.name,
            phase=phase,
            image=patient / "Info.cfg" if wrong else nifti(patient / stem),
            mask=patient / "Info.cfg" if wrong else nifti(patient / f"{stem}_gt"),
            values=VALUES,
            vendor="Siemens",
            centre="Dijon",
            pathology=info.get("Group", ""),
            split=split,
            problem=wrong,
        )


def _wrong(path: Path, problem: str) -> Record:
    """Stands for a patient, or a whole part of the data set, of which nothing can be read."""
    return Record(path.stem, "", image=path, mask=path, values=VALUES, problem=problem)


def _info(path: Path) -> tuple[dict[str, str], str]:
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except FileNotFoundError:
        return {}, "is missing"
    except OSError as error:
        return {}, f"cannot be read ({error.strerror})"
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}, ""
