"""How every network is trained: one call that starts, resumes or finds itself finished."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, TypeVar

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import Logger
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cmr_bench.checkpoints import WholeFiles, previous, resumable
from cmr_bench.data.batches import Augmentation, SliceData
from cmr_bench.ranks import Ranks
from cmr_bench.saving import Saving, refuse_diverged
from cmr_bench.types import Pool

Module = TypeVar("Module", bound=pl.LightningModule)


class Averaging(WeightAveraging):
    """Exponential moving average of the weights, on the device that trains.

    w + d (e - w) keeps frozen weights as they are, which Lightning's own d e + (1 - d) w does not.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)


class Bar(TQDMProgressBar):
    """One line that says what is being trained."""

    def __init__(self, title: str) -> None:
        super().__init__(refresh_rate=10)
        self.title = title

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(self.title)


def fit(
    module: Module,
    pool: Pool,
    *,
    title: str,
    folder: Path,
    trainer: Callable[..., pl.Trainer],
    steps: int,
    batch: int,
    seed: int,
    augment: Augmentation,
    held_out: Pool | None = None,
    ema: float | None = None,
    callbacks: Sequence[Callback] = (),
    logger: Logger | list[Logger] | None = None,
    checkpoint_minutes: float | None = 5.0,
    validate_every: int | None = None,
    ranks: Ranks | None = None,
) -> Module:
    """Train `module` for `steps` batches of the pool and return it with the weights that count (EMA if any).

    `folder/last.ckpt` is the state: a call that finds one goes on from there and ends in the same weights, bit for
    bit, as one left alone (same versions, device and threads). With `checkpoint_minutes` None nothing is written
    before the end, and a wish to stop is not answered until then: for trainings of a few steps inside another one.
    With `ranks` other processes make the same call, and each sees its part of the batch.
    """
    for name, count in {"steps": steps, "batch": batch}.items():
        if count < 1:
            raise ValueError(f"{title}: {name} is {count}, at least 1 is needed")
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"{title}: ema is {ema}, it must be at least 0 and below 1")
    if ranks and batch % ranks.count:
        raise ValueError(
            f"{title}: a batch of {batch} cannot be cut into {ranks.count} equal parts; "
            f"give fit.batch or trainer.devices"
        )
    last = folder / "last.ckpt"
    saving = Saving(last, title=title, minutes=checkpoint_minutes, validate_every=validate_every)
    averaging = [Averaging(ema)] if ema is not None else []
    bar = [Bar(title)] if sys.stderr.isatty() else []
    with quiet(), ranks or nullcontext():
        run = trainer(
            max_steps=steps,
            callbacks=[*callbacks, *averaging, saving, *bar],
            logger=logger or False,
            plugins=[WholeFiles(), ranks or LightningEnvironment()],
            enable_progress_bar=bool(bar),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, steps),
            check_val_every_n_epoch=None,
            val_check_interval=validate_every or steps + 1,
            limit_val_batches=1 if held_out is not None and validate_every else 0,
            **(ranks.options if ranks else {}),
        )
        data = SliceData(pool, batch=batch, seed=seed, augment=augment, held_out=held_out)
        run.fit(module, data, ckpt_path=resumable(last))
        refuse_diverged(module, title, run.global_step)
        run.save_checkpoint(last)
    fitted = load(module, last)
    previous(last).unlink(missing_ok=True)
    return fitted


def trainer(
    *,
    accelerator: Literal["auto", "cpu", "gpu", "cuda"],
    devices: int | str,
    precision: Literal["auto", "32-true", "bf16-mixed"],
    gradient_clip_val: float,
    num_nodes: int = 1,
    **of_fit: Any,
) -> pl.Trainer:
    """Lightning's Trainer; `precision` and `accelerator` may be "auto"."""
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    return pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        precision=precision_of(accelerator, precision),  # type: ignore[arg-type]
        gradient_clip_val=gradient_clip_val,
        **of_fit,
    )


def refuse_absent(accelerator: str) -> None:
    """Refuse a GPU where there is none."""
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ValueError("trainer=gpu: no GPU is visible here; take trainer=cpu or trainer=auto")


def precision_of(accelerator: str, precision: str) -> str:
    """What "auto" means: bf16-mixed on a GPU that has bfloat16, float32 elsewhere."""
    if precision != "auto":
        return precision
    gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"


def load(module: Module, checkpoint: Path) -> Module:
    """The module in evaluation mode with the checkpoint's weights, which are the averaged ones if any."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])
    return module.eval()


class quiet(warnings.catch_warnings):  # noqa: N801 - reads as a verb
    """Lightning's remarks that no user can act on stay unsaid."""

    def __enter__(self) -> None:
        super().__enter__()
        self.before = {}
        for name in ("lightning.pytorch", "lightning.fabric"):
            logger = logging.getLogger(name)
            self.before[name] = logger.level
            logger.setLevel(logging.ERROR)
        for text in (
            ".*does not have many workers.*",
            ".*in eval mode.*",
            ".*exists and is not empty.*",
            ".*The `srun` command is available.*",  # the launcher decides, not Lightning
            ".*not resumable.*",  # ours is: a batch is a function of its step
            ".*no `validation_step`.*",
            ".*LeafSpec.*",
            ".*`IterableDataset` has `__len__` defined.*",
        ):
            warnings.filterwarnings("ignore", message=text)

    def __exit__(self, *error: Any) -> None:
        for name, level in self.before.items():
            logging.getLogger(name).setLevel(level)
        super().__exit__(*error)
