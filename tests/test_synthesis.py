"""Synthetic images row by row: what was drawn before a kill is not drawn again, wherever the kill fell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from cmr_bench.store.samples import Samples
from cmr_bench.synthesis import synthesise

POOL = tiny.pool(6)


class Painter:
    """Draws its seeds, and counts what it draws; dies at a given row."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.drawn, self.dies_at = 0, dies_at

    def sample(self, masks, *, seeds, steps=None):
        assert len(masks)
        if self.dies_at is not None and self.drawn >= self.dies_at:
            raise InterruptedError
        self.drawn += len(masks)
        return torch.stack([torch.full((1, tiny.SIDE, tiny.SIDE), float(s % 97)) for s in seeds])


@pytest.mark.parametrize("dies_at", [0, 2, 4, None])
def test_a_group_is_filled_once(tmp_path: Path, dies_at: int | None) -> None:
    whole, samples = Samples(tmp_path / "whole.h5"), Samples(tmp_path / "samples.h5")
    synthesise(Painter(), POOL.masks, whole, "synthetic", 0, 6)
    first, second = Painter(dies_at), Painter()
    if dies_at is None:
        synthesise(first, POOL.masks, samples, "synthetic", 0, 2)
    else:
        with pytest.raises(InterruptedError):
            synthesise(first, POOL.masks, samples, "synthetic", 0, 2)
    synthesise(second, POOL.masks, samples, "synthetic", 0, 2)
    assert first.drawn + second.drawn == len(POOL)
    for one, other in zip(samples.read("synthetic"), whole.read("synthetic"), strict=True):
        np.testing.assert_array_equal(one, other)
