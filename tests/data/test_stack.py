"""One orientation for all: whatever axes a file stores, the same pixels come out in the same place."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from layouts import SPACING, heart
from nibabel.orientations import apply_orientation, inv_ornt_aff

from cmr_bench.data.stack import (
    APICAL,
    INFERIOR,
    LATERAL,
    apex_first,
    arrange,
    right_ventricle_side,
    slice_axis,
)
from cmr_bench.data.survey import Seen, quarter_turns

IMAGE, MASK = heart("patient001")
HEADER = np.diag([*SPACING, 1.0])


def scanner() -> np.ndarray:
    """The affine of a scanner: columns lateral, rows inferior, slices towards the apex, made orthonormal."""
    columns = LATERAL / np.linalg.norm(LATERAL)
    rows = INFERIOR - (INFERIOR @ columns) * columns
    rows /= np.linalg.norm(rows)
    through = np.cross(columns, rows)
    through *= np.sign(through @ APICAL)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([columns, rows, through], axis=1) * SPACING
    affine[:3, 3] = (30, -20, 11)
    return affine


@pytest.mark.parametrize("affine", [HEADER, scanner()], ids=["axis order alone", "scanner"])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_any_storage_order_gives_the_same_stack(affine: np.ndarray, order: tuple[int, ...]) -> None:
    wanted = arrange(IMAGE, MASK, affine)
    np.testing.assert_array_equal(wanted.mask, MASK.transpose(1, 0, 2))
    for signs in product((1, -1), repeat=3):
        change = np.array(list(zip(order, signs, strict=True)), dtype=float)
        moved = affine @ inv_ornt_aff(change, IMAGE.shape)
        got = arrange(apply_orientation(IMAGE, change), apply_orientation(MASK, change), moved)
        np.testing.assert_array_equal(got.mask, wanted.mask)
        np.testing.assert_array_equal(got.image, wanted.image)
        np.testing.assert_allclose(got.spacing_mm, wanted.spacing_mm)


def test_oblique_planes_keep_their_pixels_where_closest_canonical_would_mix_axes() -> None:
    volume = nib.Nifti1Image(IMAGE.astype(np.float32), scanner())
    canonical = nib.as_closest_canonical(volume)
    mask = nib.as_closest_canonical(nib.Nifti1Image(MASK, scanner()))
    got = arrange(canonical.get_fdata(), np.asarray(mask.dataobj), canonical.affine)
    np.testing.assert_array_equal(got.mask, MASK.transpose(1, 0, 2))


def test_slices_go_from_base_to_apex_whatever_the_header_says() -> None:
    assert not apex_first(MASK)
    assert apex_first(MASK[..., ::-1])
    got = arrange(IMAGE[..., ::-1], MASK[..., ::-1], HEADER)
    np.testing.assert_array_equal(got.mask, MASK.transpose(1, 0, 2))


def test_a_single_labelled_slice_has_no_order() -> None:
    mask = MASK.copy()
    mask[..., :-1] = 0
    assert not apex_first(mask)


@pytest.mark.parametrize("quarters", range(4))
def test_a_data_set_that_lies_on_its_side_is_turned_back(quarters: int) -> None:
    stack = arrange(IMAGE, MASK, HEADER)
    assert abs(right_ventricle_side(stack.mask) + 1) < 0.2
    turned = stack.turned(quarters)
    seen = [Seen(None, None, right_ventricle_side(turned.mask), 0.0, {})] * 3  # type: ignore[arg-type]
    back = turned.turned(quarter_turns(seen))
    np.testing.assert_array_equal(back.mask, stack.mask)
    assert back.spacing_mm == stack.spacing_mm


def test_data_without_right_ventricles_are_not_turned() -> None:
    seen = [Seen(None, None, 0j, 0.0, {})] * 3  # type: ignore[arg-type]
    assert quarter_turns(seen) == 0


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((48, 40, 6), (2.5, 2.5, 1.0)),
        ((200, 180, 90), (1.25, 1.25, 1.25)),
        ((12, 10, 40), (1.0, 1.0, 8.0)),
        ((48, 40, 1), (1.0, 1.0, 1.0)),
        ((64, 64, 30), (1.3, 1.3, 1.9)),
    ],
    ids=["spacing lost", "isotropic", "more slices than pixels", "one slice", "thin slices"],
)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_slice_axis(
    shape: tuple[int, ...], sides: tuple[float, ...], order: tuple[int, ...]
) -> None:
    affine = np.diag([*(sides[axis] for axis in order), 1.0])
    assert order[slice_axis(tuple(shape[axis] for axis in order), affine)] == 2


def test_a_cube_has_no_slice_axis() -> None:
    with pytest.raises(ValueError, match="cannot tell the slice axis of 40 x 40 x 40 voxels"):
        slice_axis((40, 40, 40), np.eye(4))
