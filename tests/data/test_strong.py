"""Strong augmentation: a function of (seed, step) like any other, image and mask together."""

from __future__ import annotations

import tiny
import torch

from cmr_bench.data.batches import Batches
from cmr_bench.data.strong import Strong

POOL = tiny.pool(6, side=32)
STILL = dict.fromkeys(("rotation", "zoom", "shift", "share"), 0.0)


def batches(**changes):
    return Batches(POOL, **({"batch": 4, "steps": 3, "seed": 0, "augment": Strong()} | changes))


def test_step_k_is_the_same_from_whatever_start_and_whatever_was_drawn_before():
    whole = list(batches())
    torch.manual_seed(99)
    torch.testing.assert_close(batches().at(2), whole[2], atol=0, rtol=0)
    assert not torch.equal(batches(seed=1).at(2)[0], whole[2][0])
    assert not torch.equal(whole[0][0], whole[1][0])


def test_the_global_generator_is_as_it_was():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    batches().at(0)
    assert torch.equal(torch.rand(3), expected)


def test_no_other_device_is_seeded(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    batches().at(0)
    assert not seeded


def test_images_and_masks_stay_what_they_are():
    images, masks = Strong(share=1.0)(POOL.images, POOL.masks, torch.Generator().manual_seed(0))
    assert images.shape == POOL.images.shape and images.dtype == torch.float32
    assert masks.dtype == torch.int64 and set(masks.unique().tolist()) <= {0, 1, 2, 3}
    assert images.abs().max() <= 1 and images.isfinite().all()
    assert (masks != POOL.masks).float().mean() > 0.02


def test_no_range_is_no_change():
    images, masks = Strong(**STILL)(POOL.images, POOL.masks, torch.Generator().manual_seed(0))
    torch.testing.assert_close(images, POOL.images, atol=1e-5, rtol=0)
    assert torch.equal(masks, POOL.masks)


def test_intensities_leave_the_mask_alone():
    only = Strong(**STILL | {"share": 1.0, "elastic": 1e-6})
    images, masks = only(POOL.images, POOL.masks, torch.Generator().manual_seed(0))
    assert torch.equal(masks, POOL.masks)
    assert (images - POOL.images).abs().mean() > 0.02


def test_geometry_moves_image_and_mask_together():
    """The image is painted from the mask, so it can be painted again from the moved mask."""
    pool = tiny.pool(12, side=64)
    moved = Strong(share=0.0)
    images, masks = moved(pool.images, pool.masks, torch.Generator().manual_seed(0))
    off = ((images - tiny.intensity(masks)).abs() > 0.4).float().mean()
    assert off < 0.05 and off < 0.5 * (masks != pool.masks).float().mean()
