from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmr_bench.diffusion.paths import Chain, Cosine, Linear, Pair
from cmr_bench.diffusion.targets import Epsilon, Flow, Sample, V, mix, solve

POINTS = [
    (path, target)
    for path in (Chain(1000), Chain(1000, schedule="scaled"), Cosine(), Linear())
    for target in (Epsilon(), Sample(), V(), Flow())
    if not (isinstance(path, Chain) and isinstance(target, Flow))
]


@pytest.mark.parametrize(("path", "target"), POINTS)
@given(
    times=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=4),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=25, deadline=None)
def test_solve_inverts_mix(path, target, times, scale, seed):
    rng = torch.Generator().manual_seed(seed)
    x0, eps = scale * torch.randn(2, len(times), 1, 3, 2, generator=rng, dtype=torch.float64)
    t = path.snap(torch.tensor(times))
    at, of = path(t), target(path, t)
    found = solve(of, at, mix(at, x0, eps), mix(of, x0, eps))
    torch.testing.assert_close(found, Pair(x0, eps), atol=1e-9 * scale, rtol=1e-9)


@pytest.mark.parametrize(("path", "target"), POINTS)
def test_scalar_times_agree_with_a_batch_of_them(path, target):
    x0, eps = torch.randn(2, 3, 1, 4, 4)
    t = path.snap(torch.tensor(0.37))
    one, many = mix(target(path, t), x0, eps), mix(target(path, t.expand(3)), x0, eps)
    assert torch.equal(one, many)


def test_flow_on_the_straight_path_is_noise_minus_data():
    x0, eps = torch.randn(2, 3, 1, 4, 4)
    torch.testing.assert_close(mix(Flow()(Linear(), torch.rand(3)), x0, eps), eps - x0)


def test_v_is_flow_on_the_circle():
    """On a = cos(wt), b = sin(wt) the velocity is w (a eps - b x0)."""
    t = torch.rand(5)
    v, flow = V()(Cosine(), t), Flow()(Cosine(), t)
    torch.testing.assert_close(flow, Pair(Cosine.arc * v.x0, Cosine.arc * v.eps))


def test_flow_on_a_chain_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"Chain.*model/path=linear or cosine, or model/target=v"):
        Flow()(Chain(10), torch.ones(1))


def test_coefficients_are_cast_once_to_the_batch():
    x0, eps = torch.randn(2, 3, 1, 4, 4)
    at = Chain(1000)(torch.rand(3))
    assert mix(at, x0, eps).dtype == torch.float32
    want = (
        at.x0.reshape(-1, 1, 1, 1) * x0.double() + at.eps.reshape(-1, 1, 1, 1) * eps.double()
    ).float()
    torch.testing.assert_close(mix(at, x0, eps), want, atol=3e-7, rtol=3e-7)
