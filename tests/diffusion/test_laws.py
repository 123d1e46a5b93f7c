from __future__ import annotations

import pytest
import torch

from cmr_bench.diffusion.laws import LogitNormal, Uniform


def test_uniform_is_the_draw_itself():
    u = torch.rand(10)
    assert torch.equal(Uniform()(u), u)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (-0.5, 0.7), (1.0, 2.0)])
def test_logit_of_the_time_is_normal(mean, sd):
    """Quantile by quantile: logit(t(u)) = mean + sd Phi^-1(u)."""
    u = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    want = torch.distributions.Normal(mean, sd).icdf(u)
    torch.testing.assert_close(LogitNormal(mean, sd)(u).logit(), want, atol=1e-6, rtol=1e-6)


def test_logit_normal_stays_inside_and_grows():
    t = LogitNormal(0.0, 1.0)(torch.linspace(0, 1, 101))
    assert t.min() > 0 and t.max() < 1 and (t.diff() > 0).all()
