"""Every fault is found, all of them in one pass, each with its file; skipping leaves out only what is faulty."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
from layouts import SPACING, heart, save, write_acdc

from cmr_bench.data.acdc import ACDC
from cmr_bench.data.faults import _image_faults
from cmr_bench.data.prepare import prepare
from cmr_bench.data.stack import read
from cmr_bench.data.survey import mixed, survey
from cmr_bench.store.files import read_json

AFFINE = np.diag([*SPACING, 1.0])
IMAGE, MASK = heart("patient001")
ACDC_MASK = np.choose(MASK, [0, 3, 2, 1])


def _image(path: Path) -> Path:
    return path / "patient001_frame01.nii.gz"


def _mask(path: Path) -> Path:
    return path / "patient001_frame01_gt.nii.gz"


def truncate(path: Path) -> None:
    data = _image(path).read_bytes()
    _image(path).write_bytes(data[: len(data) // 2])


def garbage(path: Path) -> None:
    _mask(path).write_bytes(b"not a volume")


def nan(path: Path) -> None:
    save(_image(path), np.where(MASK == 1, np.nan, IMAGE), kind="float32")


def infinite(path: Path) -> None:
    save(_image(path), np.where(MASK == 1, np.inf, IMAGE), kind="float32")


def other_shape(path: Path) -> None:
    save(_mask(path), ACDC_MASK[:, :-1], kind="uint8")


def moved(path: Path) -> None:
    affine = AFFINE.copy()
    affine[0, 3] = 20
    save(_mask(path), ACDC_MASK, affine, kind="uint8")


def unknown_label(path: Path) -> None:
    save(_mask(path), np.where(MASK == 1, 9, ACDC_MASK), kind="uint8")


def fraction(path: Path) -> None:
    save(_mask(path), ACDC_MASK * 0.5, kind="float32")


def no_mask(path: Path) -> None:
    _mask(path).unlink()


def no_image(path: Path) -> None:
    _image(path).unlink()


def empty_mask(path: Path) -> None:
    save(_mask(path), 0 * ACDC_MASK, kind="uint8")


def flat(path: Path) -> None:
    save(_image(path), 0 * IMAGE + 7)


def thin(path: Path) -> None:
    for file, data in ((_image(path), IMAGE), (_mask(path), ACDC_MASK)):
        save(file, data, np.diag([0.001, 2.5, 10, 1]))


def no_phase(path: Path) -> None:
    (path / "Info.cfg").write_text("ES: 12\nGroup: NOR\n")


def no_info(path: Path) -> None:
    (path / "Info.cfg").unlink()


def film(path: Path) -> None:
    save(_image(path), np.stack([IMAGE, IMAGE], axis=-1))


def no_spacing(path: Path) -> None:
    volume = nib.load(_image(path))
    volume.header["sform_code"] = volume.header["qform_code"] = 0
    data = bytearray(volume.header.binaryblock + bytes(4) + IMAGE.astype("int16").tobytes("F"))
    data[76 + 12 : 76 + 16] = bytes(4)
    _image(path).write_bytes(gzip.compress(bytes(data)))


def cube(path: Path) -> None:
    for file, data in ((_image(path), IMAGE), (_mask(path), ACDC_MASK)):
        save(file, np.repeat(data, 7, axis=2), np.diag([2.5, 2.5, 2.5, 1]))


def swapped(path: Path) -> None:
    image, mask = _image(path).read_bytes(), _mask(path).read_bytes()
    _image(path).write_bytes(mask)
    _mask(path).write_bytes(image)


def mask_twice(path: Path) -> None:
    _image(path).write_bytes(_mask(path).read_bytes())


def one_frame(path: Path) -> None:
    (path / "Info.cfg").write_text("ED: 12\nES: 12\nGroup: NOR\n")


KINDS: dict[Callable[[Path], None], tuple[str, str]] = {
    truncate: ("patient001_frame01.nii.gz", "cannot be read"),
    garbage: ("patient001_frame01_gt.nii.gz", "cannot be read"),
    nan: ("patient001_frame01.nii.gz", "NaN"),
    infinite: ("patient001_frame01.nii.gz", "infinite"),
    other_shape: ("patient001_frame01_gt.nii.gz", "shape"),
    moved: ("patient001_frame01_gt.nii.gz", "20.0 mm apart"),
    unknown_label: ("patient001_frame01_gt.nii.gz", "unknown label 9"),
    fraction: ("patient001_frame01_gt.nii.gz", "not integers"),
    no_mask: ("patient001_frame01_gt.nii.gz", "mask is missing"),
    no_image: ("patient001_frame01.nii.gz", "image is missing"),
    empty_mask: ("patient001_frame01_gt.nii.gz", "mask is empty"),
    flat: ("patient001_frame01.nii.gz", "image is empty"),
    thin: ("patient001_frame01.nii.gz", "spacing"),
    no_phase: ("Info.cfg", "no frame number for ED"),
    no_info: ("Info.cfg", "is missing"),
    no_spacing: ("patient001_frame01.nii.gz", "pixdim is 2.5, 2.5, 0 mm"),
    cube: ("patient001_frame01.nii.gz", "cannot tell the slice axis"),
    swapped: ("patient001_frame01_gt.nii.gz", " more; this data set has 0, 1, 2, 3"),
    mask_twice: ("patient001_frame01.nii.gz", "4 distinct values alone: image and mask swapped"),
    one_frame: ("patient001_frame12.nii.gz", "ED and ES are the same file and frame"),
    film: ("patient001_frame01.nii.gz", "2 frames"),
}


@pytest.mark.parametrize("harm", KINDS, ids=lambda harm: harm.__name__)
def test_each_fault_names_its_file(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    write_acdc(tmp_path, ["patient001", "patient002"])
    harm(tmp_path / "training" / "patient001")
    file, text = KINDS[harm]
    seen, faults = survey(ACDC(tmp_path))
    hits = [fault for fault in faults if fault.file.name == file and text in fault.text]
    assert hits, [str(fault) for fault in faults]
    assert {fault.subject for fault in faults} == {"patient001"}
    assert "patient002 ES" in {item.record.name for item in seen}
    if harm is not no_info:
        assert "patient001 ES" in {item.record.name for item in seen}


def test_a_sound_data_set_has_none(tmp_path: Path) -> None:
    seen, faults = survey(ACDC(write_acdc(tmp_path, ["patient001", "patient002"])))
    assert not faults
    assert len(seen) == 4
    assert not [text for item in seen for text in item.warnings]


def test_rounding_of_a_header_is_no_fault(tmp_path: Path) -> None:
    write_acdc(tmp_path, ["patient001"])
    affine = AFFINE + np.array([[1e-3, 0, 0, 0.2]] + [[0] * 4] * 3)
    save(_mask(tmp_path / "training/patient001"), ACDC_MASK, affine, kind="uint8")
    assert not survey(ACDC(tmp_path))[1]


def test_all_faults_come_in_one_message(
    acdc: Callable[..., Path], settings: dict[str, Any]
) -> None:
    root = acdc(4)
    truncate(root / "training/patient001")
    image = root / "training/patient002/patient002_frame12.nii.gz"
    save(image, np.full((48, 40, 6), np.nan), kind="float32")
    (root / "training/patient003/patient003_frame01_gt.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"3 faults.*on_fault=skip") as caught:
        prepare(ACDC(root), **settings)
    for name in ("patient001_frame01.nii.gz", image.name, "patient003_frame01_gt.nii.gz"):
        assert name in str(caught.value)
    assert not settings["folder"].exists()


def test_skip_leaves_out_and_records(acdc: Callable[..., Path], settings: dict[str, Any]) -> None:
    root = acdc(5)
    truncate(root / "training/patient001")
    folder = prepare(ACDC(root), on_fault="skip", **settings)
    manifest = read_json(folder / "manifest.json")
    assert [fault["file"] for fault in manifest["faults"]] == [
        "acdc/training/patient001/patient001_frame01.nii.gz"
    ]
    with h5py.File(folder / "data.h5") as file:
        names = set(zip(file["subject"].asstr()[()], file["phase"].asstr()[()], strict=True))
    assert ("patient001", "ED") not in names
    assert ("patient001", "ES") in names
    assert len(names) == 9


def test_a_subject_in_two_folders_is_a_duplicate(tmp_path: Path) -> None:
    write_acdc(tmp_path, ["patient001", "patient002"])
    write_acdc(tmp_path, ["patient001"], part="testing")
    seen, faults = survey(ACDC(tmp_path))
    assert [fault.subject for fault in faults] == ["patient001", "patient001"]
    assert "duplicate subject" in faults[0].text
    assert len(seen) == 4


def test_a_missing_phase_of_an_nnunet_subject_is_found(tmp_path: Path) -> None:
    from layouts import write_nnunet

    from cmr_bench.data.nnunet import NnUNet

    cases = ["a_ED", "a_ES", "b_ED", "b_ES", "c_ED"]
    reader = NnUNet(write_nnunet(tmp_path, cases, {"background": 0, "LV": 1}, {1: 1}))
    assert [str(f.text) for f in survey(reader)[1]] == ["phase ES is missing"]


def test_scaled_integers_are_read_with_their_scale(tmp_path: Path) -> None:
    write_acdc(tmp_path, ["patient001"])
    volume = nib.Nifti1Image(np.rint(IMAGE).astype(np.int16), AFFINE)
    volume.header.set_slope_inter(0.5, 3)
    nib.save(volume, _image(tmp_path / "training/patient001"))
    assert not survey(ACDC(tmp_path))[1]


def test_a_lost_slice_spacing_is_a_warning_and_slices_stay_slices(tmp_path: Path) -> None:
    write_acdc(tmp_path, ["patient001"])
    patient = tmp_path / "training/patient001"
    for file, data in ((_image(patient), IMAGE), (_mask(patient), ACDC_MASK)):
        save(file, data, np.diag([2.5, 2.5, 1.0, 1.0]))
    seen, faults = survey(ACDC(tmp_path))
    assert not faults
    assert seen[0].depth == IMAGE.shape[2]
    assert "is the slice spacing lost?" in seen[0].warnings[0]


def test_numbered_frames_are_ed_and_es_by_their_cavity(tmp_path: Path) -> None:
    from layouts import write_nnunet

    from cmr_bench.data.nnunet import NnUNet

    root, labels = tmp_path / "raw", {"background": 0, "LV": 1}
    cases = [f"patient{i:03d}_frame{f:02d}" for i in (1, 2) for f in ((1, 12), (4, 11))[i - 1]]
    write_nnunet(root, [*cases, "patient003_frame01"], labels, {1: 1})
    for case in ("patient001_frame12", "patient002_frame04"):
        image, mask = heart(case.split("_")[0], "ES")
        save(root / f"imagesTr/{case}_0000.nii.gz", image)
        save(root / f"labelsTr/{case}.nii.gz", mask == 1, kind="uint8")
    seen, faults = survey(NnUNet(root))
    assert not faults
    assert [item.record.name for item in seen] == [
        "patient001 ED",
        "patient001 ES",
        "patient002 ES",
        "patient002 ED",
        "patient003 frame01",
    ]


def turn(patient: Path, quarters: int) -> None:
    for file in patient.glob("*.nii.gz"):
        data = np.asarray(nib.load(file).dataobj)
        save(file, np.rot90(data, quarters), kind=str(data.dtype))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_one_subject_turned_against_the_rest_is_a_warning(tmp_path: Path, quarters: int) -> None:
    write_acdc(tmp_path, [f"patient{i:03d}" for i in range(1, 6)])
    turn(tmp_path / "training/patient002", quarters)
    seen, _ = survey(ACDC(tmp_path))
    odd = {item.record.subject for item in seen if "another side" in " ".join(item.warnings)}
    assert odd == {"patient002"}
    assert not mixed(seen)


def test_a_data_set_turned_by_halves_is_one_warning_with_counts(
    acdc: Callable[..., Path], settings: dict[str, Any]
) -> None:
    root = acdc(4)
    for subject in ("patient001", "patient003"):
        turn(root / "training" / subject, 2)
    folder = prepare(ACDC(root), **settings)
    warnings = read_json(folder / "manifest.json")["warnings"]
    assert len(warnings) == 1
    assert "different sides (subjects: 2 right, 2 left)" in warnings[0]


def test_a_single_slice_may_say_anything_of_the_spacing_across_it() -> None:
    rng = np.random.default_rng(0)
    flat, whole = rng.normal(size=(20, 24, 1)), rng.normal(size=(20, 24, 2))
    affine = np.diag([1.5, 1.5, 999.0, 1.0])
    assert not [*_image_faults(flat, affine, 4)]
    assert "voxel spacing" in next(iter(_image_faults(whole, affine, 4)))


def test_a_spacing_of_nothing_is_read_from_the_header_of_its_own_format(tmp_path: Path) -> None:
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        for depth, refused in ((1, False), (6, True)):
            volume = kind(np.ones((20, 22, depth), np.float32), np.diag([1.4, 1.4, 8, 1]))
            volume.set_sform(None, 0)
            volume.set_qform(np.diag([1.4, 1.4, 8, 1]), 1)
            file = tmp_path / f"{kind.__name__}{depth}.nii"
            nib.save(volume, file)
            assert read(file)[1][0, 0] == pytest.approx(1.4)
            data = bytearray(file.read_bytes())
            offset = volume.header.template_dtype.fields["pixdim"][1]
            width = volume.header.template_dtype["pixdim"].base.itemsize
            data[offset + 3 * width : offset + 4 * width] = bytes(width)
            file.write_bytes(data)
            if refused:
                with pytest.raises(ValueError, match=r"pixdim is 1\.4, 1\.4, 0 mm"):
                    read(file)
            else:
                read(file)
