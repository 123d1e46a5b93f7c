"""Pools cut to one size, for metrics whose value depends on the number of images."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.types import Pool


def equal_rows(evidence: Evidence, *names: str) -> dict[str, Tensor]:
    """As many rows of each pool as the smallest has.

    Rows are drawn in the order of a hash of their image, so the choice is random in what the images
    show and the same however the pool is sorted.
    """
    n = min(len(evidence.pools[name]) for name in names)
    return {name: _drawn(evidence.pools[name], n, evidence.seed) for name in names}


def _drawn(pool: Pool, n: int, seed: int) -> Tensor:
    salt = str(seed).encode()
    keys = [hashlib.blake2b(image.numpy().tobytes(), key=salt).digest() for image in pool.images]
    return torch.tensor(sorted(range(len(keys)), key=keys.__getitem__)[:n], dtype=torch.long)
