"""Resampling, crop and intensities against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from cmr_bench.data.grid import normalise, window
from cmr_bench.data.stack import Stack


def disc(
    side: int,
    spacing: float,
    radius: float,
    centre: tuple[float, float] = (0.0, 0.0),
    depth: int = 3,
) -> Stack:
    """A bright disc of LV around `centre` (mm from the middle) in a ring of myocardium 8 mm thick."""
    at = (np.arange(side) - (side - 1) / 2) * spacing
    y, x = np.meshgrid(at, at, indexing="ij")
    far = np.hypot(y - centre[0], x - centre[1])
    plane = np.select([far < radius, far < radius + 8], [1, 2], 0).astype(np.uint8)
    mask = np.repeat(plane[..., None], depth, axis=2)
    return Stack(
        np.where(mask == 1, 900.0, 100.0).astype(np.float32), mask, (spacing, spacing), 8.0
    )


@pytest.mark.parametrize("spacing", [0.7, 1.25, 1.9, 3.0])
def test_areas_and_places_survive_resampling(spacing: float) -> None:
    stack = disc(round(200 / spacing), spacing, 25.0, (10.0, -6.0))
    images, masks, lost = window(stack, spacing_mm=2.0, size=64, crop="centre")
    assert images.shape == masks.shape == (3, 64, 64)
    assert not lost[:, 0].any()
    areas = np.array([(masks[1] == 1).sum(), (masks[1] == 2).sum()]) * 4.0
    np.testing.assert_allclose(areas, np.pi * np.array([25**2, 33**2 - 25**2]), rtol=0.06)
    bright = images[1] - 100
    along = (np.arange(64) - 31.5) * 2.0
    centre = (bright.sum(axis=1) @ along / bright.sum(), bright.sum(axis=0) @ along / bright.sum())
    np.testing.assert_allclose(centre, (10.0, -6.0), atol=0.3)
    np.testing.assert_allclose(
        (np.argwhere(masks[1] == 1).mean(axis=0) - 31.5) * 2.0, centre, atol=0.7
    )
    assert images[1][masks[1] == 1].mean() > 840


def test_same_grid_is_copied_exactly() -> None:
    stack = disc(64, 2.0, 20.0)
    images, masks, _ = window(stack, spacing_mm=2.0, size=64, crop="centre")
    np.testing.assert_allclose(images, np.moveaxis(stack.image, 2, 0), atol=1e-3)
    np.testing.assert_array_equal(masks, np.moveaxis(stack.mask, 2, 0))


def test_one_slice_and_a_small_field_of_view_are_padded_with_the_minimum() -> None:
    stack = disc(20, 2.0, 10.0, depth=1)
    images, masks, _ = window(stack, spacing_mm=2.0, size=40, crop="centre")
    assert images.shape == (1, 40, 40)
    assert images[0, 0, 0] == 100
    np.testing.assert_array_equal(masks[0, 10:30, 10:30], stack.mask[..., 0])


def test_fine_texture_does_not_alias() -> None:
    stripes = np.tile(np.array([0.0, 1000.0], dtype=np.float32)[:, None, None], (64, 128, 2))
    stack = Stack(stripes, np.zeros(stripes.shape, np.uint8), (1.0, 1.0), 8.0)
    images, _, _ = window(stack, spacing_mm=3.0, size=32, crop="centre")
    assert np.ptp(images) < 100


def test_voxels_outside_the_crop_are_counted() -> None:
    stack = disc(100, 2.0, 20.0, (0.0, 80.0))
    _, masks, lost = window(stack, spacing_mm=2.0, size=80, crop="centre")
    inside = (stack.mask[:, 10:90] == 1).sum()
    total = (stack.mask == 1).sum()
    assert lost[1].tolist() == [total - inside, total]
    assert (masks == 1).sum() == inside


def test_mask_crop_follows_the_labels_of_each_slice_and_centre_crop_never_looks() -> None:
    stack = disc(100, 2.0, 12.0, (0.0, 60.0))
    shifted = Stack(
        stack.image, np.roll(stack.mask, 20, axis=0), stack.spacing_mm, stack.thickness_mm
    )
    _, masks, lost = window(stack, spacing_mm=2.0, size=32, crop="mask")
    np.testing.assert_allclose(np.argwhere(masks[0] > 0).mean(axis=0), (15.5, 15.5), atol=0.3)
    assert not lost[:, 0].any()
    first, _, _ = window(stack, spacing_mm=2.0, size=32, crop="centre")
    second, _, _ = window(shifted, spacing_mm=2.0, size=32, crop="centre")
    np.testing.assert_array_equal(first, second)


def test_intensities_fill_the_range_and_a_linear_change_does_not_matter() -> None:
    images = np.random.default_rng(0).gamma(2, 100, (4, 32, 32)).astype(np.float32)
    scaled = normalise(images, per="volume", low=1, high=99)
    assert scaled.dtype == np.float32
    assert scaled.min() == -1
    assert scaled.max() == 1
    np.testing.assert_allclose(
        normalise(images * 3 + 50, per="volume", low=1, high=99), scaled, atol=1e-4
    )
    alone = normalise(images * np.array([1, 2, 3, 4])[:, None, None], per="slice", low=1, high=99)
    np.testing.assert_allclose(alone, normalise(images, per="slice", low=1, high=99), atol=1e-4)


def test_a_constant_slice_stays_finite() -> None:
    images = np.zeros((2, 8, 8), np.float32)
    images[1] = np.arange(64).reshape(8, 8)
    scaled = normalise(images, per="slice", low=1, high=99)
    assert (scaled[0] == -1).all()
    assert scaled[1].max() == 1
