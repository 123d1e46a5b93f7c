from __future__ import annotations

import pytest
import tiny
import torch

from cmr_bench.networks.denoisers import Concat, Control, Frame, Spade, planes

MASKS = tiny.pool(2).masks
MAKE = {
    "concat": lambda channels, factor: Concat(channels, factor=factor, **tiny.NET),
    "spade": lambda channels, factor: Spade(channels, factor=factor, **tiny.NET, hidden=8),
    "control": lambda channels, factor: Control(channels, factor=factor, **tiny.NET),
}


def woken(net):
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return net.eval()


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_planes_lose_no_pixel_of_the_mask(factor):
    found = planes(MASKS, factor)
    side = tiny.SIDE // factor
    assert found.shape == (2, 4 * factor**2, side, side)
    assert torch.equal(torch.nn.functional.pixel_shuffle(found, factor), tiny.onehot(MASKS))


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize(("channels", "factor"), [(1, 1), (4, 1), (3, 2)])
def test_a_denoiser_answers_in_the_space_it_reads(kind, channels, factor):
    net = MAKE[kind](channels, factor)
    z = torch.randn(2, channels, tiny.SIDE // factor, tiny.SIDE // factor)
    with torch.no_grad():
        assert torch.equal(net(z, torch.rand(2), MASKS), torch.zeros_like(z)), "starts from zero"
        assert woken(net)(z, torch.rand(2), MASKS).shape == z.shape


@pytest.mark.parametrize("kind", MAKE)
def test_noise_time_and_mask_all_enter(kind):
    net = woken(MAKE[kind](1, 1))
    z, t = torch.randn(2, 1, tiny.SIDE, tiny.SIDE), torch.full((2,), 0.3)
    with torch.no_grad():
        first = net(z, t, MASKS)
        for other in (net(z + 0.5, t, MASKS), net(z, t + 0.5, MASKS), net(z, t, MASKS.roll(3, 2))):
            assert (other - first).abs().max() > 1e-5


def test_without_condition_the_mask_does_not_enter():
    net = woken(Concat(1, factor=1, **tiny.NET, masked=False))
    z, t = torch.randn(2, 1, tiny.SIDE, tiny.SIDE), torch.rand(2)
    with torch.no_grad():
        assert torch.equal(net(z, t, MASKS), net(z, t, torch.zeros_like(MASKS)))


@pytest.mark.parametrize("kind", MAKE)
def test_rows_of_a_batch_do_not_see_each_other(kind):
    net = woken(MAKE[kind](1, 1))
    z, t = torch.randn(2, 1, tiny.SIDE, tiny.SIDE), torch.rand(2)
    with torch.no_grad():
        whole, alone = net(z, t, MASKS), net(z[:1], t[:1], MASKS[:1])
    torch.testing.assert_close(alone, whole[:1], atol=1e-5, rtol=0)


def test_a_step_reaches_every_parameter_once_the_head_has_left_zero():
    for kind, make in MAKE.items():
        net = woken(make(1, 1)).train()
        z = torch.randn(2, 1, tiny.SIDE, tiny.SIDE)
        net(z, torch.rand(2), MASKS).square().mean().backward()
        idle = [name for name, p in net.named_parameters() if p.grad is None]
        assert not idle, f"{kind}: {idle}"


def test_the_frame_draws_no_checkerboard():
    """A constant input gives a constant image away from the edge, whatever the weights."""
    frame = woken(Frame(1, inputs=1, patch=2, inner=16, width=8))
    skip, _ = frame.down(torch.ones(1, 1, 16, 16))
    with torch.no_grad():
        image = frame.up(torch.ones(1, 8, 8, 8), skip)[..., 4:-4, 4:-4]
    assert image.std() < 1e-5
