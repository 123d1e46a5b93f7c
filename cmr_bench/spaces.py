"""Spaces in which diffusion happens: pixels, an autoencoder's latents, or one-hot labels (stage 1)."""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from cmr_bench.networks.autoencoder import Autoencoder
from cmr_bench.types import LABELS, Images, Masks


class Space(Protocol):
    """What a model generates: `reads` says of what, images or masks.

    `factor` pixels a side make one element; `clip` are the bounds of x0, if there are any.
    """

    reads: str
    channels: int
    factor: int
    clip: tuple[float, float] | None

    def encode(self, images: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


class Pixel(nn.Module):
    """Images as they are."""

    reads, channels, factor, clip = "images", 1, 1, (-1.0, 1.0)

    def encode(self, images: Images) -> Tensor:
        return images

    def decode(self, z: Tensor) -> Images:
        return z.float().clamp(-1, 1)


class Latent(nn.Module):
    """Standardised latents of a frozen autoencoder (Rombach et al. 2022)."""

    reads, clip = "images", None

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder.requires_grad_(False).eval()
        self.channels, self.factor = autoencoder.channels, autoencoder.factor

    def train(self, mode: bool = True) -> Latent:
        """The autoencoder stays in evaluation mode whatever the model does."""
        return super().train(False)

    def encode(self, images: Images) -> Tensor:
        return self.autoencoder.encode(images)

    def decode(self, z: Tensor) -> Images:
        return self.autoencoder.decode(z)


class Labels(nn.Module):
    """Label maps as planes in [-1, 1]: 2 share - 1 of each label in blocks of `factor` pixels a side (stage 1).

    Decoding enlarges the shares bilinearly and takes the largest; with factor 1 it gives the same labels back.
    """

    reads, channels, clip = "masks", len(LABELS), (-1.0, 1.0)

    def __init__(self, factor: int = 1) -> None:
        super().__init__()
        self.factor = factor

    def encode(self, images: Masks) -> Tensor:
        planes = F.one_hot(images[:, 0].long(), len(LABELS)).movedim(-1, 1).float()
        return 2 * F.avg_pool2d(planes, self.factor) - 1

    def decode(self, z: Tensor) -> Masks:
        planes = F.interpolate(
            z.float(), scale_factor=self.factor, mode="bilinear", align_corners=False
        )
        return planes.argmax(1, keepdim=True)
