"""Randomness as a function of integers: the same parts give the same draw, whatever was drawn before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def mix(*parts: int | str) -> int:
    """One 63-bit seed out of several parts, for example (run seed, "noise", step)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def torch_rng(*parts: int | str) -> torch.Generator:
    return torch.Generator().manual_seed(mix(*parts))


def numpy_rng(*parts: int | str) -> np.random.Generator:
    return np.random.default_rng(mix(*parts))


def row_noise(seeds: Iterable[int] | Tensor, shape: Iterable[int], *salt: int | str) -> Tensor:
    """(len(seeds), *shape) standard normal draws; row i depends on seeds[i] and the salt alone."""
    size = tuple(shape)
    return torch.stack([torch.randn(size, generator=torch_rng(int(s), *salt)) for s in seeds])
