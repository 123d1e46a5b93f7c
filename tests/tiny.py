"""Small pools and models that the tests share: 16 x 16 pixels, two widths of 32 channels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import torch

from cmr_bench.data.batches import Augment
from cmr_bench.diffusion.laws import Uniform
from cmr_bench.diffusion.paths import Chain, Linear
from cmr_bench.diffusion.samplers import Ancestral
from cmr_bench.diffusion.targets import Epsilon, Flow
from cmr_bench.models.ddpm import DDPM
from cmr_bench.models.diffusion import Diffusion
from cmr_bench.models.fm import FlowMatching
from cmr_bench.models.ldm import LDM
from cmr_bench.networks.autoencoder import Autoencoder
from cmr_bench.networks.denoisers import Concat
from cmr_bench.spaces import Latent, Pixel
from cmr_bench.training import fit
from cmr_bench.types import LABELS, Pool

SIDE = 16
NET = {"reduction": 2, "inner": 32, "widths": (32, 32), "attention": (False, True), "blocks": 1}


def pool(count: int = 6, *, side: int = SIDE, seed: int = 0) -> Pool:
    """Discs of LV cavity in a ring of myocardium beside an RV; the image is a function of the mask."""
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    centre = side / 2 + torch.rand(count, 2, 1, 1, generator=rng) * 2 - 1
    size = side * (0.12 + 0.08 * torch.rand(count, 1, 1, generator=rng))
    far = ((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2).sqrt()
    masks = torch.where(far < size, 1, torch.where(far < 1.8 * size, 2, 0))
    beside = (x - centre[:, 0]).abs() < 4 * size
    masks[(masks == 0) & beside & (x < centre[:, 0]) & ((y - centre[:, 1]).abs() < size)] = 3
    table = pd.DataFrame({"subject": [f"s{i // 2}" for i in range(count)]})
    return Pool("train", intensity(masks)[:, None], masks[:, None], table, spacing_mm=2.5)


def intensity(masks: torch.Tensor) -> torch.Tensor:
    """One grey value a label, in [-1, 1]."""
    return torch.tensor([-0.8, 0.8, -0.3, 0.6])[masks]


def adam(lr: float = 2e-3) -> Any:
    return partial(torch.optim.AdamW, lr=lr)


def autoencoder(seed: int = 0) -> Autoencoder:
    return Autoencoder(
        channels=3,
        widths=(16, 32),
        blocks=1,
        kl=1e-4,
        ssim=0.5,
        seed=seed,
        warmup=0,
        optimizer=adam(),
    )


def ddpm(**parts: Any) -> Diffusion:
    return _model(DDPM, parts, path=Chain(1000), target=Epsilon(), sampler=Ancestral(1.0))


def fm(**parts: Any) -> Diffusion:
    return _model(FlowMatching, parts, path=Linear(), target=Flow(), sampler=Ancestral(0.0))


def ldm(**parts: Any) -> Diffusion:
    path = Chain(1000, first=0.00085, last=0.012, schedule="scaled")
    module = autoencoder()
    module.standardise(pool())
    return _model(
        LDM, parts, space=Latent(module), path=path, target=Epsilon(), sampler=Ancestral(0.0)
    )


def _model(kind: type[Diffusion], parts: dict[str, Any], **defaults: Any) -> Diffusion:
    shared = {"law": Uniform(), "denoiser": partial(Concat, **NET), "steps": 4, "seed": 0}
    shared |= {"space": Pixel(), "warmup": 2, "optimizer": adam()}
    return kind(**(shared | defaults | parts))


FAMILIES = {"ddpm": ddpm, "ldm": ldm, "fm": fm}


def awake(model: Diffusion) -> Diffusion:
    """The model with a head that is not zero, so that what enters the network shows in what leaves it."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.denoiser.parameters():
            if not parameter.any():
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=rng))
    return model


def trained(module: Any, data: Pool, folder: Path, *, steps: int = 2, **more: Any) -> Any:
    """The module after `steps` steps on one CPU thread."""
    trainer = partial(pl.Trainer, accelerator="cpu", devices=1, gradient_clip_val=1.0)
    options = {"batch": 4, "seed": 0, "augment": Augment(), "title": "test"} | more
    return fit(module, data, folder=folder, trainer=trainer, steps=steps, **options)


def onehot(masks: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(masks[:, 0], len(LABELS)).movedim(-1, 1).float()
