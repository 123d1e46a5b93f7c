"""The segmentation network: judge of mask adherence and of utility, the same recipe for every training set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from monai.losses.dice import DiceCELoss
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.dynunet import DynUNet
from torch import Tensor, nn

from cmr_bench.networks.optimisation import warm_cosine
from cmr_bench.types import LABELS, Images, Masks


def dynunet(widths: Sequence[int]) -> nn.Module:
    """nnU-Net's architecture (Isensee et al. 2021): residual-free blocks, one stride of 2 a width."""
    strides = [1] + [2] * (len(widths) - 1)
    return DynUNet(
        2,
        in_channels=1,
        out_channels=len(LABELS),
        kernel_size=[3] * len(widths),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=list(widths),
    )


def basic_unet(widths: Sequence[int]) -> nn.Module:
    """U-Net with max pooling and two convolutions a level (Falk et al. 2019): five widths, and one for the last layer."""
    if len(widths) != 6:
        raise ValueError(f"segmenter: a BasicUNet takes 6 widths, got {len(widths)}")
    return BasicUNet(2, in_channels=1, out_channels=len(LABELS), features=tuple(widths))


class Segmenter(pl.LightningModule):
    """A network of the given widths, by default a DynUNet, trained on Dice and cross-entropy in equal parts."""

    def __init__(
        self,
        *,
        widths: Sequence[int],
        seed: int,
        warmup: int,
        optimizer: Callable[[Iterable], torch.optim.Optimizer],
        network: Callable[[Sequence[int]], nn.Module] = dynunet,
    ) -> None:
        super().__init__()
        self.warmup, self.optimizer = warmup, optimizer
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = network(widths)
        self.loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Images) -> Tensor:
        return self.net(images)

    def training_step(self, batch: tuple[Images, Masks], index: int) -> Tensor:
        images, masks = batch
        loss = self.loss(self(images).float(), masks)
        self.log("segmenter/loss", loss)
        return loss

    @torch.inference_mode()
    def segment(self, images: Images, batch: int = 128) -> Masks:
        """The most probable label of each pixel."""
        self.eval()
        parts = [
            self(part.to(self.device)).argmax(1, keepdim=True).cpu() for part in images.split(batch)
        ]
        return torch.cat(parts)

    def configure_optimizers(self) -> Any:
        return warm_cosine(self, self.optimizer(self.net.parameters()), self.warmup)
