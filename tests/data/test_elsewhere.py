"""Images made elsewhere: what is read, and what is refused in one line that names the file and the remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import tiny
from PIL import Image
from scipy.spatial.transform import Rotation

from cmr_bench.data.contents import stacked
from cmr_bench.data.elsewhere import checksum
from cmr_bench.data.released import release
from cmr_bench.data.stack import arrange
from cmr_bench.store.files import read_json
from cmr_bench.store.samples import Samples
from cmr_bench.types import Pool

SIDE = 16
HEADER = np.diag([2.5, 2.5, 8.0, 1.0])


@pytest.fixture
def like() -> Pool:
    pool = tiny.pool(4)
    return replace(pool, table=pool.table.assign(slice=0, thickness_mm=8.0))


@pytest.fixture
def images(like: Pool) -> np.ndarray:
    return like.images[:, 0].numpy()


@pytest.fixture
def masks(like: Pool) -> np.ndarray:
    return like.masks[:, 0].numpy().astype(np.uint8)


def taken(where: Path, like: Pool, **more: Any) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """The images (N, H, W), the masks (N, H, W) and what is told of the release."""
    place = where.with_name("taken")
    place.mkdir(exist_ok=True)
    normalise = {"per": "volume", "low": 0, "high": 100}
    release(folder=place, synthetic=str(where), like=like, normalise=normalise, **more)
    read, drawn, _ = Samples(place / "samples.h5").read("synthetic")
    return read[:, 0], drawn[:, 0], read_json(place / "released.json")


def refused(words: str, where: Path, like: Pool, **more: Any) -> None:
    with pytest.raises(ValueError, match=words) as error:
        taken(where, like, **more)
    assert "\n" not in str(error.value)


def nifti(file: Path, planes: np.ndarray, header: np.ndarray = HEADER) -> None:
    """Planes (N, H, W) as one volume (columns, rows, N)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(planes.transpose(2, 1, 0), header), file)


def test_a_mask_in_nifti_lies_on_the_grid_of_its_image(
    like: Pool, images: np.ndarray, masks: np.ndarray, tmp_path: Path
) -> None:
    here = tmp_path / "made"
    file = here / "masks" / "a.nii.gz"
    nifti(here / "images" / "a.nii.gz", images)
    nifti(file, masks)
    read, drawn, _ = taken(here, like)
    assert np.array_equal(read, images) and np.array_equal(drawn, masks)
    shifted, flipped = HEADER.copy(), HEADER.copy()
    shifted[0, 3] = 40
    nifti(file, masks, shifted)
    refused(r"masks/a\.nii\.gz: affine differs .* 40\.0 mm apart; save the mask on", here, like)
    flipped[1] = [0, -2.5, 0, (SIDE - 1) * 2.5]
    nifti(file, masks[:, ::-1], flipped)
    refused(r"masks/a\.nii\.gz: affine differs", here, like)
    nifti(file, masks[:2])
    refused(r"masks/a\.nii\.gz: shape \(16, 16, 2\) differs", here, like)
    nifti(file, masks * np.float32(0.9))
    refused(r"masks/a\.nii\.gz: some labels are no whole numbers .*; resample", here, like)
    nifti(file, masks * np.float32(1.0000001))
    assert np.array_equal(taken(here, like)[1], masks)


def png(folder: Path, planes: np.ndarray, name: str = "{:03d}.png", mode: str = "L") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for row, plane in enumerate(planes):
        image = Image.fromarray(plane)
        (image if mode == "L" else image.convert(mode)).save(folder / name.format(row))


