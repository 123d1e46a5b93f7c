"""The learning-rate rule that every network of the benchmark is trained with."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warm_cosine(module: pl.LightningModule, optimizer: Optimizer, warmup: int) -> dict[str, Any]:
    """Linear warm-up over `warmup` steps, then half a cosine down to a hundredth at the trainer's last step."""
    total = module.trainer.max_steps

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, warmup))
        progress = min(1.0, max(0, step - warmup) / max(1, total - warmup))
        return rise * (0.505 + 0.495 * math.cos(math.pi * progress))

    schedule = LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
