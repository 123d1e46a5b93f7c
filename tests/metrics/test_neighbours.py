"""The search is that of float64 brute force, whatever float32 makes of near-equal distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmr_bench.metrics.privacy import neighbours as module
from cmr_bench.metrics.privacy.neighbours import nearest, neighbours, other_subject


def cloud(n, d, seed, *, offset=0.0, spread=1.0):
    draw = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return offset + spread * draw


@pytest.mark.parametrize(("offset", "spread"), [(0.0, 1.0), (-0.6, 0.01), (100.0, 0.001)])
def test_rows_are_those_of_brute_force_in_float64(offset, spread, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 5000)
    monkeypatch.setattr(module, "PAIRS", 3000)
    queries = cloud(150, 256, 0, offset=offset, spread=spread)
    gallery = cloud(300, 256, 1, offset=offset, spread=spread)
    exact = torch.cdist(queries.double(), gallery.double(), compute_mode="donot_use_mm_for_euclid_dist")  # fmt: skip
    assert (nearest(queries, gallery)[1] == exact.argmin(1)).all()
    found = neighbours(queries, gallery, np.arange(300) // 5)
    torch.testing.assert_close(found.first, exact.amin(1), rtol=1e-12, atol=0)


def test_rows_closer_than_float32_can_tell_are_told_apart():
    """Two rows 1e-7 apart at a distance of 100: the product of matrices alone takes the wrong one."""
    gallery = torch.full((2, 64), 12.5, dtype=torch.float64)
    gallery[1, 0] -= 1e-7
    gallery = torch.cat([gallery, torch.zeros(5, 64, dtype=torch.float64) - 30])
    assert nearest(torch.zeros(3, 64, dtype=torch.float64), gallery)[1].tolist() == [1, 1, 1]


def test_bounds_hold_and_one_far_row_does_not_widen_those_of_others():
    queries, gallery = cloud(200, 64, 0), cloud(200, 64, 1)
    gallery[0] *= 1000
    (block,) = module._blocks(queries, gallery)
    q, g = ((x - gallery.mean(0)).double() for x in (queries, gallery))
    true = g.square().sum(1) - 2 * q @ g.T
    assert (block.least <= true).all()
    assert (true - block.least)[:, 1:].max() < 0.1 < (true - block.least)[:, 0].min()
    exact = torch.cdist(queries.double(), gallery.double(), compute_mode="donot_use_mm_for_euclid_dist")  # fmt: skip
    assert (nearest(queries, gallery)[1] == exact.argmin(1)).all()


def test_of_equals_the_first_row_is_taken():
    gallery = cloud(4, 8, 0)[[3, 1, 1, 3, 0]]
    assert nearest(gallery, gallery)[1].tolist() == [0, 1, 1, 0, 4]


def test_one_subject_has_no_other():
    assert other_subject(cloud(5, 3, 0), ["a"] * 5).isinf().all()