def hdf5(file: Path, **arrays: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as opened:
        for name, values in arrays.items():
            opened[name] = values
    return file


def grey(images: np.ndarray) -> np.ndarray:
    return np.rint((images + 1) / 2 * 255).astype(np.uint8)


def test_a_palette_is_colours_in_an_image_and_labels_in_a_mask(
    like: Pool, images: np.ndarray, masks: np.ndarray, tmp_path: Path
) -> None:
    here = tmp_path / "made"
    (here / "images").mkdir(parents=True)
    (here / "masks").mkdir()
    for row, (plane, mask) in enumerate(zip(grey(images), masks, strict=True)):
        Image.fromarray(plane).quantize(256).save(here / "images" / f"{row}.png")
        drawn = Image.fromarray(mask)
        drawn.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
        drawn.save(here / "masks" / f"{row}.png")
    read, labels, _ = taken(here, like, intensities="range")
    assert np.abs(read - images).max() < 0.01 and np.array_equal(labels, masks)
    coloured = Image.fromarray(masks[0])
    coloured.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    coloured.save(here / "images" / "0.png")
    refused("a colour image", here, like)


def test_images_that_hardly_leave_zero_to_one_are_scaled(
    like: Pool, images: np.ndarray, tmp_path: Path
) -> None:
    over = (images - images.min()) / np.ptp(images) * 1.03 - 0.03
    read, _, about = taken(hdf5(tmp_path / "a.h5", images=over), like)
    assert about["intensities"] == "percentiles" and read.min() == -1
    full = (images - images.min()) / np.ptp(images) * 2 - 1
    read, _, about = taken(hdf5(tmp_path / "a.h5", images=full), like)
    assert about["intensities"] == "kept" and np.array_equal(read, full)


def test_a_range_that_is_kept_and_not_filled_is_warned_of(
    like: Pool, images: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unit = (images - images.min()) / np.ptp(images)
    taken(hdf5(tmp_path / "a.h5", images=unit), like, intensities="range")
    assert "do not fill [-1, 1]" in caplog.text and "take auto" in caplog.text
    caplog.clear()
    taken(hdf5(tmp_path / "b.h5", images=2 * unit - 1), like, intensities="range")
    assert not caplog.records or "do not fill" not in caplog.text


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "int64"])
@pytest.mark.parametrize("top", [255, 65535])
def test_whole_numbers_move_by_the_bits_that_they_fill(
    kind: str, top: int, like: Pool, images: np.ndarray, tmp_path: Path
) -> None:
    if top > np.iinfo(kind).max:
        return
    full = (images - images.min()) / np.ptp(images)
    stored = np.rint(full * top).astype(kind)
    read, _, _ = taken(hdf5(tmp_path / "a.h5", images=stored), like, intensities="range")
    assert np.abs(read - (full * 2 - 1)).max() <= 1.01 / top


