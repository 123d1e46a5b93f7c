"""Paths from data to noise: t in [0, 1] -> (a, b) with x_t = a x0 + b eps; t = 0 is data, t = 1 is noise."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Pair(NamedTuple):
    """Coefficients, or values, of (x0, eps)."""

    x0: Tensor
    eps: Tensor


class Path(Protocol):
    """a and b in float64; `snap` moves a time to the nearest one at which the path is defined."""

    def __call__(self, t: Tensor) -> Pair: ...

    def snap(self, t: Tensor) -> Tensor: ...


class Curve(Path, Protocol):
    """A path with a derivative, as flow matching needs."""

    def velocity(self, t: Tensor) -> Pair: ...


class Chain:
    """The variance-preserving Markov chain of Ho et al. (2020), eq. 4: a_k^2 = prod_{j<=k} (1 - beta_j), a^2 + b^2 = 1.

    k = 1..steps sits at t = k / steps and k = 0 is the data itself. `schedule` says how beta grows from
    `first` to `last`: "linear" (DDPM) or "scaled" (linear in sqrt(beta), latent diffusion).
    """

    def __init__(
        self, steps: int, *, first: float = 1e-4, last: float = 0.02, schedule: str = "linear"
    ) -> None:
        power = {"linear": 1.0, "scaled": 0.5}.get(schedule)
        if power is None:
            raise ValueError(f"path.schedule is {schedule!r}: take linear or scaled")
        betas = torch.linspace(first**power, last**power, steps, dtype=torch.float64) ** (1 / power)
        kept = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
        self.steps = steps
        self.table = Pair(kept.sqrt(), (1 - kept).sqrt())

    def index(self, t: Tensor) -> Tensor:
        return (t.double() * self.steps).round().long().clamp(0, self.steps)

    def snap(self, t: Tensor) -> Tensor:
        """The chain's time nearest to t; k = 0 carries no noise and nothing to learn, so k >= 1."""
        return self.index(t).clamp(min=1).double() / self.steps

    def __call__(self, t: Tensor) -> Pair:
        k = self.index(t)
        return Pair(self.table.x0.to(k.device)[k], self.table.eps.to(k.device)[k])


class Cosine:
    """a = cos(w t), b = sin(w t) (Nichol and Dhariwal 2021, without offset), w a little below pi/2.

    The last 0.2 % of the arc is left out so that a(1) > 0 and the epsilon target can be inverted everywhere.
    """

    arc = math.pi / 2 * 0.998

    def snap(self, t: Tensor) -> Tensor:
        return t.double()

    def __call__(self, t: Tensor) -> Pair:
        angle = self.arc * t.double()
        return Pair(angle.cos(), angle.sin())

    def velocity(self, t: Tensor) -> Pair:
        angle = self.arc * t.double()
        return Pair(-self.arc * angle.sin(), self.arc * angle.cos())


class Linear:
    """a = 1 - t, b = t: the straight path of rectified flow (Liu et al. 2023) and flow matching (Lipman et al. 2023)."""

    def snap(self, t: Tensor) -> Tensor:
        return t.double()

    def __call__(self, t: Tensor) -> Pair:
        return Pair(1 - t.double(), t.double())

    def velocity(self, t: Tensor) -> Pair:
        one = torch.ones_like(t, dtype=torch.float64)
        return Pair(-one, one)
