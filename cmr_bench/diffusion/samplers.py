"""Samplers walk from t = 1 to t = 0 on a grid of times, asking only for (x0, eps) at the point where they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from cmr_bench.diffusion.paths import Pair, Path

Predict = Callable[[Tensor, Tensor], Pair]
Draw = Callable[[int], Tensor]


class Sampler(Protocol):
    """`predict(x, t)` gives (x0, eps) of the whole batch at the scalar time t; `draw(i)` the noise of step i."""

    def nfe(self, steps: int) -> int: ...

    def __call__(
        self, predict: Predict, x: Tensor, path: Path, times: Tensor, draw: Draw
    ) -> Tensor: ...


def grid(path: Path, steps: int) -> Tensor:
    """(steps + 1,) evenly spread times from 1 to 0, on the path.

    Raises:
        ValueError: for less than one step, or more than the path has.
    """
    if steps < 1:
        raise ValueError(f"model.steps={steps}: at least 1 is needed")
    times = path.snap(torch.linspace(1, 0, steps + 1, dtype=torch.float64))
    times[-1] = 0
    if (times.diff() >= 0).any():
        raise ValueError(f"model.steps={steps} asks for more steps than the path has")
    return times


class Ancestral:
    """x_s = a_s x0 + sqrt(b_s^2 - c^2) eps + c z,  c = eta (b_s/b_t) sqrt(b_t^2 - (a_t/a_s)^2 b_s^2).

    Song et al. (2021), eq. 12 and 16, for any a and b. eta = 1 is DDPM's posterior, eta = 0 is DDIM, and eta = 0
    on the linear path is Euler's method on the flow.
    """

    def __init__(self, eta: float) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"model.sampler.eta is {eta}: take a number from 0 to 1")
        self.eta = eta

    def nfe(self, steps: int) -> int:
        return steps

    def step(self, at: Pair, to: Pair, value: Pair, draw: Callable[[], Tensor]) -> Tensor:
        (a_t, b_t), (a_s, b_s), (x0, eps) = at, to, value
        spare = (b_t**2 - (a_t / a_s) ** 2 * b_s**2).clamp(min=0).sqrt()
        c = self.eta * b_s / b_t * spare
        x = a_s.to(x0) * x0 + (b_s**2 - c**2).clamp(min=0).sqrt().to(x0) * eps
        return x + c.to(x0) * draw() if c > 0 else x

    def __call__(
        self, predict: Predict, x: Tensor, path: Path, times: Tensor, draw: Draw
    ) -> Tensor:
        for i, (t, s) in enumerate(pairwise(times)):
            x = self.step(path(t), path(s), predict(x, t), partial(draw, i))
        return x


class Heun:
    """Trapezoid rule on dx = x0 da + eps db, second order on every path; the last step, to t = 0, is Euler's.

    On the linear path this is Heun's method on the flow; compare Karras et al. (2022), algorithm 1.
    """

    def nfe(self, steps: int) -> int:
        return 2 * steps - 1

    def __call__(
        self, predict: Predict, x: Tensor, path: Path, times: Tensor, draw: Draw
    ) -> Tensor:
        for t, s in pairwise(times):
            (a_t, b_t), (a_s, b_s) = path(t), path(s)
            da, db = (a_s - a_t).to(x), (b_s - b_t).to(x)
            x0, eps = predict(x, t)
            euler = x + da * x0 + db * eps
            if s > 0:
                x0_s, eps_s = predict(euler, s)
                x = x + da * (x0 + x0_s) / 2 + db * (eps + eps_s) / 2
            else:
                x = euler
        return x


class Multistep:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2): one network call a step, second order.

    x_s = (b_s/b_t) x_t + a_s (1 - e^-h) D, h = log(a_s b_t / (a_t b_s)), D = x0 + h/(2 h_last) (x0 - x0_last).
    The first step and the last one, to t = 0, are first order.
    """

    def nfe(self, steps: int) -> int:
        return steps

    def __call__(
        self, predict: Predict, x: Tensor, path: Path, times: Tensor, draw: Draw
    ) -> Tensor:
        last: tuple[Tensor, Tensor] | None = None
        for t, s in pairwise(times):
            (a_t, b_t), (a_s, b_s) = path(t), path(s)
            x0 = predict(x, t).x0
            decay = a_t * b_s / (b_t * a_s)
            h = -decay.log()
            d = x0
            if last is not None and s > 0 and torch.isfinite(last[1]):
                d = x0 + (h / (2 * last[1])).to(x) * (x0 - last[0])
            x = (b_s / b_t).to(x) * x + (a_s * (1 - decay)).to(x) * d
            last = (x0, h)
        return x
