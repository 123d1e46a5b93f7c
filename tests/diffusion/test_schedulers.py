"""The same numbers as the schedulers of MONAI and diffusers."""

from __future__ import annotations

from itertools import pairwise

import diffusers
import pytest
import torch
from monai.networks.schedulers.ddim import DDIMScheduler
from monai.networks.schedulers.ddpm import DDPMScheduler
from monai.networks.schedulers.rectified_flow import RFlowScheduler

from cmr_bench.diffusion.paths import Chain, Linear, Pair
from cmr_bench.diffusion.samplers import Ancestral, Multistep, grid
from cmr_bench.diffusion.targets import Epsilon, Flow, Sample, V, solve

STEPS = 1000
TARGETS = {"epsilon": Epsilon(), "sample": Sample(), "v_prediction": V()}
SHAPE = (2, 1, 4, 4)
CLOSE = {"atol": 1e-9, "rtol": 1e-9}


def normal(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def theirs(scheduler):
    """The scheduler on our float64 table: theirs is the same one in float32, which hides small faults."""
    kept = Chain(STEPS).table.x0 ** 2
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), kept[1:], rtol=2e-5, atol=0)
    scheduler.alphas_cumprod = kept[1:]
    scheduler.alphas = kept[1:] / kept[:-1]
    scheduler.betas = 1 - scheduler.alphas
    return scheduler


def ours(target, k, to, x, y, eta, *, clip, draw):
    """One step of the chain from k to `to` given the network's answer y at x."""
    path = Chain(STEPS)
    t, s = torch.tensor(k / STEPS), torch.tensor(to / STEPS)
    at = path(t)
    x0, eps = solve(target(path, t), at, x, y)
    if clip:
        x0 = x0.clamp(-1, 1)
        eps = (x - at.x0 * x0) / at.eps
    return Ancestral(eta).step(at, path(s), Pair(x0, eps), draw)


@pytest.mark.parametrize("library", ["monai", "diffusers"])
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("clip", [False, True])
def test_eta_one_is_ddpm(library, kind, clip):
    if library == "monai":
        scheduler = DDPMScheduler(
            STEPS, prediction_type=kind, clip_sample=clip, beta_start=1e-4, beta_end=0.02
        )
    else:
        scheduler = diffusers.DDPMScheduler(STEPS, prediction_type=kind, clip_sample=clip)
    theirs(scheduler)
    for k in (1000, 999, 500, 2, 1):
        x, y = normal(k), normal(k + 1)
        answer = scheduler.step(y, k - 1, x, generator=torch.Generator().manual_seed(7))[0]
        mine = ours(TARGETS[kind], k, k - 1, x, y, 1, clip=clip, draw=lambda: normal(7))
        torch.testing.assert_close(mine, answer, **CLOSE)


@pytest.mark.parametrize(
    ("library", "clip"), [("monai", False), ("diffusers", False), ("diffusers", True)]
)
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_any_eta_is_ddim(library, kind, eta, clip):
    """With clipping we keep (x0, eps) consistent with x_t, as diffusers does on request; MONAI keeps the noise."""
    if library == "monai":
        scheduler = DDIMScheduler(
            STEPS, prediction_type=kind, clip_sample=False, beta_start=1e-4, beta_end=0.02
        )
        options = {}
    else:
        scheduler = diffusers.DDIMScheduler(STEPS, prediction_type=kind, clip_sample=clip)
        options = {"use_clipped_model_output": clip}
    theirs(scheduler).set_timesteps(20)
    for there in scheduler.timesteps.tolist():
        k, to = there + 1, max(there + 1 - STEPS // 20, 0)
        x, y = normal(k), normal(k + 1)
        rng = torch.Generator().manual_seed(7)
        answer = scheduler.step(y, there, x, eta=eta, generator=rng, **options)[0]
        mine = ours(TARGETS[kind], k, to, x, y, eta, clip=clip, draw=lambda: normal(7))
        torch.testing.assert_close(mine, answer, **CLOSE)


def straight(x, t):
    """Some velocity field, as (x0, eps) of the linear path."""
    return solve(Flow()(Linear(), t), Linear()(t), x, (x + t).sin())


def walked():
    """Our Euler walk: eta = 0 on the linear path."""
    return Ancestral(0)(straight, normal(0), Linear(), grid(Linear(), 10), lambda i: normal(i))


def test_eta_zero_on_the_linear_path_is_monais_rectified_flow():
    scheduler = RFlowScheduler(STEPS, use_discrete_timesteps=True)
    scheduler.set_timesteps(10)
    x = normal(0)
    for t, s in pairwise([*scheduler.timesteps.tolist(), 0]):
        velocity = -(x + t / STEPS).sin()  # MONAI's points to the data
        x = scheduler.step(velocity, t, x, s)[0]
    torch.testing.assert_close(walked(), x, **CLOSE)


def test_eta_zero_on_the_linear_path_is_diffusers_flow_matching():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(STEPS)
    scheduler.set_timesteps(sigmas=[1 - i / 10 for i in range(10)])
    x = normal(0)
    for t in scheduler.timesteps:
        x = scheduler.step((x + t / STEPS).sin(), t, x)[0].double()
    torch.testing.assert_close(walked(), x, atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("steps", [5, 12, 25])
def test_multistep_is_dpm_solver(kind, steps):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        STEPS,
        prediction_type=kind,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(steps)
    path, target = Chain(STEPS), TARGETS[kind]

    def predict(x, t):
        return solve(target(path, t), path(t), x, (3 * x).sin())

    x = normal(0)
    for t in scheduler.timesteps:
        x = scheduler.step((3 * x).sin(), t, x)[0].double()
    times = torch.tensor([*((k + 1) / STEPS for k in scheduler.timesteps.tolist()), 0.0])
    mine = Multistep()(predict, normal(0), path, times.double(), lambda i: normal(i))
    torch.testing.assert_close(mine, x, atol=2e-4, rtol=2e-4)
