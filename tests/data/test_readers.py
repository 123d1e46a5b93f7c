"""Each reader against its true layout: who, which phase, which frame, which labels, what is absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import ACDC_VALUES, heart, save, write_acdc, write_mnms, write_mnms2, write_nnunet

from cmr_bench.data.acdc import ACDC
from cmr_bench.data.faults import inspect
from cmr_bench.data.mnms import MnMs
from cmr_bench.data.mnms2 import MnMs2
from cmr_bench.data.nnunet import NnUNet
from cmr_bench.data.prepare import prepare
from cmr_bench.data.records import Reader, Record
from cmr_bench.data.stack import load
from cmr_bench.store.files import read_json

MNMS = {
    "A0S9V9": "Training/Labeled",
    "B1": "Validation",
    "C2": "Testing",
    "D3": "Training/Unlabeled",
}


def same_as_drawn(record: Record, subject: str, *, only: int | None = None) -> None:
    """The record's volume is the drawn heart, in our labels, rows first."""
    faults, _ = inspect(record)
    assert not faults
    image, mask = heart(subject, record.phase or "ED")
    wanted = mask.transpose(1, 0, 2)
    wanted = np.where(wanted == only, only, 0) if only else wanted
    stack = load(record)
    np.testing.assert_array_equal(stack.mask, wanted)
    assert np.abs(stack.image - image.transpose(1, 0, 2)).max() <= 1


def test_acdc_in_training_and_testing_folders(tmp_path: Path) -> None:
    write_acdc(tmp_path, ["patient001", "patient002"])
    write_acdc(tmp_path, ["patient101"], part="testing")
    reader = ACDC(tmp_path)
    records = reader.records()
    assert [(r.subject, r.phase, r.split) for r in records] == [
        ("patient001", "ED", "train"),
        ("patient001", "ES", "train"),
        ("patient002", "ED", "train"),
        ("patient002", "ES", "train"),
        ("patient101", "ED", "test"),
        ("patient101", "ES", "test"),
    ]
    assert [r.pathology for r in records[:4:2]] == ["NOR", "DCM"]
    assert records[1].image.name == "patient001_frame12.nii.gz"
    assert len(reader.files()) == 12 + 3
    records[0].mask.rename(tmp_path / "elsewhere.nii.gz")
    assert len(reader.files()) == 14
    (tmp_path / "elsewhere.nii.gz").rename(records[0].mask)
    for record in records:
        same_as_drawn(record, record.subject)


def test_acdc_root_may_be_the_folder_of_the_patients(tmp_path: Path) -> None:
    write_acdc(tmp_path, ["patient001"])
    assert ACDC(tmp_path / "training").subjects() == ["patient001"]


def test_mnms_takes_the_frames_that_the_csv_names(tmp_path: Path) -> None:
    reader = MnMs(write_mnms(tmp_path, MNMS))
    records = reader.records()
    assert {(r.subject, r.split) for r in records} == {
        ("A0S9V9", "train"),
        ("B1", "val"),
        ("C2", "test"),
    }
    first = records[0]
    assert (first.frame, first.vendor, first.centre, first.pathology) == (2, "Siemens", "1", "NOR")
    for record in records:
        same_as_drawn(record, record.subject)


def test_mnms_lists_a_subject_of_the_csv_without_folder(tmp_path: Path) -> None:
    write_mnms(tmp_path, MNMS)
    csv = next(tmp_path.glob("*.csv"))
    csv.write_text(csv.read_text() + "9,Z9Z9Z9,GE,C,1,2,0,50,NOR,M,170,70\n")
    faults = [fault for r in MnMs(tmp_path).records() for fault in inspect(r)[0]]
    assert {fault.subject for fault in faults} == {"Z9Z9Z9"}
    assert len(faults) == 4
    assert "missing" in faults[0].text


def test_mnms2_reads_the_short_axis(tmp_path: Path) -> None:
    reader = MnMs2(write_mnms2(tmp_path, [1, 170, 300]))
    records = reader.records()
    assert [(r.subject, r.split) for r in records[::2]] == [
        ("001", "train"),
        ("170", "val"),
        ("300", "test"),
    ]
    assert records[0].vendor == "Philips Medical Systems"
    assert [r.pathology for r in records[:4:2]] == ["TRI", "NORM"]
    for record in records:
        same_as_drawn(record, f"mnms2 {int(record.subject)}")


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "background", "1": "RV", "2": "LV myocardium", "3": "left ventricle"},
        {"background": 0, "rv cavity": 1, "MYO": 2, "LVBP": 3},
    ],
    ids=["version 1", "version 2"],
)
def test_nnunet_maps_label_names(tmp_path: Path, labels: dict[str, object]) -> None:
    reader = NnUNet(write_nnunet(tmp_path, ["p1_ED", "p1_ES", "p2_frame01"], labels, ACDC_VALUES))
    assert reader.labels == (1, 2, 3)
    records = reader.records()
    assert [(r.subject, r.phase) for r in records] == [
        ("p1", "ED"),
        ("p1", "ES"),
        ("p2", "frame01"),
    ]
    for record in records[:2]:
        same_as_drawn(record, "p1")


