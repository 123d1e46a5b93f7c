from __future__ import annotations

import pytest
import torch

from cmr_bench.diffusion.paths import Chain, Cosine, Linear

CHAINS = [Chain(1000), Chain(1000, schedule="scaled", first=0.0015, last=0.0195), Chain(7)]
CURVES = [Cosine(), Linear()]
PATHS = [*CHAINS, *CURVES]


@pytest.mark.parametrize("path", PATHS)
def test_paths_start_at_the_data(path):
    a, b = path(torch.zeros(1))
    torch.testing.assert_close((a, b), (torch.ones_like(a), torch.zeros_like(b)))


@pytest.mark.parametrize("path", PATHS)
def test_signal_falls_and_noise_grows(path):
    a, b = path(path.snap(torch.linspace(0.2, 1, 5)))
    assert (a.diff() < 0).all() and (b.diff() > 0).all()
    assert a.dtype == b.dtype == torch.float64


@pytest.mark.parametrize("path", [CHAINS[0], CHAINS[1], Cosine(), Linear()])
def test_paths_end_in_noise(path):
    a, b = path(torch.ones(1))
    assert 0 <= a < 0.08 and 0.99 < b <= 1


@pytest.mark.parametrize("path", [*CHAINS, Cosine()])
def test_variance_is_preserved(path):
    a, b = path(torch.rand(100))
    torch.testing.assert_close(a**2 + b**2, torch.ones(100, dtype=torch.float64))


@pytest.mark.parametrize("path", CURVES)
def test_velocity_is_the_derivative(path):
    t, h = torch.linspace(0.05, 0.95, 19, dtype=torch.float64), 1e-5
    ahead, behind, velocity = path(t + h), path(t - h), path.velocity(t)
    for k in range(2):
        torch.testing.assert_close((ahead[k] - behind[k]) / (2 * h), velocity[k], atol=1e-8, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [7, 333, 1000, 4000])
def test_every_step_of_the_chain_has_its_time(steps, dtype):
    k = torch.arange(1, steps + 1)
    chain = Chain(steps)
    assert torch.equal(chain.index(k.to(dtype) / steps), k)
    assert torch.equal(chain.index(chain.snap(k.to(dtype) / steps)), k)


def test_training_never_sees_a_time_without_noise():
    chain = Chain(10)
    assert chain.snap(torch.zeros(1)).item() == 0.1
    assert chain(chain.snap(torch.zeros(1))).eps.item() > 0


def test_chain_is_the_product_of_its_steps():
    chain = Chain(3, first=0.1, last=0.3)
    kept = torch.tensor([1.0, 0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7], dtype=torch.float64)
    a, b = chain(torch.arange(4) / 3)
    torch.testing.assert_close((a**2, b**2), (kept, 1 - kept))


def test_scaled_chain_is_linear_in_the_root():
    kept = Chain(3, first=0.01, last=0.09, schedule="scaled").table.x0 ** 2
    betas = 1 - kept[1:] / kept[:-1]
    torch.testing.assert_close(betas, torch.tensor([0.01, 0.04, 0.09], dtype=torch.float64))


def test_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match=r"path\.schedule is 'cubic'"):
        Chain(10, schedule="cubic")
