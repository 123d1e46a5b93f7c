"""Is a synthetic mask a copy? Nearest training masks by overlap and by contours, calibrated on held-out subjects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor

from cmr_bench.metrics.base import Metric
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.spaces import in_space
from cmr_bench.metrics.privacy.copies import CALIBRATE, Array, Search, judged, ratios, too_few
from cmr_bench.metrics.privacy.neighbours import Neighbours, closest, groups
from cmr_bench.types import Masks, Score

BLOCK = 512
"""Masks of each side that are compared at a time."""

Distance = Callable[[Tensor, Tensor], Tensor]
"""Descriptions of masks (n, ...), (m, ...) -> (n, m) distances."""


def structures(masks: Masks, labels: Sequence[int]) -> Tensor:
    """(N, L, P) whether a pixel belongs to each of the labels."""
    return torch.cat([masks == label for label in labels], dim=1).flatten(2).float()


def dice_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - Dice of `structures`, averaged over the labels that either has; 0 if none."""
    total = present = torch.zeros(len(a), len(b), dtype=torch.float64)
    for one, other in zip(a.unbind(1), b.unbind(1), strict=True):
        sizes = (one.sum(1)[:, None] + other.sum(1)).double()
        dice = 2 * (one @ other.T).double() / sizes.clamp(min=1)
        total = total + torch.where(sizes > 0, 1 - dice, 0.0)
        present = present + (sizes > 0)
    return total / present.clamp(min=1)


def contours(masks: Masks, labels: Sequence[int], spacing_mm: float) -> Tensor:
    """(N, L, 2, P) whether a pixel is on the contour of a label, and its distance to it in mm (0 where there is none)."""
    found = np.zeros((len(masks), len(labels), 2, *masks.shape[-2:]), dtype=np.float32)
    for row, mask in enumerate(masks[:, 0].numpy()):
        for k, label in enumerate(labels):
            there = mask == label
            if there.any():
                edge = there & ~binary_erosion(there)
                found[row, k] = edge, distance_transform_edt(~edge, sampling=spacing_mm)
    return torch.from_numpy(found).flatten(3)


def contour_distance(a: Tensor, b: Tensor, *, absent: float) -> Tensor:
    """Average symmetric distance of `contours` in mm, averaged over the labels that either has; 0 if none.

    The mean over the contour pixels of both of the distance to the nearest contour pixel of the
    other, as in `volumes.asd`. A label that one of them lacks counts as `absent`.
    """
    total = present = torch.zeros(len(a), len(b), dtype=torch.float64)
    for one, other in zip(a.unbind(1), b.unbind(1), strict=True):
        (edge, far), (other_edge, other_far) = one.unbind(1), other.unbind(1)
        sizes = edge.sum(1), other_edge.sum(1)
        pixels = sizes[0][:, None] + sizes[1]
        mean = (edge @ other_far.T + far @ other_edge.T) / pixels.clamp(min=1)
        lone = (sizes[0] > 0)[:, None] != (sizes[1] > 0)
        total = total + mean.double().masked_fill(lone, absent)
        present = present + (pixels > 0)
    return total / present.clamp(min=1)


def nearest_masks(
    queries: Tensor, gallery: Tensor, subjects: ArrayLike, distance: Distance
) -> Neighbours:
    """Nearest mask, and nearest of another subject, of descriptions; all pairs, block by block."""
    group = groups(subjects)

    def searches(part: Tensor) -> Iterator[Neighbours]:
        for rows in torch.arange(len(gallery)).split(BLOCK):
            found = distance(part, gallery[rows])
            first, at = found.min(1)
            own = group[rows] == group[rows][at][:, None]
            second, other = found.masked_fill(own, float("inf")).min(1)
            yield Neighbours(first, rows[at], second, rows[other])

    parts = [closest(searches(part), subjects) for part in queries.split(BLOCK)]
    return Neighbours(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


class MaskCopies(Metric):
    """Patient-aware ratio d1 / d2 of each synthetic mask to the training masks, calibrated as `Copies` is.

    There is no noise on a mask that could hide a copy in the ratio, and no vector between two masks to have a place
    on. Structures that train or the synthetic masks do not label are left out. d is the average symmetric distance of contours in mm, and in `*_dice` 1 - Dice, both averaged
    over structures: neither lets the background, most of the pixels, say that all masks are alike.
    Masks that a source deforms or learns are patients' anatomy as much as images are. Row i of the
    table `mask_copies` of the cell is row i of the synthetic set.
    """

    axis = "privacy"
    names = ("privacy/mask_copy_rate", "privacy/mask_nn_ratio", "privacy/copied_masks")
    pools = ("train", "test", "synthetic")
    needs = ("masks",)
    higher_is_better = False
    catches = ("copy",)
    spares = ("heldout",)

    def __init__(self, fpr: float = 0.05, by: Sequence[str] = ("contour", "dice")) -> None:
        self.fpr = fpr
        self.by = tuple(by)

    def compute(self, evidence: Evidence) -> list[Score]:
        if reason := too_few(evidence, CALIBRATE):
            return self.blank(reason)
        scores: list[Score] = []
        tables: list[pd.DataFrame] = []
        for by in self.by:
            names = [in_space(name, by, "contour") for name in self.names]
            found, table = judged(names, self._search(by, evidence), evidence, self.fpr, "masks")
            scores += found
            tables.append(table.assign(space=by))
        evidence.tables["mask_copies"] = pd.concat(tables, ignore_index=True)
        return scores

    def _search(self, by: str, evidence: Evidence) -> Search:
        train, (top, left, bottom, right) = evidence.pools["train"], _box(evidence)
        labels = [k for k in train.labels if k in evidence.pools["synthetic"].labels]
        absent = train.spacing_mm * float(np.linalg.norm(train.masks.shape[-2:]))
        ways: dict[str, tuple[Callable[[Masks], Tensor], Distance]] = {
            "dice": (partial(structures, labels=labels), dice_distance),
            "contour": (
                partial(contours, labels=labels, spacing_mm=train.spacing_mm),
                partial(contour_distance, absent=absent),
            ),
        }
        if by not in ways:
            raise ValueError(f"by is {by}, not one of {', '.join(ways)}")
        describe, distance = ways[by]

        def described(*names: str) -> Tensor:
            masks = torch.cat([evidence.pools[name].masks for name in names])
            return describe(masks[..., top:bottom, left:right])

        known = described("train")

        def search(*names: str) -> tuple[Neighbours, Array]:
            found = nearest_masks(described(*names), known, evidence.subjects("train"), distance)
            return found, ratios(found)

        return search


def _box(evidence: Evidence) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) that no structure of any mask crosses: contours and overlaps are the same inside."""
    names = ("train", "synthetic", *evidence.held_out)
    heart = torch.stack([(evidence.pools[name].masks > 0).flatten(0, 1).any(0) for name in names])
    rows, columns = (heart.any(0).any(side).nonzero() for side in (1, 0))
    if not len(rows):
        return (0, 0, 1, 1)
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