def test_nnunet_declares_absent_structures_and_reads_cases_csv(tmp_path: Path) -> None:
    table = "case,patient,phase,group,vendor\nc1,Anna,ED,HCM,GE\nc2,Anna,ES,HCM,GE\n"
    root = tmp_path / "raw" / "Dataset101_Heart"
    write_nnunet(root, ["c1", "c2"], {"background": 0, "LV": 7}, {1: 7}, table=table)
    reader = NnUNet(tmp_path / "raw")
    assert reader.labels == (1,)
    assert reader.phases == ("ED", "ES")
    assert reader.subjects() == ["Anna"]
    first = reader.records()[0]
    assert (first.vendor, first.pathology) == ("GE", "HCM")
    same_as_drawn(first, "c1", only=1)


def test_nnunet_test_folder_is_a_hint(tmp_path: Path) -> None:
    labels = {"background": 0, "LV": 1}
    write_nnunet(tmp_path, ["a_ED"], labels, {1: 1})
    write_nnunet(tmp_path, ["b_ED"], labels, {1: 1}, part="Ts")
    assert [(r.subject, r.split) for r in NnUNet(tmp_path).records()] == [
        ("a", "train"),
        ("b", "test"),
    ]


def test_nnunet_names_and_case_pattern_can_be_given(tmp_path: Path) -> None:
    labels = {"background": 0, "kammer": 1, "atrium": 2}
    write_nnunet(tmp_path, ["ED-x7"], labels, {1: 1, 2: 2})
    names = {"Kammer": "lv", "atrium": "background"}
    reader = NnUNet(tmp_path, names=names, case=r"(?P<phase>ED|ES)-(?P<subject>.*)")
    assert reader.labels == (1,)
    assert (reader.records()[0].subject, reader.records()[0].phase) == ("x7", "ED")


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"background": 0, "whole": [1, 2]}, "region"),
        ({"background": 0, "spleen": 1}, "spleen"),
        ({"background": "zero"}, "not a dataset.json"),
    ],
)
def test_nnunet_refuses_labels_it_cannot_read(
    tmp_path: Path, labels: dict[str, object], text: str
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(ValueError, match=text) as caught:
        NnUNet(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [ACDC, MnMs, MnMs2, NnUNet])
def test_wrong_root_is_one_line_with_key_and_layout(tmp_path: Path, kind: type[Reader]) -> None:
    save(tmp_path / "other" / "scan.nii.gz", np.zeros((2, 2, 2)))
    for root in (tmp_path / "absent", tmp_path):
        with pytest.raises(ValueError, match=r"data\.root=.*expected") as caught:
            kind(root).records()  # type: ignore[call-arg]
        assert "\n" not in str(caught.value)
        assert str(root) in str(caught.value)


@pytest.mark.parametrize("ending", ["", ".nii.gz", "_0000", "_0000.nii.gz"])
def test_cases_csv_is_read_whatever_blanks_endings_and_words(tmp_path: Path, ending: str) -> None:
    rows = [f" c{i}{ending}, Anna ,{phase}" for i, phase in enumerate(["Diastole", " systole "])]
    table = "\n".join(["case,patient,phase", *rows])
    root = write_nnunet(tmp_path, ["c0", "c1"], {"background": 0, "LV": 1}, {1: 1}, table=table)
    reader = NnUNet(root)
    assert [record.name for record in reader.records()] == ["Anna ED", "Anna ES"]
    assert reader.phases == ("ED", "ES")
    assert not any(record.problem for record in reader.records())


def test_cases_csv_must_name_each_case_once(tmp_path: Path) -> None:
    table = "case,patient,phase\nc0,Anna,ED\n"
    root = write_nnunet(tmp_path, ["c0", "c1"], {"background": 0, "LV": 1}, {1: 1}, table=table)
    fault = inspect(NnUNet(root).records()[1])[0][0]
    assert "c1_0000.nii.gz: has no row in" in str(fault)
    assert "cases.csv" in str(fault)
    (root / "cases.csv").write_text(table + "c0.nii.gz,Berta,ED\n")
    with pytest.raises(ValueError, match=r"cases\.csv: two rows for case c0"):
        NnUNet(root)


def test_files_that_a_mac_left_behind_are_no_cases(tmp_path: Path) -> None:
    acdc = write_acdc(tmp_path / "acdc", ["patient001"])
    mnms = write_mnms(tmp_path / "mnms", MNMS)
    mnms2 = write_mnms2(tmp_path / "mnms2", [1])
    cases = ["a_ED", "a_ES"]
    raw = write_nnunet(tmp_path / "raw", cases, {"background": 0, "LV": 1}, {1: 1})
    for path in [path for path in tmp_path.rglob("*") if path not in (acdc, mnms, mnms2, raw)]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    (mnms / "Training/Labeled/.Trash").mkdir()
    for reader, number in ((ACDC(acdc), 2), (MnMs(mnms), 6), (MnMs2(mnms2), 2), (NnUNet(raw), 2)):
        records = reader.records()
        assert len(records) == number
        assert not [fault for record in records for fault in inspect(record)[0]]
        assert not [path for path in reader.files() if path.name.startswith(".")]


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    mnms = write_mnms(tmp_path / "mnms", MNMS)
    csv = next(mnms.glob("*.csv"))
    raw = write_nnunet(tmp_path / "raw", ["a_ED"], {"background": 0, "LV": 1}, {1: 1})
    for content in (b"", "Patient,\u00d6\n".encode("latin-1")):
        csv.write_bytes(content)
        with pytest.raises(ValueError, match=r"opendataset\.csv: not a CSV file in UTF-8"):
            MnMs(mnms)
        (raw / "dataset.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"dataset\.json: not a dataset\.json"):
            NnUNet(raw)


def test_mnms_takes_the_table_that_has_the_columns(tmp_path: Path) -> None:
    root = write_mnms(tmp_path, MNMS)
    (root / "~M&Ms_information_notes.csv").write_text("a,b\n1,2\n")
    assert MnMs(root).csv.name.startswith("211230_")


def test_a_root_too_high_names_the_folder_below(tmp_path: Path) -> None:
    write_acdc(tmp_path / "high/ACDC", ["patient001"])
    with pytest.raises(ValueError, match=r"high/ACDC looks like one: give it as"):
        ACDC(tmp_path / "high").records()
    write_mnms2(tmp_path / "two/mnms2", [1])
    with pytest.raises(ValueError, match=r"two/mnms2 looks like one"):
        MnMs2(tmp_path / "two")
    write_nnunet(tmp_path / "deep/raw/set", ["a_ED"], {"background": 0, "LV": 1}, {1: 1})
    with pytest.raises(ValueError, match=r"deep/raw/set looks like one"):
        NnUNet(tmp_path / "deep")


def test_nnunet_names_the_file_ending_that_finds_no_case(tmp_path: Path) -> None:
    root = write_nnunet(tmp_path, ["a_ED"], {"background": 0, "LV": 1}, {1: 1})
    file = root / "dataset.json"
    file.write_text(file.read_text().replace(".nii.gz", ".nrrd"))
    with pytest.raises(ValueError, match=r"ends in \.nrrd, the file_ending of dataset\.json"):
        NnUNet(root)


def test_nnunet_label_ignore_is_refused_for_what_it_is(tmp_path: Path) -> None:
    root = write_nnunet(tmp_path, ["a_ED"], {"background": 0, "LV": 1, "ignore": 2}, {1: 1})
    with pytest.raises(ValueError, match=r"'ignore' marks pixels that nobody labelled"):
        NnUNet(root)
    assert NnUNet(root, names={"ignore": "background"}).labels == (1,)


def test_nnunet_says_which_of_several_channels_it_took(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    cases = [f"{name}_{phase}" for name in "abcd" for phase in ("ED", "ES")]
    root = write_nnunet(tmp_path / "raw", cases, {"background": 0, "LV": 1}, {1: 1})
    assert not NnUNet(root).notes()
    file = root / "dataset.json"
    file.write_text(file.read_text().replace('"0": "cine"', '"0": "T1", "1": "cine"'))
    for path in [*(root / "imagesTr").iterdir()]:
        path.rename(path.with_name(path.name.replace("_0000", "_0001")))
    for name in cases:
        save(root / f"imagesTr/{name}_0000.nii.gz", np.zeros((4, 4, 4)))
    reader = NnUNet(root, channel=1)
    manifest = read_json(prepare(reader, **settings) / "manifest.json")
    assert manifest["warnings"] == [
        "channel 1 (cine) is taken of 0 (T1), 1 (cine); data.reader.channel chooses"
    ]
    with pytest.raises(ValueError, match=r"data\.reader\.channel=2: .*has 0 \(T1\), 1 \(cine\)"):
        NnUNet(root, channel=2)
