"""Masks of real subjects that the generator never saw."""

from __future__ import annotations

import torch

from cmr_bench.seeds import torch_rng
from cmr_bench.types import Masks, Pool, Seeds


class Real:
    """Draws masks of the held-out pool, with replacement: row i is a function of seeds[i]."""

    pool = "val"

    def __init__(self, *, pool: Pool) -> None:
        self.masks = pool.masks

    def sample(self, *, seeds: Seeds) -> Masks:
        rows = [
            int(torch.randint(len(self.masks), (), generator=torch_rng(int(s), "real")))
            for s in seeds
        ]
        return self.masks[rows]
