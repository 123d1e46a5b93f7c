from __future__ import annotations

import math

import pytest
import torch

from cmr_bench.diffusion.paths import Chain, Cosine, Linear, Pair
from cmr_bench.diffusion.samplers import Ancestral, Heun, Multistep, grid

PATHS = [Chain(1000), Chain(1000, schedule="scaled"), Cosine(), Linear()]
SAMPLERS = [Ancestral(0), Ancestral(0.5), Ancestral(1), Heun(), Multistep()]
MEAN, SD = 0.3, 0.5


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ideal(path):
    """E[x0 | x_t] and the noise that goes with it, for data N(MEAN, SD^2)."""

    def predict(x, t):
        a, b = path(t)
        x0 = MEAN + a * SD**2 / (a**2 * SD**2 + b**2) * (x - a * MEAN)
        return Pair(x0, (x - a * x0) / b)

    return predict


def flowed(path, x, start, end):
    """Where the probability flow takes x between two times, in closed form for Gaussian data."""
    (a_t, b_t), (a_s, b_s) = path(torch.tensor(start)), path(torch.tensor(end))
    shrink = ((a_s**2 * SD**2 + b_s**2) / (a_t**2 * SD**2 + b_t**2)).sqrt()
    return a_s * MEAN + shrink * (x - a_t * MEAN)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("steps", [1, 2, 13, 30])
def test_grid_walks_from_noise_to_data(path, steps):
    times = grid(path, steps)
    assert len(times) == steps + 1 and times[0] == 1 and times[-1] == 0
    assert (times.diff() < 0).all()
    assert torch.equal(path.snap(times[:-1]), times[:-1])


def test_grid_refuses_more_steps_than_the_chain_has():
    assert len(grid(Chain(10), 10)) == 11
    with pytest.raises(ValueError, match=r"model\.steps=11 asks for more steps"):
        grid(Chain(10), 11)


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_eta_outside_its_range_is_refused(eta):
    with pytest.raises(ValueError, match=r"model\.sampler\.eta is"):
        Ancestral(eta)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("eta", [0, 0.5, 1])
def test_a_step_lands_on_the_marginal(path, eta):
    """Given x0 and N(0, 1) noise, x_s has mean a_s x0 and standard deviation b_s, for every eta."""
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for t, s in [(1.0, 0.7), (0.8, 0.75), (0.5, 0.1), (0.2, 0.0)]:
        at, to = path(torch.tensor(t)), path(torch.tensor(s))
        step = Ancestral(eta).step
        mean = step(at, to, Pair(one, zero), lambda: zero)
        kept = step(at, to, Pair(zero, one), lambda: zero)
        fresh = step(at, to, Pair(zero, zero), lambda: one)
        torch.testing.assert_close(mean, to.x0.expand(1))
        torch.testing.assert_close((kept**2 + fresh**2).sqrt(), to.eps.expand(1))
        assert (fresh > 0) == (eta > 0 and s > 0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_perfect_predictor_is_recovered_from_any_noise(path, sampler):
    """A predictor that knows x0 leads there, whatever the noise on the way."""
    x0 = normal(0, 4, 1, 3, 3)

    def predict(x, t):
        a, b = path(t)
        return Pair(x0, (x - a * x0) / b)

    found = sampler(
        predict, normal(1, *x0.shape), path, grid(path, 7), lambda i: normal(i, *x0.shape)
    )
    torch.testing.assert_close(found, x0, atol=1e-8, rtol=0)


def orders(path, sampler, times):
    """log2 of how much the error falls each time the number of steps doubles; `times` maps it to a grid."""
    x, errors = normal(0, 64), []
    for steps in (80, 160, 320):
        walk = times(steps)
        end = sampler(ideal(path), x, path, walk, lambda i: x)
        want = flowed(path, x, walk[0].item(), walk[-1].item())
        errors.append((end - want).abs().max().item())
    return [math.log2(errors[i] / errors[i + 1]) for i in range(2)]


@pytest.mark.parametrize("path", [Cosine(), Linear()])
@pytest.mark.parametrize(("sampler", "order"), [(Ancestral(0), 1), (Heun(), 2), (Multistep(), 2)])
def test_order_of_convergence(path, sampler, order):
    """Halving the step divides the error by 2^order in the interior of the path."""
    found = orders(path, sampler, lambda n: torch.linspace(0.9, 0.1, n + 1, dtype=torch.float64))
    assert found == pytest.approx([order, order], abs=0.15)


@pytest.mark.parametrize("path", [Cosine(), Linear()])
@pytest.mark.parametrize(
    ("sampler", "order"), [(Ancestral(0), 0.9), (Heun(), 1.9), (Multistep(), 1.4)]
)
def test_order_holds_to_the_ends(path, sampler, order):
    """The multistep solver loses a logarithm at the ends, where log(a/b) is infinite."""
    assert min(orders(path, sampler, lambda n: grid(path, n))) > order


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gaussian_data_come_out_gaussian(path, sampler):
    x = normal(0, 10_000)
    end = sampler(ideal(path), x, path, grid(path, 500), lambda i: normal(i + 1, 10_000))
    assert end.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert end.std().item() == pytest.approx(SD, rel=0.03)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nfe_counts_the_calls_of_the_network(sampler):
    calls = []

    def predict(x, t):
        calls.append(t)
        return ideal(Linear())(x, t)

    sampler(predict, normal(0, 3), Linear(), grid(Linear(), 9), lambda i: normal(i, 3))
    assert len(calls) == sampler.nfe(9)


def test_multistep_of_one_step_is_the_prediction():
    x = normal(0, 5)
    end = Multistep()(ideal(Linear()), x, Linear(), grid(Linear(), 1), lambda i: x)
    torch.testing.assert_close(end, torch.full_like(x, MEAN))
