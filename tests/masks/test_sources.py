"""Mask sources: rows are functions of their seeds, labels stay labels, anatomy stays anatomy."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from cmr_bench.masks.deformed import Deformed
from cmr_bench.masks.real import Real
from cmr_bench.types import MaskSource, Pool


def rings(n: int = 6, size: int = 32) -> Pool:
    """Concentric LV and myocardium with an RV disc beside them, of growing radius."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    masks = torch.zeros(n, 1, size, size, dtype=torch.int64)
    for i in range(n):
        r = ((x - 18) ** 2 + (y - 16) ** 2).float().sqrt()
        masks[i, 0][((x - 9) ** 2 + (y - 16) ** 2).float().sqrt() < 5] = 3
        masks[i, 0][r < 6 + i / 3] = 2
        masks[i, 0][r < 3 + i / 3] = 1
    table = pd.DataFrame({"subject": [f"s{i}" for i in range(n)]})
    return Pool("train", masks.float() / 2 - 1, masks, table, 2.5)


def deformed(**change: float) -> Deformed:
    usual = {"rotation": 20, "zoom": 0.1, "stretch": 0.1, "shift": 0.03, "bend_mm": 2.0, "knots": 5}
    return Deformed(pool=rings(), **{**usual, **change})


@pytest.mark.parametrize("source", [deformed(), Real(pool=rings())])
def test_a_mask_is_a_function_of_its_seed(source: MaskSource) -> None:
    seeds = torch.tensor([3, 1, 4, 1])
    masks = source.sample(seeds=seeds)
    assert masks.shape == (4, 1, 32, 32) and masks.dtype == torch.int64
    assert torch.equal(masks[1], masks[3])
    assert torch.equal(masks[2:3], source.sample(seeds=seeds[2:3]))
    assert set(masks.unique().tolist()) <= {0, 1, 2, 3}


def test_no_deformation_gives_training_masks_back() -> None:
    still = deformed(rotation=0, zoom=0, stretch=0, shift=0, bend_mm=0)
    train = rings().masks
    for mask in still.sample(seeds=torch.arange(5)):
        assert any(torch.equal(mask, other) for other in train)


def test_deformed_masks_are_new_and_keep_the_cavity_inside_the_ring() -> None:
    train = rings().masks
    for mask in deformed().sample(seeds=torch.arange(20)):
        assert not any(torch.equal(mask, other) for other in train)
        cavity = torch.nn.functional.max_pool2d((mask == 1).float(), 3, stride=1, padding=1) > 0
        assert (mask[cavity] > 0).all(), "the cavity touches the background"


def test_bend_moves_by_millimetres() -> None:
    from cmr_bench.seeds import torch_rng

    source = deformed(rotation=0, zoom=0, stretch=0, shift=0, bend_mm=4.0)
    planes = torch.zeros(1, 4, 32, 32)
    still = deformed(rotation=0, zoom=0, stretch=0, shift=0, bend_mm=0.0)
    pull = torch.cat(
        [source.field(planes, torch_rng(i)) - still.field(planes, torch_rng(i)) for i in range(200)]
    )
    moved_mm = pull * 32 * 2.5 / 2
    assert moved_mm[:, 16, 16].std().item() == pytest.approx(4.0, rel=0.35)
