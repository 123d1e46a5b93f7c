"""What the network predicts: y = p x0 + q eps. A target is its pair of coefficients and nothing else."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from cmr_bench.diffusion.paths import Pair, Path


class Target(Protocol):
    def __call__(self, path: Path, t: Tensor) -> Pair: ...


class Epsilon:
    """y = eps (Ho et al. 2020, eq. 14)."""

    def __call__(self, path: Path, t: Tensor) -> Pair:
        a, b = path(t)
        return Pair(torch.zeros_like(a), torch.ones_like(b))


class Sample:
    """y = x0."""

    def __call__(self, path: Path, t: Tensor) -> Pair:
        a, b = path(t)
        return Pair(torch.ones_like(a), torch.zeros_like(b))


class V:
    """y = a eps - b x0 (Salimans and Ho 2022)."""

    def __call__(self, path: Path, t: Tensor) -> Pair:
        a, b = path(t)
        return Pair(-b, a)


class Flow:
    """y = a' x0 + b' eps, the velocity of the path (Lipman et al. 2023); eps - x0 on the straight one."""

    def __call__(self, path: Path, t: Tensor) -> Pair:
        velocity = getattr(path, "velocity", None)
        if velocity is None:
            raise ValueError(
                f"model.target=flow needs a path with a velocity and {type(path).__name__} is a "
                "discrete chain: take model/path=linear or cosine, or model/target=v"
            )
        return velocity(t)


def mix(at: Pair, x0: Tensor, eps: Tensor) -> Tensor:
    """a x0 + b eps, the coefficients (B,) or scalar broadcast over the trailing axes, in the dtype of x0."""
    a, b = spread(at, x0)
    return a * x0 + b * eps


def solve(of: Pair, at: Pair, x: Tensor, y: Tensor) -> Pair:
    """(x0, eps) from x = a x0 + b eps and y = p x0 + q eps by Cramer's rule, det = a q - b p."""
    (a, b), (p, q) = spread(at, x), spread(of, x)
    det = a * q - b * p
    return Pair((q * x - b * y) / det, (a * y - p * x) / det)


def spread(pair: Pair, like: Tensor) -> Pair:
    """Coefficients (B,) reshaped to (B, 1, ...) beside a batch, cast once to its dtype."""
    shape = (-1, *[1] * (like.ndim - 1))
    return Pair(*(c.to(like).reshape(shape) if c.ndim else c.to(like) for c in pair))
