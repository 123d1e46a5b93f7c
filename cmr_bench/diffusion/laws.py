"""How often each time is trained: laws of t that turn a uniform draw into a time."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Law(Protocol):
    def __call__(self, u: Tensor) -> Tensor: ...


class Uniform:
    """t ~ U(0, 1)."""

    def __call__(self, u: Tensor) -> Tensor:
        return u


class LogitNormal:
    """logit(t) ~ N(mean, sd): more steps in the middle of the path (Esser et al. 2024, section 3.1)."""

    def __init__(self, mean: float, sd: float) -> None:
        self.mean, self.sd = mean, sd

    def __call__(self, u: Tensor) -> Tensor:
        tiny = 1e-6
        normal = 2**0.5 * (2 * u.double().clamp(tiny, 1 - tiny) - 1).erfinv()
        return (self.mean + self.sd * normal).sigmoid()
