from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import tiny
import torch
from torch import nn

from cmr_bench.networks.optimisation import warm_cosine
from cmr_bench.networks.segmenter import Segmenter, basic_unet

POOL = tiny.pool(8)


class Clock:
    """What the learning-rate rule asks a module: how long the run is."""

    def __init__(self, steps: int) -> None:
        self.trainer = self
        self.max_steps = steps


def rates(steps: int, warmup: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = warm_cosine(Clock(steps), optimizer, warmup)["lr_scheduler"]["scheduler"]  # type: ignore[arg-type]
    found = []
    for _ in range(steps + 1):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_rate_rises_then_falls_to_a_hundredth():
    found = rates(100, 10)
    assert found[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert all(a > b for a, b in pairwise(found[10:]))
    assert found[55] == pytest.approx(0.505) and found[100] == pytest.approx(0.01)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (5, 5), (3, 10)])
def test_rate_bears_short_runs(steps, warmup):
    assert all(0 < rate <= 1 for rate in rates(steps, warmup))


def test_autoencoder_learns_to_reconstruct(tmp_path):
    module = tiny.autoencoder()

    def error() -> float:
        with torch.no_grad():
            return (module.decode(module.encode(POOL.images)) - POOL.images).abs().mean().item()

    before = error()
    tiny.trained(module, POOL, tmp_path, steps=30)
    assert error() < 0.6 * before


def test_segmenter_learns_what_the_image_shows(tmp_path):
    module = Segmenter(widths=(8, 16, 16), seed=0, warmup=0, optimizer=tiny.adam(1e-2))
    tiny.trained(module, POOL, tmp_path, steps=40)
    fresh = tiny.pool(4, seed=9)
    found = module.segment(fresh.images)
    assert found.shape == fresh.masks.shape and found.dtype == torch.int64
    assert (found == fresh.masks).float().mean() > 0.9
    assert torch.equal(found, module.segment(fresh.images, batch=1))


def test_first_weights_come_from_the_seed():
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in tiny.autoencoder(seed).parameters()])

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_another_architecture_segments_by_the_same_recipe():
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    module = Segmenter(
        widths=(4, 4, 4, 4, 4, 4), seed=0, warmup=0, optimizer=optimizer, network=basic_unet
    )
    images = torch.rand(2, 1, 48, 48)
    drawn = module.segment(images)
    assert drawn.shape == images.shape and drawn.dtype == torch.int64
    with pytest.raises(ValueError, match="6 widths, got 4"):
        basic_unet((16, 32, 64, 128))
