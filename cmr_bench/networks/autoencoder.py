"""The autoencoder of latent diffusion: trained once per data set and shared by every latent model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from monai.losses.ssim_loss import SSIMLoss
from monai.networks.nets.autoencoderkl import AutoencoderKL
from torch import Tensor

from cmr_bench.networks.optimisation import warm_cosine
from cmr_bench.ranks import part
from cmr_bench.seeds import torch_rng
from cmr_bench.types import Images, Masks, Pool


class Autoencoder(pl.LightningModule):
    """Convolutional autoencoder with a weak KL term (Rombach et al. 2022, section 3.1), here without a discriminator.

    loss = |x - D(z)|_1 + ssim (1 - SSIM(x, D(z))) + kl KL(q(z|x), N(0, 1)),  z ~ q(z|x).
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self,
        *,
        channels: int,
        widths: Sequence[int],
        blocks: int,
        kl: float,
        ssim: float,
        seed: int,
        warmup: int,
        optimizer: Callable[[Iterable], torch.optim.Optimizer],
    ) -> None:
        super().__init__()
        self.channels, self.factor = channels, 2 ** (len(widths) - 1)
        self.kl, self.ssim, self.seed, self.warmup, self.optimizer = (
            kl,
            ssim,
            seed,
            warmup,
            optimizer,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = AutoencoderKL(
                2,
                in_channels=1,
                out_channels=1,
                channels=tuple(widths),
                num_res_blocks=blocks,
                latent_channels=channels,
                attention_levels=(False,) * len(widths),
                norm_num_groups=8,
                with_encoder_nonlocal_attn=False,
                with_decoder_nonlocal_attn=False,
            )
        # Noise of a twentieth of a unit to begin with: at MONAI's unit noise the first thousand steps learn little.
        torch.nn.init.constant_(self.net.get_parameter("quant_conv_log_sigma.conv.bias"), -6.0)
        self.similarity = SSIMLoss(2, data_range=2.0, win_size=7)
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("sd", torch.ones(1, channels, 1, 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, images: Images) -> Tensor:
        """(B, channels, H/f, W/f) mean of q(z|x), each channel scaled to zero mean and unit variance."""
        return (self.net.encode(images)[0] - self.mean) / self.sd

    def decode(self, z: Tensor) -> Images:
        return self.net.decode(z * self.sd + self.mean).float().clamp(-1, 1)

    def training_step(self, batch: tuple[Images, Masks], index: int) -> Tensor:
        images = batch[0]
        mean, sd = self.net.encode(images)
        rng = torch_rng(self.seed, "latent", self.global_step, 0)
        rows, mine = part(self, len(mean))
        z = mean + sd * torch.randn((rows, *mean.shape[1:]), generator=rng)[mine].to(mean)
        out = self.net.decode(z)
        kl = 0.5 * (mean**2 + sd**2 - 2 * sd.log() - 1).mean()
        loss = self.difference(out, images) + self.kl * kl
        self.log("autoencoder/loss", loss, sync_dist=True)
        return loss

    def difference(self, out: Images, images: Images) -> Tensor:
        """The L1 and SSIM terms, in float32: the variances of SSIM drown in bfloat16."""
        with torch.autocast(out.device.type, enabled=False):
            out = out.float()
            return F.l1_loss(out, images) + self.ssim * self.similarity(out, images)

    @torch.inference_mode()
    def standardise(self, pool: Pool, batch: int = 256) -> None:
        """Set the latent scale from a pool: one mean and one standard deviation a channel."""
        z = torch.cat(
            [self.net.encode(part.to(self.device))[0] for part in pool.images.split(batch)]
        )
        self.mean.copy_(z.mean((0, 2, 3), keepdim=True))
        self.sd.copy_(z.std((0, 2, 3), keepdim=True).clamp(min=1e-6))

    def configure_optimizers(self) -> Any:
        return warm_cosine(self, self.optimizer(self.net.parameters()), self.warmup)
