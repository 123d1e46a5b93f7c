"""Small cohorts whose truth is known, and a model that does or does not know them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.utility.arms import Arm
from cmr_bench.seeds import row_noise, torch_rng
from cmr_bench.types import Pool

SIZE = 32
SLICES = 3


def hearts(seed: int, count: int) -> Tensor:
    """(count, 1, SIZE, SIZE) concentric LV and myocardium with an RV beside them."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    masks = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.int64)
    for mask, (dy, dx, r) in zip(
        masks, torch.rand(count, 3, generator=torch_rng("h", seed)), strict=True
    ):
        cy, cx, r = 14 + 4 * dy, 13 + 4 * dx, 4 + 2 * r
        mask[0][torch.hypot(y - cy, x - cx - 7) < r] = 3
        mask[0][torch.hypot(y - cy, x - cx) < r + 3] = 2
        mask[0][torch.hypot(y - cy, x - cx) < r] = 1
    return masks


def cohort(name: str, subjects: int, *, seed: int = 0, labels: tuple[int, ...] = (1, 2, 3)) -> Pool:
    """Subjects with two phases of SLICES slices; slices of one subject share a smooth texture."""
    n = subjects * 2 * SLICES
    who = np.arange(subjects).repeat(2 * SLICES)
    masks = hearts(seed, n)
    texture = torch.randn(subjects, 1, 8, 8, generator=torch_rng("texture", name, seed))
    texture = F.interpolate(texture, SIZE, mode="bilinear")[torch.as_tensor(who)]
    grain = torch.randn(n, 1, SIZE, SIZE, generator=torch_rng("grain", name, seed))
    table = pd.DataFrame(
        {
            "subject": [f"{name}{s:03d}" for s in who],
            "phase": np.tile(np.repeat(["ED", "ES"], SLICES), subjects),
            "slice": np.tile(np.arange(SLICES), 2 * subjects),
            "thickness_mm": 10.0,
        }
    )
    images = (masks.float() / 2 - 0.75 + 0.2 * texture + 0.02 * grain).clamp(-1, 1)
    return Pool(name, images, masks, table, 1.5, labels)


def moments(images: Tensor) -> Tensor:
    """A cheap encoder: 64 local means."""
    return F.adaptive_avg_pool2d(images, 8).flatten(1)


def true_masks(arm: Arm, seed: int, pool: Pool) -> Tensor:
    """A segmenter that is right for arms of real subjects and one pixel off for the others."""
    return pool.masks if arm.kind == "real" else pool.masks.roll(1, dims=-1)


class Memory:
    """A model whose loss is the distance to the nearest image it has seen."""

    def __init__(self, seen: Tensor) -> None:
        self.seen = seen.flatten(1)

    def losses(
        self, images: Tensor, masks: Tensor, *, times: Sequence[float], seeds: Tensor
    ) -> Tensor:
        distance = torch.cdist(images.flatten(1), self.seen).amin(1)
        noise = row_noise(seeds, (len(times),)).abs() * 0.05
        return distance[:, None] * torch.tensor([1 + t for t in times]) + noise

    def noised(
        self, images: Tensor, masks: Tensor, t: Tensor, seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        target = row_noise(seeds, images.shape[1:])
        distance = torch.cdist(images.flatten(1), self.seen).amin(1)[:, None, None, None]
        error = 0.2 * (distance + t[:, None, None, None]) * row_noise(seeds, images.shape[1:], 1)
        return target + error, target


@pytest.fixture(scope="session")
def new_cohort() -> Callable[..., Pool]:
    return cohort


@pytest.fixture(scope="session")
def memory() -> type[Memory]:
    return Memory


@pytest.fixture(scope="session")
def train() -> Pool:
    return cohort("train", 12, seed=1)


@pytest.fixture(scope="session")
def test() -> Pool:
    return cohort("test", 8, seed=2)


@pytest.fixture
def judge(train: Pool, test: Pool) -> Callable[..., Evidence]:
    """Evidence about a synthetic pool, by default of unseen subjects; matched is test itself."""

    def build(synthetic: Pool | None = None, **changes: object) -> Evidence:
        pools = {
            "train": train,
            "test": test,
            "synthetic": synthetic or cohort("synthetic", 10, seed=3),
            "matched": test,
        }
        pools |= changes.pop("pools", {})
        options = {
            "encode": moments,
            "segment": true_masks,
            "model": Memory(train.images),
        } | changes
        return Evidence(pools, **options)

    return build
