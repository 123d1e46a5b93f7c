from __future__ import annotations

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmr_bench.data.batches import Augment, Batches

POOL = tiny.pool(10)
STRONG = Augment(rotation=30, zoom=0.2, shift=0.1, gamma=0.3)


def batches(pool=POOL, **changes):
    return Batches(pool, **({"batch": 4, "steps": 12, "seed": 0, "augment": STRONG} | changes))


@pytest.mark.parametrize("start", [0, 1, 5, 11])
def test_step_k_is_the_same_from_whatever_start(start):
    whole, rest = list(batches()), list(batches(start=start))
    assert len(rest) == 12 - start
    for one, other in zip(whole[start:], rest, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


@given(
    count=st.integers(1, 13),
    batch=st.integers(1, 6),
    ranks=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_ranks_together_see_what_one_sees_and_every_row_once_an_epoch(count, batch, ranks, seed):
    pool = tiny.pool(count, side=4)
    one = batches(pool, batch=batch * ranks, seed=seed)
    steps = -(-3 * count // (batch * ranks))
    order = torch.cat([one.rows(step) for step in range(steps)])
    for epoch in order[: 3 * count].reshape(3, count):
        assert sorted(epoch.tolist()) == list(range(count))
    walks = [
        batches(pool, batch=batch * ranks, seed=seed, rank=rank, ranks=ranks)
        for rank in range(ranks)
    ]
    parts = [walk.at(1) for walk in walks]
    assert {len(images) for images, _ in parts} == {batch}
    for whole, shares in zip(one.at(1), zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(shares), whole, atol=0, rtol=0)


def test_epochs_and_seeds_differ_in_order():
    walk = batches(batch=10)
    assert not torch.equal(walk.rows(0), walk.rows(1))
    assert not torch.equal(walk.rows(0), batches(batch=10, seed=1).rows(0))


def test_ranks_augment_differently():
    one = batches(tiny.pool(1), batch=2, rank=0, ranks=2).at(0)[0]
    other = batches(tiny.pool(1), batch=2, rank=1, ranks=2).at(0)[0]
    assert not torch.equal(one, other)


def test_empty_pool_is_refused():
    with pytest.raises(ValueError, match="pool train is empty"):
        batches(POOL.take(slice(0, 0)))


def test_no_range_is_no_change():
    images, masks = Augment()(POOL.images, POOL.masks, torch.Generator().manual_seed(0))
    assert torch.equal(images, POOL.images) and torch.equal(masks, POOL.masks)


@pytest.mark.parametrize(
    "augment", [Augment(rotation=40), Augment(zoom=0.3), Augment(shift=0.2), STRONG]
)
def test_image_and_mask_move_together(augment):
    """The image is painted from the mask, so it can be painted again from the moved mask."""
    pool = tiny.pool(20, side=64)
    painted = 0.6 * pool.images
    images, masks = augment(painted, pool.masks, torch.Generator().manual_seed(0))
    moved = (masks != pool.masks).float().mean()
    again = 0.6 * tiny.intensity(masks)
    if not augment.gamma:
        off = (images - again).abs() > 0.3
        assert off.float().mean() < 0.5 * moved and off.float().mean() < 0.05
    assert moved > 0.02
    assert masks.dtype == torch.int64 and set(masks.unique().tolist()) <= {0, 1, 2, 3}
    assert images.shape == painted.shape and images.abs().max() <= 1


def test_shift_is_a_share_of_the_image():
    images = torch.zeros(200, 1, 33, 33)
    masks = torch.zeros(200, 1, 33, 33, dtype=torch.int64)
    masks[:, :, 16, 16] = 1
    _, moved = Augment(shift=0.25)(images, masks, torch.Generator().manual_seed(0))
    at = moved[:, 0].nonzero()
    travel = (at[:, 1:] - 16).abs().max().item()
    assert len(at) == 200 and 7 <= travel <= 33 / 4 + 1


def test_gamma_changes_the_image_alone_and_keeps_the_ends():
    ends = torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2).expand(5, 1, 1, 2)
    images, _ = Augment(gamma=0.5)(ends, ends.long(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(images, ends)
    grey, masks = Augment(gamma=0.5)(POOL.images, POOL.masks, torch.Generator().manual_seed(0))
    assert torch.equal(masks, POOL.masks) and not torch.equal(grey, POOL.images)
