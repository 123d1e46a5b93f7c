"""The one LightningModule behind every family: space x path x target x sampler x denoiser."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from cmr_bench.diffusion.laws import Law
from cmr_bench.diffusion.paths import Pair, Path
from cmr_bench.diffusion.samplers import Sampler, grid
from cmr_bench.diffusion.targets import Target, mix, solve, spread
from cmr_bench.networks.optimisation import warm_cosine
from cmr_bench.ranks import part
from cmr_bench.seeds import row_noise, torch_rng
from cmr_bench.spaces import Space
from cmr_bench.types import Count, Images, Masks, Seeds


class Diffusion(pl.LightningModule):
    """A generator that learns y = p x0 + q eps at x_t = a x0 + b eps and walks from noise to data.

    Training minimises E |f(x_t, t, mask) - y|^2 over t from `law`; `steps` is the default number of sampler
    steps. Noise and times of row i of the batch at training step k are a function of (seed, k, i) alone. `precision`
    is what images are drawn and losses asked in, float32 until it is set to that of the training when that is over;
    coefficients, states and what an attack asks of `predict` stay in float32 or better.
    """

    precision = torch.float32

    def __init__(
        self,
        *,
        space: Space,
        path: Path,
        target: Target,
        law: Law,
        sampler: Sampler,
        denoiser: Callable[..., nn.Module],
        steps: Count,
        seed: int,
        warmup: Annotated[int, range(sys.maxsize)],
        optimizer: Callable[[Iterable], torch.optim.Optimizer],
    ) -> None:
        super().__init__()
        self.space, self.path, self.target, self.law = space, path, target, law
        self.sampler, self.steps, self.seed = sampler, steps, seed
        self.warmup, self.optimizer = warmup, optimizer
        grid(path, steps)
        refuse_singular(target, path)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.denoiser = denoiser(channels=space.channels, factor=space.factor)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def corrupt(self, z: Tensor, t: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """(x_t, y): the noisy input at times t (B,) and what the network should answer."""
        return mix(self.path(t), z, eps), mix(self.target(self.path, t), z, eps)

    def training_step(self, batch: tuple[Images, Masks], index: int) -> Tensor:
        images, masks = batch
        z = self.space.encode(masks if self.space.reads == "masks" else images)
        rng = torch_rng(self.seed, "step", self.global_step, 0)
        rows, mine = part(self, len(z))
        t = self.path.snap(self.law(torch.rand(rows, generator=rng)))[mine].to(z.device)
        eps = torch.randn((rows, *z.shape[1:]), generator=rng)[mine].to(z)
        x, y = self.corrupt(z, t, eps)
        loss = (self.denoiser(x, t.to(z), masks).float() - y).square().mean()
        self.log("model/loss", loss, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[Images, Masks], index: int) -> None:
        """The same loss on held-out slices, at times spread evenly and with noise that never changes."""
        images, masks = batch
        times = self.law((torch.arange(len(images)) + 0.5) / len(images))
        y, want = self.noised(images, masks, times, torch.arange(len(images)))
        loss = (y - want).square().mean()
        self.log(
            "model/held_out_loss", loss.to(self.device), batch_size=len(images), sync_dist=True
        )

    def encode(self, images: Images) -> Tensor:
        """The images in the model's space."""
        return self.space.encode(images)

    def decode(self, z: Tensor) -> Images:
        """Images out of the model's space."""
        return self.space.decode(z)

    def predict(self, z: Tensor, t: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """(x0, eps) at z = x_t, times t (B,); x0 inside the bounds of the space and eps in agreement with it."""
        y, at = self.denoiser(z, t.to(z), masks).float(), self.path(t)
        x0, eps = solve(self.target(self.path, t), at, z, y)
        if self.space.clip is not None:
            a, b = spread(at, z)
            x0 = x0.clamp(*self.space.clip)
            eps = (z - a * x0) / b
        return x0, eps

    @torch.inference_mode()
    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        """One image a mask; row i depends on the weights, masks[i] and seeds[i], and on the batch around it by rounding alone."""
        self.eval()
        masks = masks.to(self.device)
        side = [size // self.space.factor for size in masks.shape[-2:]]
        shape = (self.space.channels, *side)

        def draw(step: int) -> Tensor:
            return row_noise(seeds, shape, "sample", step).to(self.device)

        def predict(x: Tensor, t: Tensor) -> Pair:
            return Pair(*self.predict(x, t.expand(len(x)).to(x.device), masks))

        with self.as_trained():
            times = grid(self.path, self.steps if steps is None else steps)
            z = self.sampler(predict, draw(-1), self.path, times, draw)
            return self.space.decode(z).cpu()

    @torch.inference_mode()
    def reconstruct(self, images: Images) -> Images:
        """Images through the model's space and back, D(E(x)): what it can draw of them at best."""
        self.eval()
        with self.as_trained():
            return self.space.decode(self.space.encode(images.to(self.device))).cpu()

    @torch.inference_mode()
    def noised(
        self, images: Images, masks: Masks, t: Tensor, seeds: Seeds
    ) -> tuple[Tensor, Tensor]:
        """(prediction, target) of the network for noise drawn from `seeds` at times t (B,), in the model's space."""
        self.eval()
        images, masks, t = images.to(self.device), masks.to(self.device), self.path.snap(t)
        with self.as_trained():
            z = self.space.encode(masks if self.space.reads == "masks" else images)
            eps = row_noise(seeds, z.shape[1:], "noised").to(z)
            x, y = self.corrupt(z, t.to(z.device), eps)
            return self.denoiser(x, t.to(z), masks).float().cpu(), y.cpu()

    def losses(
        self, images: Images, masks: Masks, *, times: Sequence[float], seeds: Seeds
    ) -> Tensor:
        """(B, len(times)) mean squared errors; every time sees the same noise, so that rows can be compared."""
        columns = []
        for time in times:
            y, want = self.noised(images, masks, torch.full((len(images),), float(time)), seeds)
            columns.append((y - want).square().flatten(1).mean(1))
        return torch.stack(columns, 1)

    def as_trained(self) -> AbstractContextManager:
        return torch.autocast(
            self.device.type, self.precision, enabled=self.precision is not torch.float32
        )

    def configure_optimizers(self) -> Any:
        return warm_cosine(self, self.optimizer(self.denoiser.parameters()), self.warmup)


def refuse_singular(target: Target, path: Path) -> None:
    """Refuse a target that does not determine (x0, eps) at t = 1, where sampling starts."""
    one = torch.ones(1, dtype=torch.float64)
    (a, b), (p, q) = path(one), target(path, one)
    if (a * q - b * p).abs() < 1e-4:
        raise ValueError(
            f"model.target={type(target).__name__.lower()} cannot be solved for the image at t = 1 of the "
            f"{type(path).__name__.lower()} path, which is pure noise there: take model/target=flow, v or sample"
        )