def test_no_image_and_no_mask_is_left_out_in_silence(
    like: Pool, images: np.ndarray, masks: np.ndarray, tmp_path: Path
) -> None:
    here = tmp_path / "made"
    png(here / "images", grey(images))
    png(here / "labels", masks)
    png(here / "images", grey(images), "upper{}.PNG")
    png(here / "labels", masks, "upper{}.png")
    for name in ("images/._000.png", "labels/._000.png", "images/.DS_Store", "images/.old/a.png"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(bytes(8))
    hdf5(here / "features.h5", images=images[:1])
    read, drawn, about = taken(here, like)
    assert np.array_equal(drawn, np.concatenate([masks, masks])) and about["labels"] == [1, 2, 3]
    assert np.array_equal(read[:4], read[4:]) and len(checksum(str(here))) == 16

    def left(words: str, file: Path) -> None:
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(masks[0]).save(file)
        refused(
            rf"synthetic=.*: 1 images or masks would not be read, {words} among them", here, like
        )
        file.unlink()

    left("labels/alone.png", here / "labels" / "alone.png")
    left("images/deep/a.png", here / "images" / "deep" / "a.png")
    left("images/a.jpg", here / "images" / "a.jpg")
    link = here / "images" / "link.png"
    link.symlink_to(here / "gone.png")
    png(here / "labels", masks[:1], "link.png")
    refused(r"link\.png: the link leads nowhere", here, like)
    link.unlink()
    (here / "masks").mkdir()
    refused("both masks/ and labels/ may be meant; keep one", here, like)


def test_one_hdf5_file_stands_for_its_folder_where_nothing_else_may_be_meant(
    like: Pool, images: np.ndarray, tmp_path: Path
) -> None:
    here = tmp_path / "made"
    hdf5(here / "pairs.H5", images=images)
    (here / "._pairs.h5").write_bytes(bytes(8))
    assert np.array_equal(taken(here, like)[0], images)
    png(here, grey(images))
    refused(r"pairs\.H5 and 000\.png may both be meant; give synthetic=.*pairs\.H5", here, like)
    assert np.array_equal(taken(here / "pairs.H5", like)[0], images)


def test_other_channels_of_nnunet_are_not_left_out_in_silence(
    like: Pool, images: np.ndarray, tmp_path: Path
) -> None:
    here = tmp_path / "made"
    nifti(here / "imagesTr" / "a_0000.nii.gz", images)
    nifti(here / "imagesTs" / "b_0000.nii.gz", images)
    (here / "dataset.json").write_text('{"labels": {"background": 0, "LV": 1}}')
    assert np.array_equal(taken(here, like)[0], images)
    nifti(here / "imagesTr" / "a_0001.nii.gz", images)
    refused(r"would not be read, imagesTr/a_0001\.nii\.gz among them", here, like)


def test_hdf5_that_holds_something_else_is_refused_in_one_line(
    like: Pool, images: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "a.h5"

    def spaced(value: Any) -> Path:
        with h5py.File(hdf5(file, images=images), "r+") as opened:
            opened.attrs["spacing_mm"] = value
        return file

    for value in (2.5, [2.5, 2.5], "2.5"):
        assert np.array_equal(taken(spaced(value), like)[0], images)
    for value in ("2.5 mm", [2.5, 1.5], []):
        refused(r"a\.h5: the attribute spacing_mm is .*; store one number", spaced(value), like)
    words = r"a\.h5: images is {}; store one data set of numbers \(N, H, W\)"
    refused(words.format("a group"), hdf5(file, **{"images/0": images[0]}), like)
    refused(words.format(r"float64 \(\)"), hdf5(file, images=1.0), like)
    refused(words.format(r"\|S1 \(4,\)"), hdf5(file, images=np.array([b"a"] * 4)), like)
    refused(r"no data set images; it holds synthetic", hdf5(file, synthetic=images), like)
    hdf5(file, images=images)
    file.write_bytes(file.read_bytes()[:3000])
    refused(r"a\.h5: cannot be read \(.*truncated.*\); write it again", file, like)
    file.write_bytes(b"x" * 3000)
    refused(r"a\.h5: cannot be read \(.*signature.*\); write it again", file, like)


@pytest.mark.parametrize("value", [None, "a", 1.5, -1])
def test_a_label_that_is_no_whole_number_is_refused(
    value: object, like: Pool, images: np.ndarray, tmp_path: Path
) -> None:
    made = hdf5(tmp_path / "a.h5", images=images)
    refused("model.labels: rv is .*; give the whole number", made, like, labels={"rv": value})


@pytest.mark.parametrize("depth", [1, 8, 16, 48])
@pytest.mark.parametrize("across", [0.5, 1.0, 1.2501, 2.5, 8.0, 999.0])
def test_slices_are_those_that_were_stacked_whatever_their_spacing(
    depth: int, across: float, like: Pool, images: np.ndarray, masks: np.ndarray, tmp_path: Path
) -> None:
    here, header = tmp_path / "made", np.diag([2.5, 2.5, across, 1.0])
    planes, drawn = (np.tile(a, (12, 1, 1))[:depth] for a in (images, masks))
    nifti(here / "images" / "a.nii.gz", planes, header)
    nifti(here / "masks" / "a.nii.gz", drawn, header)
    read, labels, about = taken(here, like)
    assert about["resampled"] == 0
    assert np.array_equal(read, planes) and np.array_equal(labels, drawn)


@pytest.mark.parametrize("shape", [(6, 16, 16), (16, 6, 16), (16, 16, 6), (1, 16, 16), (16, 1, 16)])
@pytest.mark.parametrize("oblique", [False, True])
def test_volumes_with_a_clear_slice_axis_are_arranged_as_in_prepared_data(
    shape: tuple[int, ...], oblique: bool
) -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.normal(size=shape).astype(np.float32), rng.integers(0, 4, shape)
    sides = [8.0 if n == min(shape) else 1.3671875 for n in shape]
    turn = Rotation.from_euler("xyz", [0.4, -0.3, 0.2]).as_matrix() if oblique else np.eye(3)
    affine = np.eye(4)
    affine[:3, :3] = turn * sides
    ours, theirs = stacked(image, mask, affine), arrange(image, mask, affine)
    assert np.array_equal(ours.image, theirs.image) and np.array_equal(ours.mask, theirs.mask)
    assert (ours.spacing_mm, ours.thickness_mm) == (theirs.spacing_mm, theirs.thickness_mm)


def test_a_mask_that_cannot_be_read_is_named_itself(
    like: Pool, images: np.ndarray, masks: np.ndarray, tmp_path: Path
) -> None:
    here = tmp_path / "made"
    nifti(here / "images" / "a.nii.gz", images)
    mask = here / "masks" / "a.nii.gz"
    nifti(mask, masks)
    mask.write_bytes(mask.read_bytes()[:60])
    refused(r"^\S*masks/a\.nii\.gz: cannot be read", here, like)


def test_names_of_dataset_json_that_are_unknown_are_given_by_model_labels(
    like: Pool, images: np.ndarray, masks: np.ndarray, tmp_path: Path
) -> None:
    here = tmp_path / "made"
    nifti(here / "imagesTr" / "a_0000.nii.gz", images)
    nifti(here / "labelsTr" / "a.nii.gz", masks)
    file = here / "dataset.json"
    words = r"dataset\.json: label {}; give model\.labels=\{{lv: 1, myo: 2, rv: 3\}}"
    file.write_text('{"labels": {"background": 0, "chamber": 1, "MYO": 2, "RV": 3}}')
    refused(words.format("name 'chamber' is unknown"), here, like)
    file.write_text('{"labels": {"background": 0, "LV": [1, 2], "RV": 3}}')
    refused(words.format(r"LV is a region .*"), here, like)
    file.write_text('{"labels": [1]}')
    refused(r"dataset\.json: not a dataset\.json of nnU-Net", here, like)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_grey_images_are_read_in_every_mode(
    mode: str, like: Pool, images: np.ndarray, tmp_path: Path
) -> None:
    here = tmp_path / "made"
    png(here, grey(images), mode=mode)
    read, _, _ = taken(here, like, intensities="range")
    assert np.abs(read - images).max() < 0.005


def test_an_axis_of_one_may_be_there_or_not(
    like: Pool, images: np.ndarray, masks: np.ndarray, tmp_path: Path
) -> None:
    made = hdf5(tmp_path / "a.h5", images=images[:, None], masks=masks)
    assert np.array_equal(taken(made, like)[1], masks)
    refused(
        r"images \(4, 16, 16\), but masks \(3, 16, 16\)",
        hdf5(made, images=images, masks=masks[:3]),
        like,
    )
    here = tmp_path / "made"
    for part, planes in (("images", images), ("masks", masks)):
        (here / part).mkdir(parents=True)
        for row, plane in enumerate(planes):
            nib.save(nib.Nifti1Image(plane.T, HEADER), here / part / f"{row}.nii.gz")
    read, drawn, about = taken(here, like)
    assert np.array_equal(read, images) and np.array_equal(drawn, masks)
    assert about["files"] == len(images)


@pytest.mark.parametrize("spacing_mm", [0, -2.5])
def test_a_spacing_is_above_zero(
    spacing_mm: float, like: Pool, images: np.ndarray, tmp_path: Path
) -> None:
    made = hdf5(tmp_path / "a.h5", images=images)
    refused("model.spacing_mm=.*: give millimetres above 0", made, like, spacing_mm=spacing_mm)


def test_an_hdf5_file_and_a_folder_of_png_may_name_their_labels(
    like: Pool, images: np.ndarray, masks: np.ndarray, tmp_path: Path
) -> None:
    lone = np.where(masks == 1, 1, 0).astype(np.uint8)
    file = hdf5(tmp_path / "a.h5", images=images, masks=lone)
    assert taken(file, like)[2]["labels"] == [1, 2, 3]
    for names in (["lv"], ["background", "lv"], np.array([b"lv"]), "lv"):
        with h5py.File(file, "a") as opened:
            opened.attrs["labels"] = names
        assert taken(file, like)[2]["labels"] == [1], names
        assert taken(file, like, labels={"lv": 1, "rv": 3})[2]["labels"] == [1, 3]
    with h5py.File(file, "a") as opened:
        opened.attrs["labels"] = [0, 1]
    refused(r"a\.h5: the attribute labels is 0, 1; store names of background, lv", file, like)
    here = tmp_path / "made"
    png(here / "images", grey(images))
    png(here / "masks", lone)
    before = checksum(str(here))
    (here / "dataset.json").write_text('{"labels": {"background": 0, "lv": 1}, "spacing_mm": 2.0}')
    assert checksum(str(here)) != before
    assert taken(here, replace(like, spacing_mm=2.0))[2] | {"planes": 0} == {
        "files": len(images), "planes": 0, "labels": [1], "intensities": "kept", "resampled": 0,
    }  # fmt: skip
    assert taken(here, replace(like, spacing_mm=1.8))[2]["resampled"] == len(images)
    (here / "dataset.json").write_text('{"spacing_mm": 2.0}')
    assert taken(here, replace(like, spacing_mm=1.8))[2]["resampled"] == len(images)
    (here / "dataset.json").write_text("{")
    assert taken(here, like, labels={"lv": 1})[2]["labels"] == [1]
