"""Training batches: what step k sees is a function of (seed, k), however one got there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from cmr_bench.seeds import torch_rng
from cmr_bench.types import Images, Masks, Pool

Augmentation = Callable[[Images, Masks, torch.Generator], tuple[Images, Masks]]
"""What a batch becomes; a function of the batch and of the generator's state."""


@dataclass(frozen=True)
class Augment:
    """Random rotation (degrees), zoom and shift (share of the image) of image and mask alike; gamma of the image.

    Each is drawn uniformly from +- its range; gamma acts on intensities moved to [0, 1] as x^(1 + u).
    """

    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    gamma: float = 0.0

    def __call__(self, images: Images, masks: Masks, rng: torch.Generator) -> tuple[Images, Masks]:
        u = 2 * torch.rand(5, len(images), generator=rng) - 1
        if self.rotation or self.zoom or self.shift:
            angle, scale = u[0] * self.rotation * torch.pi / 180, 1 + u[1] * self.zoom
            cos, sin = scale * angle.cos(), scale * angle.sin()
            rows = [
                torch.stack([cos, -sin, 2 * self.shift * u[2]], 1),
                torch.stack([sin, cos, 2 * self.shift * u[3]], 1),
            ]
            grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
            look = partial(F.grid_sample, grid=grid, padding_mode="reflection", align_corners=False)
            images = look(images, mode="bicubic").clamp(-1, 1)
            masks = look(masks.float(), mode="nearest").long()
        if self.gamma:
            power = (1 + self.gamma * u[4]).reshape(-1, 1, 1, 1)
            images = 2 * ((images + 1) / 2).clamp(0, 1) ** power - 1
        return images, masks


class Batches(IterableDataset):
    """Steps start..steps of an endless walk over a pool: one permutation an epoch, cut into batches.

    Each of `ranks` processes makes the whole batch, so that nothing that is random depends on their number, and gives
    its own part.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        batch: int,
        steps: int,
        seed: int,
        augment: Augmentation,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if not len(pool):
            raise ValueError(f"pool {pool.name} is empty: nothing to train on")
        self.pool, self.batch, self.steps, self.seed = pool, batch, steps, seed
        self.augment, self.start, self.rank, self.ranks = augment, start, rank, ranks

    def rows(self, step: int) -> Tensor:
        """Rows of the pool that all ranks together see at a step."""
        at = torch.arange(step * self.batch, (step + 1) * self.batch)
        epochs = at // len(self.pool)
        order = {
            int(e): torch.randperm(len(self.pool), generator=torch_rng(self.seed, "epoch", int(e)))
            for e in epochs.unique()
        }
        return torch.stack(
            [order[int(e)][i % len(self.pool)] for e, i in zip(epochs, at, strict=True)]
        )

    def at(self, step: int) -> tuple[Images, Masks]:
        rows = self.rows(step)
        rng = torch_rng(self.seed, "augment", step, 0)
        images, masks = self.augment(self.pool.images[rows], self.pool.masks[rows], rng)
        mine = slice(*(rank * self.batch // self.ranks for rank in (self.rank, self.rank + 1)))
        return images[mine], masks[mine]

    def __iter__(self) -> Iterator[tuple[Images, Masks]]:
        return (self.at(step) for step in range(self.start, self.steps))

    def __len__(self) -> int:
        return self.steps


class SliceData(pl.LightningDataModule):
    """Feeds a Trainer with `Batches` of a pool, from the step at which the trainer stands.

    The validation batch is one and always the same: `held` slices spread over the held-out pool.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        batch: int,
        seed: int,
        augment: Augmentation,
        held_out: Pool | None = None,
        held: int = 64,
    ) -> None:
        super().__init__()
        self.pool, self.batch, self.seed, self.augment = pool, batch, seed, augment
        self.held_out, self.held = held_out, held

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        batches = Batches(
            self.pool,
            batch=self.batch,
            steps=self.trainer.max_steps,
            seed=self.seed,
            augment=self.augment,
            start=self.trainer.global_step,
            rank=self.trainer.global_rank,
            ranks=self.trainer.world_size,
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader | list:
        return DataLoader(One(self.held_out, self.held), batch_size=None) if self.held_out else []


class One(Dataset):
    """A single batch: `count` slices at equal distances through a pool."""

    def __init__(self, pool: Pool, count: int) -> None:
        self.pool = pool.spread(count)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Images, Masks]:
        return self.pool.images, self.pool.masks
