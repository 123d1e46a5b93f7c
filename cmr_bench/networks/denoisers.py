"""Denoisers f(z, t, masks) -> y. How time, noise and masks enter is the same in every family.

All share one frame: a full-resolution stem, MONAI's diffusion U-Net on `reduction` times fewer pixels a side (a
latent space has done some of that already), and a full-resolution head that joins the U-Net's nearest-neighbour
enlargement with the stem. The U-Net works where pixels are few; the head leaves no checkerboard, as a bare pixel
shuffle does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.nets.controlnet import ControlNet
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from monai.networks.nets.spade_diffusion_model_unet import SPADEDiffusionModelUNet
from torch import Tensor, nn

from cmr_bench.types import LABELS, Masks


def planes(masks: Masks, factor: int) -> Tensor:
    """(B, 4 f^2, H/f, W/f) one-hot masks at the resolution of the space, no pixel lost (space to depth)."""
    onehot = F.one_hot(masks[:, 0], len(LABELS)).movedim(-1, 1).float()
    return F.pixel_unshuffle(onehot.contiguous(memory_format=torch.channels_last), factor)


class Frame(nn.Module):
    """Stem and head at the resolution of the space around a network that sees `patch` times fewer elements a side.

    The network reads `inner` channels whatever the patch.
    """

    def __init__(self, channels: int, *, inputs: int, patch: int, inner: int, width: int) -> None:
        super().__init__()
        if inner % patch**2:
            raise ValueError(
                f"size.inner={inner}: a patch of {patch} x {patch} needs a multiple of {patch**2}"
            )
        self.patch = patch
        stem = inner // patch**2
        self.stem = nn.Conv2d(inputs, stem, 3, padding=1)
        self.head = nn.Sequential(
            nn.Conv2d(width + stem, 32, 3, padding=1),
            nn.GroupNorm(8, 32),
            nn.SiLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.GroupNorm(8, 32),
            nn.SiLU(),
            nn.Conv2d(32, channels, 3, padding=1),
        )
        for parameter in self.head[-1].parameters():
            nn.init.zeros_(parameter)

    def down(self, z: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.stem(z)
        return skip, F.pixel_unshuffle(skip, self.patch)

    def up(self, deep: Tensor, skip: Tensor) -> Tensor:
        large = F.interpolate(deep, scale_factor=self.patch, mode="nearest")
        return self.head(torch.cat([large, skip], 1))


def layout(inputs: int, widths: Sequence[int], attention: Sequence[bool], blocks: int) -> dict:
    """What the three MONAI networks below have in common."""
    return {
        "spatial_dims": 2,
        "in_channels": inputs,
        "channels": tuple(widths),
        "attention_levels": tuple(attention),
        "num_res_blocks": blocks,
        "num_head_channels": 32,
        # MONAI adds the time embedding before a group norm: groups of one channel would erase it.
        "norm_num_groups": 16,
        "use_flash_attention": True,
    }


class Concat(nn.Module):
    """Masks are concatenated to the noisy input (Konz et al. 2024). `masked=False`: no condition at all."""

    def __init__(
        self,
        channels: int,
        *,
        factor: int,
        reduction: int,
        inner: int,
        widths: Sequence[int],
        attention: Sequence[bool],
        blocks: int,
        masked: bool = True,
    ) -> None:
        super().__init__()
        self.factor, self.masked = factor, masked
        patch = max(1, reduction // factor)
        inputs = channels + (len(LABELS) * factor**2 if masked else 0)
        self.frame = Frame(channels, inputs=inputs, patch=patch, inner=inner, width=widths[0])
        self.unet = DiffusionModelUNet(
            **layout(inner, widths, attention, blocks), out_channels=widths[0]
        )

    def forward(self, z: Tensor, t: Tensor, masks: Masks) -> Tensor:
        if self.masked:
            z = torch.cat([z, planes(masks, self.factor)], 1)
        skip, deep = self.frame.down(z)
        return self.frame.up(self.unet(deep, 1000 * t), skip)


class Spade(nn.Module):
    """Masks modulate the normalisations of the decoder's blocks (Park et al. 2019; Wang et al. 2022)."""

    def __init__(
        self,
        channels: int,
        *,
        factor: int,
        reduction: int,
        inner: int,
        widths: Sequence[int],
        attention: Sequence[bool],
        blocks: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.factor = factor
        self.patch = patch = max(1, reduction // factor)
        self.frame = Frame(channels, inputs=channels, patch=patch, inner=inner, width=widths[0])
        self.unet = SPADEDiffusionModelUNet(
            **layout(inner, widths, attention, blocks),
            out_channels=widths[0],
            label_nc=len(LABELS) * (factor * patch) ** 2,
            spade_intermediate_channels=hidden,
        )

    def forward(self, z: Tensor, t: Tensor, masks: Masks) -> Tensor:
        skip, deep = self.frame.down(z)
        return self.frame.up(
            self.unet(deep, 1000 * t, planes(masks, self.factor * self.patch)), skip
        )


class Control(nn.Module):
    """A second encoder reads the mask and adds to the U-Net's skips (Zhang et al. 2023, ControlNet), trained jointly."""

    def __init__(
        self,
        channels: int,
        *,
        factor: int,
        reduction: int,
        inner: int,
        widths: Sequence[int],
        attention: Sequence[bool],
        blocks: int,
    ) -> None:
        super().__init__()
        self.factor = factor
        self.patch = patch = max(1, reduction // factor)
        self.frame = Frame(channels, inputs=channels, patch=patch, inner=inner, width=widths[0])
        shape = layout(inner, widths, attention, blocks)
        self.unet = DiffusionModelUNet(**shape, out_channels=widths[0])
        self.control = ControlNet(
            **shape,
            conditioning_embedding_in_channels=len(LABELS) * (factor * patch) ** 2,
            conditioning_embedding_num_channels=(widths[0],),
        )

    def forward(self, z: Tensor, t: Tensor, masks: Masks) -> Tensor:
        skip, deep = self.frame.down(z)
        condition = planes(masks, self.factor * self.patch)
        down, mid = self.control(deep, 1000 * t, condition)
        y = self.unet(
            deep,
            1000 * t,
            down_block_additional_residuals=tuple(down),
            mid_block_additional_residual=mid,
        )
        return self.frame.up(y, skip)
