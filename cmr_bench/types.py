"""The nouns of the benchmark: images, masks, pools of slices, scores, and what a model must answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

Images = Annotated[Tensor, "(B, 1, H, W) float32 in [-1, 1]"]
Masks = Annotated[Tensor, "(B, 1, H, W) int64, a label of LABELS in each pixel"]
Seeds = Annotated[Tensor, "(B,) int64, one seed a row"]

Count = Annotated[int, range(1, sys.maxsize)]
"""At least one of something, as the check of a configuration knows it."""

LABELS = ("background", "lv", "myo", "rv")
"""Label k is LABELS[k]: 0 background, 1 LV cavity, 2 LV myocardium, 3 RV cavity."""

LABEL_COLOURS = ("#141414", "#d55e00", "#009e73", "#3c9be0")
"""Label k is shown in LABEL_COLOURS[k]."""

LEVELS = ("base", "middle", "apex")
"""Thirds of the ventricle along its long axis."""


@dataclass(frozen=True)
class Pool:
    """A named set of slices; `table` has one row a slice, and its column `subject` is the unit of every interval.

    Columns: subject, phase (ED or ES), slice (0 is the most basal), level (base, middle, apex),
    vendor, centre, pathology, thickness_mm (distance of neighbouring slices).
    `labels` are the structures that the data set annotates: no metric may read the others as background.
    """

    name: str
    images: Images
    masks: Masks
    table: pd.DataFrame
    spacing_mm: float
    labels: tuple[int, ...] = (1, 2, 3)

    def __len__(self) -> int:
        return len(self.images)

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.masks) == len(self.table):
            raise ValueError(
                f"pool {self.name}: {len(self.images)} images, {len(self.masks)} masks, {len(self.table)} rows"
            )

    @property
    def subjects(self) -> np.ndarray:
        return self.table["subject"].to_numpy(dtype=str)

    def take(self, rows: Sequence[int] | np.ndarray | slice, name: str | None = None) -> Pool:
        """The given rows as a pool of their own."""
        at = np.arange(len(self))[rows]
        index = torch.as_tensor(at)
        return replace(
            self,
            name=name or self.name,
            images=self.images[index],
            masks=self.masks[index],
            table=self.table.iloc[at].reset_index(drop=True),
        )

    def spread(self, count: int) -> Pool:
        """At most `count` slices at equal distances through the pool."""
        return self.take(np.linspace(0, len(self) - 1, min(count, len(self))).astype(int))


def join(name: str, *pools: Pool) -> Pool:
    """Several pools as one."""
    return replace(
        pools[0],
        name=name,
        images=torch.cat([pool.images for pool in pools]),
        masks=torch.cat([pool.masks for pool in pools]),
        table=pd.concat([pool.table for pool in pools], ignore_index=True),
    )


@dataclass(frozen=True)
class Score:
    """One number of the report with its evidence.

    `low`, `high`: 95 % interval by subject bootstrap (exact for proportions). `n` counts `unit`s.
    `reference` is what real data score in the same place (`reference_name` says which); `better` is
    "higher", "lower" or "" (neither). A metric that could not answer gives `value` nan and a `reason`.
    """

    name: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0
    unit: str = "subjects"
    better: str = ""
    reference: float = float("nan")
    reference_name: str = ""
    reason: str = ""
    extra: dict[str, float | str] = field(default_factory=dict)

    @property
    def axis(self) -> str:
        return self.name.split("/")[0]


@runtime_checkable
class MaskToImage(Protocol):
    """A mask-to-image generator (stage 2)."""

    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        """One image a mask; row i is a function of (weights, masks[i], seeds[i]) alone, up to rounding."""
        ...


@runtime_checkable
class HasLosses(Protocol):
    """A model whose training loss can be asked for, as membership attacks do."""

    def losses(
        self, images: Images, masks: Masks, *, times: Sequence[float], seeds: Seeds
    ) -> Tensor:
        """(B, len(times)) mean squared error of the prediction at each time; noise drawn from seeds."""
        ...


@runtime_checkable
class HasNoised(Protocol):
    """A model that shows what its denoiser answers to a noised image, and what it should answer."""

    def noised(
        self, images: Images, masks: Masks, t: Tensor, seeds: Seeds
    ) -> tuple[Tensor, Tensor]:
        """(prediction, target) in the model's own space at times t (B,); noise drawn from seeds."""
        ...


@runtime_checkable
class HasPredict(Protocol):
    """A model in whose own space x_t = a x0 + b eps can be taken apart, for white-box attacks."""

    def encode(self, images: Images) -> Tensor:
        """The images in that space, where t = 0 is data."""
        ...

    def decode(self, z: Tensor) -> Images:
        """Images out of that space."""
        ...

    def path(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) at times t (B,), in float64."""
        ...

    def predict(self, z: Tensor, t: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """(x0, eps) as the model sees them at z = x_t."""
        ...


@runtime_checkable
class HasReconstruct(Protocol):
    """A model that draws through an autoencoder."""

    def reconstruct(self, images: Images) -> Images:
        """D(E(x)) of each image."""
        ...


@runtime_checkable
class MaskSource(Protocol):
    """Where conditioning masks come from (stage 1)."""

    def sample(self, *, seeds: Seeds) -> Masks: ...
