from __future__ import annotations

from functools import partial

import pytest
import tiny
import torch
from torch import nn

from cmr_bench.data.batches import Augment
from cmr_bench.diffusion.paths import Chain, Cosine, Linear
from cmr_bench.diffusion.samplers import Ancestral, Heun, Multistep
from cmr_bench.diffusion.targets import Epsilon, Flow, Sample, V
from cmr_bench.networks.denoisers import Concat, Control, Spade
from cmr_bench.spaces import Labels
from cmr_bench.types import HasLosses, HasPredict, MaskToImage

POOL = tiny.pool()
SEEDS = torch.arange(len(POOL))
DENOISERS = {
    "concat": partial(Concat, **tiny.NET),
    "unmasked": partial(Concat, **tiny.NET, masked=False),
    "spade": partial(Spade, **tiny.NET, hidden=8),
    "control": partial(Control, **tiny.NET),
}
SAMPLERS = [Ancestral(1.0), Ancestral(0.0), Heun(), Multistep()]


class Zero(nn.Module):
    """Predicts nothing."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, z, t, masks):
        return self.weight * z


@pytest.fixture(params=tiny.FAMILIES)
def model(request):
    return tiny.awake(tiny.FAMILIES[request.param]())


def test_a_family_answers_what_the_benchmark_asks(model):
    assert isinstance(model, MaskToImage)
    assert isinstance(model, HasLosses)
    assert isinstance(model, HasPredict)


def test_a_sample_is_a_function_of_weights_mask_and_seed(model):
    whole = model.sample(POOL.masks, seeds=SEEDS)
    turned = model.sample(POOL.masks.flip(0), seeds=SEEDS.flip(0)).flip(0)
    alone = torch.cat(
        [model.sample(POOL.masks[i : i + 1], seeds=SEEDS[i : i + 1]) for i in range(3)]
    )
    torch.testing.assert_close(turned, whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(alone, whole[:3], atol=1e-4, rtol=0)


def test_seed_and_mask_both_matter(model):
    masks = POOL.masks[:1]
    one, other = (model.sample(masks, seeds=torch.tensor([seed])) for seed in (1, 2))
    elsewhere = model.sample(torch.zeros_like(masks), seeds=torch.tensor([1]))
    assert (one - other).abs().max() > 1e-2
    assert (one - elsewhere).abs().max() > 1e-4


def test_a_sample_does_not_hang_on_global_randomness(model):
    torch.manual_seed(1)
    one = model.sample(POOL.masks, seeds=SEEDS)
    torch.manual_seed(2)
    assert torch.equal(model.sample(POOL.masks, seeds=SEEDS), one)


def test_steps_can_be_asked_for(model):
    assert not torch.equal(
        model.sample(POOL.masks, seeds=SEEDS, steps=2),
        model.sample(POOL.masks, seeds=SEEDS, steps=9),
    )


def test_the_seed_of_a_run_decides_the_first_weights():
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in tiny.ddpm(seed=seed).parameters()])

    torch.manual_seed(5)
    one = weights(3)
    torch.manual_seed(6)
    assert torch.equal(weights(3), one)
    assert not torch.equal(weights(4), one)


@pytest.mark.parametrize(
    ("path", "target"),
    [(Chain(1000), Epsilon()), (Chain(1000), V()), (Linear(), Flow()), (Linear(), Sample())],
)
def test_losses_of_a_silent_network_are_the_spread_of_the_target(path, target):
    """For x0 ~ N(0, s^2): E y^2 = p^2 s^2 + q^2."""
    model = tiny.fm(path=path, target=target, denoiser=Zero)
    times, s = [0.05, 0.3, 0.9], 0.5
    images = s * torch.randn(400, *POOL.images.shape[1:])
    masks = torch.zeros_like(images).long()
    found = model.losses(images, masks, times=times, seeds=torch.arange(400))
    p, q = target(path, path.snap(torch.tensor(times)))
    assert found.shape == (400, 3)
    want = p**2 * s**2 + q**2
    torch.testing.assert_close(found.mean(0).double(), want, atol=0, rtol=0.02)


def test_losses_of_equal_seeds_share_their_noise(model):
    images, masks = POOL.images[:1].expand(3, -1, -1, -1), POOL.masks[:1].expand(3, -1, -1, -1)
    same = model.losses(images, masks, times=[0.3, 0.7], seeds=torch.tensor([5, 5, 6]))
    torch.testing.assert_close(same[0], same[1], atol=1e-5, rtol=1e-5)
    assert (same[0] / same[2] - 1).abs().min() > 1e-4


def test_losses_do_not_hang_on_the_batch_or_the_other_times(model):
    whole = model.losses(POOL.images, POOL.masks, times=[0.2, 0.5, 0.8], seeds=SEEDS)
    part = model.losses(POOL.images[2:3], POOL.masks[2:3], times=[0.5], seeds=SEEDS[2:3])
    torch.testing.assert_close(part[0, 0], whole[2, 1], atol=1e-5, rtol=1e-4)


def test_prediction_takes_the_noisy_image_apart(model):
    z = model.space.encode(POOL.images)
    t = model.path.snap(torch.full((len(z),), 0.6))
    with torch.no_grad():
        x0, eps = model.predict(z, t, POOL.masks)
    a, b = (c.float().reshape(-1, 1, 1, 1) for c in model.path(t))
    torch.testing.assert_close(a * x0 + b * eps, z, atol=1e-4, rtol=1e-4)
    if model.space.clip is not None:
        assert x0.abs().max() <= 1


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_mixed_precision_never_touches_the_coefficients(precision):
    model = tiny.ddpm(denoiser=Zero)
    t = model.path.snap(torch.linspace(0.01, 1, len(POOL)))
    eps = torch.randn(POOL.images.shape)
    z, _ = model.corrupt(POOL.images, t, eps)
    plain = model.predict(z, t, POOL.masks)
    with torch.autocast("cpu", precision):
        mixed_z, mixed_y = model.corrupt(POOL.images, t, eps)
        mixed = model.predict(z, t, POOL.masks)
    assert mixed_z.dtype == mixed_y.dtype == mixed[0].dtype == torch.float32
    torch.testing.assert_close((mixed_z, *mixed), (z, *plain), atol=0, rtol=0)


def test_samples_in_lower_precision_are_the_same_images():
    model, seeds = tiny.awake(tiny.fm()), torch.arange(4)
    plain = model.sample(POOL.masks[:4], seeds=seeds)
    model.precision = torch.bfloat16
    mixed = model.sample(POOL.masks[:4], seeds=seeds)
    assert mixed.dtype == torch.float32 and not torch.equal(mixed, plain)
    torch.testing.assert_close(mixed, plain, atol=0.05, rtol=0)
    alone = model.sample(POOL.masks[1:2], seeds=seeds[1:2])
    torch.testing.assert_close(alone, mixed[1:2], atol=0.02, rtol=0)


@pytest.mark.parametrize("path", [Linear(), Chain(1000, last=0.999)])
def test_a_target_that_loses_the_image_in_the_noise_is_refused(path):
    with pytest.raises(
        ValueError, match=r"model\.target=epsilon .* take model/target=flow, v or sample"
    ):
        tiny.ddpm(path=path, target=Epsilon())


@pytest.mark.parametrize(
    ("path", "target"),
    [(Chain(1000), Sample()), (Chain(1000), V()), (Cosine(), Epsilon()), (Cosine(), Flow()),
     (Linear(), V()), (Linear(), Sample()), (Linear(), Flow())],
)  # fmt: skip
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_solvable_point_of_the_algebra_samples(path, target, sampler):
    model = tiny.awake(tiny.fm(path=path, target=target, sampler=sampler))
    images = model.sample(POOL.masks[:2], seeds=SEEDS[:2])
    assert images.shape == (2, 1, tiny.SIDE, tiny.SIDE) and images.dtype == torch.float32
    assert images.isfinite().all() and images.abs().max() <= 1


def test_more_steps_than_the_chain_has_are_refused_at_once():
    with pytest.raises(ValueError, match=r"model\.steps=1001"):
        tiny.ddpm(steps=1001)


def test_flow_on_a_chain_is_refused_at_once():
    with pytest.raises(ValueError, match="model/target=v"):
        tiny.ddpm(target=Flow())


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_denoiser_learns_and_samples_in_every_family(family, denoiser, tmp_path):
    model = tiny.FAMILIES[family](denoiser=DENOISERS[denoiser])
    before = [p.clone() for p in model.denoiser.parameters()]
    tiny.trained(model, POOL, tmp_path, steps=2)
    assert any(
        not torch.equal(a, b) for a, b in zip(before, model.denoiser.parameters(), strict=True)
    )
    for sampler in SAMPLERS:
        model.sampler = sampler
        images = model.sample(POOL.masks[:2], seeds=SEEDS[:2])
        assert images.shape == (2, 1, tiny.SIDE, tiny.SIDE)
        assert images.isfinite().all() and images.abs().max() <= 1


def test_label_space_makes_masks_and_learns_every_label_however_the_images_are_changed(tmp_path):
    """Stage 1 is the same class: no condition, label planes, label maps out."""
    seen: set[int] = set()

    class Spy(Labels):
        def encode(self, images):
            seen.update(images.unique().tolist())
            return super().encode(images)

    model = tiny.fm(space=Spy(), denoiser=DENOISERS["unmasked"])
    change = Augment(rotation=8, zoom=0.06, shift=0.03, gamma=0.2)
    tiny.trained(model, POOL, tmp_path, steps=2, augment=change)
    assert seen == set(POOL.masks.unique().tolist()) == {0, 1, 2, 3}
    masks = model.sample(torch.zeros_like(POOL.masks[:2]), seeds=SEEDS[:2])
    assert masks.dtype == torch.int64 and masks.shape == POOL.masks[:2].shape
    assert masks.min() >= 0 and masks.max() <= 3


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_loss_falls_on_what_is_overfitted(family, tmp_path):
    model = tiny.FAMILIES[family]()
    few = POOL.take(slice(0, 2))

    def loss() -> float:
        return (
            model.losses(few.images, few.masks, times=[0.3, 0.6, 0.9], seeds=SEEDS[:2])
            .mean()
            .item()
        )

    before = loss()
    tiny.trained(model, few, tmp_path, steps=60)
    assert loss() < 0.85 * before
