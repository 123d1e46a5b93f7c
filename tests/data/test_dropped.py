"""A subject that the data set names, or whose folder is there, is either read or reported: none is dropped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from layouts import write_acdc, write_mnms, write_nnunet

from cmr_bench.data.acdc import ACDC
from cmr_bench.data.faults import Fault
from cmr_bench.data.mnms import MnMs
from cmr_bench.data.nnunet import NnUNet
from cmr_bench.data.survey import survey

MNMS = {"A1": "Training/Labeled", "A2": "Training/Labeled", "B1": "Validation", "C1": "Testing"}
LABELS = {"background": 0, "LV": 1}


def told(faults: list[Fault], *words: str) -> None:
    """There is one fault alone, and its line holds the words."""
    assert len(faults) == 1, [str(fault) for fault in faults]
    assert all(word in str(faults[0]) for word in words), str(faults[0])


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Path]]:
    """Folders that the user may not list; root may list everything, so permissions cannot be used here."""
    places: set[Path] = set()
    scan = os.scandir

    def scandir(place: Any) -> Any:
        if Path(place) in places:
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", scandir)
    yield places
    places.clear()


def away(path: Path) -> None:
    """The folder becomes a link to nothing."""
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("nowhere"))
    (path.with_name("moved")).rename(path.parents[2] / "moved")


def test_acdc_patient_that_is_a_broken_link(tmp_path: Path) -> None:
    root = write_acdc(tmp_path / "acdc", ["patient001", "patient002"])
    away(root / "training/patient002")
    seen, faults = survey(ACDC(root))
    told(faults, "training/patient002", "link to nothing")
    assert {item.record.subject for item in seen} == {"patient001"}


@pytest.mark.parametrize("place", ["testing", "testing/patient101"])
def test_acdc_folder_that_cannot_be_read(tmp_path: Path, closed: set[Path], place: str) -> None:
    root = write_acdc(tmp_path / "acdc", ["patient001"])
    write_acdc(root, ["patient101"], part="testing")
    closed.add(root / place)
    seen, faults = survey(ACDC(root))
    told(faults, str(root / place), "cannot be read (Permission denied)")
    assert {item.record.subject for item in seen} == {"patient001"}
    assert ACDC(root).files()


def test_mnms_subject_that_is_a_broken_link(tmp_path: Path) -> None:
    root = write_mnms(tmp_path / "mnms", MNMS)
    away(root / "Training/Labeled/A1")
    told(survey(MnMs(root))[1], "Training/Labeled/A1", "link to nothing")


def test_mnms_part_that_is_absent_is_one_line(tmp_path: Path) -> None:
    root = write_mnms(tmp_path / "mnms", MNMS)
    (root / "Validation").rename(tmp_path / "elsewhere")
    told(survey(MnMs(root))[1], "mnms/Validation: is missing", "1 subjects", "B1")


def test_nnunet_row_without_files(tmp_path: Path) -> None:
    table = "case,patient,phase\na,A,ED\nb,B,ED\nc,C,ED\n"
    root = write_nnunet(tmp_path / "raw", ["a", "b"], LABELS, {1: 1}, table=table)
    told(survey(NnUNet(root))[1], "cases.csv", "c_0000.nii.gz", "C ED")


def test_acdc_info_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    root = write_acdc(tmp_path / "acdc", ["patient001", "patient002"])
    info = root / "training/patient002/Info.cfg"
    info.unlink()
    told(survey(ACDC(root))[1], "patient002/Info.cfg: is missing (patient002)")
    info.mkdir()
    told(survey(ACDC(root))[1], "patient002/Info.cfg: cannot be read (Is a directory)")


def test_acdc_info_may_have_a_byte_order_mark_and_decimals(tmp_path: Path) -> None:
    root = write_acdc(tmp_path / "acdc", ["patient001"])
    info = root / "training/patient001/Info.cfg"
    info.write_text("\ufeffED: 1.0\nES: 12\nGroup: NOR\n", encoding="utf-8")
    seen, faults = survey(ACDC(root))
    assert not faults
    assert [item.record.name for item in seen] == ["patient001 ED", "patient001 ES"]
