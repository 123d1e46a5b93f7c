"""Images made elsewhere: what is read, and what is refused in one line that names the file and the remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tiny

from cmr_bench.data.released import release
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
