from __future__ import annotations

import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_bench.spaces import Labels, Latent, Pixel

POOL = tiny.pool(8)


def test_pixels_are_left_alone_and_bounded():
    space = Pixel()
    assert torch.equal(space.encode(POOL.images), POOL.images)
    assert torch.equal(space.decode(2 * POOL.images), (2 * POOL.images).clamp(-1, 1))


@given(st.integers(0, 2**31))
def test_labels_come_back(seed):
    masks = torch.randint(0, 4, (2, 1, 5, 7), generator=torch.Generator().manual_seed(seed))
    planes = Labels().encode(masks)
    assert planes.shape == (2, 4, 5, 7) and planes.dtype == torch.float32
    assert torch.equal(planes.abs(), torch.ones_like(planes)) and torch.equal(
        planes.sum(1), -2.0 * torch.ones(2, 5, 7)
    )
    assert torch.equal(Labels().decode(planes), masks)


def test_labels_in_blocks_keep_areas_and_nearly_all_pixels():
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    radius = ((x - 15.5) ** 2 + (y - 15.5) ** 2).sqrt()
    masks = ((radius < 12).long() + (radius < 7).long())[None, None]
    space = Labels(2)
    planes = space.encode(masks)
    assert planes.shape == (1, 4, 16, 16) and planes.abs().max() <= 1
    shares = (planes + 1).mean((0, 2, 3)) / 2
    torch.testing.assert_close(shares, torch.stack([(masks == k).float().mean() for k in range(4)]))
    assert (space.decode(planes) == masks).float().mean() > 0.97


def test_labels_bear_noise_below_one():
    planes = Labels().encode(POOL.masks)
    assert torch.equal(Labels().decode(planes + 1.9 * torch.rand_like(planes) - 0.95), POOL.masks)


def test_latents_of_a_pool_are_standardised():
    module = tiny.autoencoder()
    module.standardise(POOL, batch=3)
    with torch.no_grad():
        z = Latent(module).encode(POOL.images)
    assert z.shape == (8, 3, tiny.SIDE // 2, tiny.SIDE // 2)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_standardising_changes_no_reconstruction():
    module = tiny.autoencoder()
    with torch.no_grad():
        before = module.decode(module.encode(POOL.images))
        module.standardise(POOL)
        after = module.decode(module.encode(POOL.images))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    assert after.shape == POOL.images.shape and after.abs().max() <= 1


def test_the_autoencoder_stays_frozen_while_the_model_is_trained(tmp_path):
    model = tiny.ldm()
    model.space.autoencoder.standardise(POOL)
    before = {k: v.clone() for k, v in model.space.state_dict().items()}
    model.train()
    assert not any(module.training for module in model.space.modules())
    tiny.trained(model, POOL, tmp_path, steps=2, ema=0.9)
    assert not any(p.requires_grad for p in model.space.parameters())
    torch.testing.assert_close(dict(model.space.state_dict()), before, atol=0, rtol=0)
