"""Masks from a diffusion model in label space: the first stage of the study, with the same class as the second."""

from __future__ import annotations

import torch

from cmr_bench.models.diffusion import Diffusion
from cmr_bench.types import Masks, Seeds


class Learned:
    """Unconditional diffusion over one-hot label maps; row i is a function of (weights, seeds[i])."""

    def __init__(self, model: Diffusion, *, size: int, batch: int = 64) -> None:
        self.model, self.size, self.batch = model, size, batch

    def sample(self, *, seeds: Seeds) -> Masks:
        empty = torch.zeros(self.batch, 1, self.size, self.size, dtype=torch.int64)
        return torch.cat(
            [self.model.sample(empty[: len(part)], seeds=part) for part in seeds.split(self.batch)]
        )
