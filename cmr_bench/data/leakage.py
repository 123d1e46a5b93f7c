"""The leakage gate: no subject on two sides, and no scan on two sides under two names.

A fingerprint of a volume survives re-saving: three levels of the stack, averaged on a 32 x 32 grid and high-passed, each
of zero mean and unit norm, compared by correlation over the eight in-plane arrangements and both slice orders. Two views
are taken, since each survives what the other does not: the whole field of view without constant margins (needs no
labels), and 80 mm around the LV cavity (survives any crop). On 200 volumes of ACDC and Sunnybrook different patients
reach at most 0.58, other phases of one patient 0.70 or more, one scan in another type, scale, orientation, crop or
in-plane grid 0.89 or more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from cmr_bench.data.stack import Stack

ALIKE = 0.65
GRID = 32
LEVELS = 3
HIGH_PASS = 2.0
HEART_MM = 80.0
MARGIN = 0.01


@dataclass(frozen=True)
class Twin:
    """Two subjects that are one scan; likeness is the correlation of their fingerprints, up to 1."""

    first: str
    second: str
    likeness: float

    def __str__(self) -> str:
        return f"{self.first} and {self.second} are one scan under two names (likeness {self.likeness:.2f})"


def fingerprint(stack: Stack) -> np.ndarray:
    """(2, LEVELS, GRID, GRID) float32: the whole view and the heart; zeros where there is nothing to see."""
    image, depth = stack.image, stack.image.shape[2]
    views = [_view(image, *_inside(image), (0, depth))]
    cavity = np.argwhere(stack.mask == 1 if (stack.mask == 1).any() else stack.mask > 0)
    if len(cavity):
        centre = cavity.mean(axis=0) + 0.5
        half = HEART_MM / 2 / np.array(stack.spacing_mm)
        rows, columns = ((centre[i] - half[i], centre[i] + half[i]) for i in range(2))
        views.append(_view(image, rows, columns, (cavity[:, 2].min(), cavity[:, 2].max() + 1)))
    else:
        views.append(np.zeros_like(views[0]))
    return np.stack(views)


def likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, 2, L, G, G) and (M, 2, L, G, G) fingerprints to (N, M), the best of views and arrangements; a negative
    intensity scale counts as its positive."""
    best = np.zeros((len(first), len(second)), dtype=np.float32)
    for flipped in (second, second[:, :, ::-1]):
        for mirrored in (flipped, np.swapaxes(flipped, 3, 4)):
            for quarters in range(4):
                turned = np.rot90(mirrored, quarters, axes=(3, 4))
                for view in range(first.shape[1]):
                    left = first[:, view].reshape(len(first), -1)
                    right = turned[:, view].reshape(len(second), -1)
                    np.maximum(best, np.abs(left @ right.T), out=best)
    return best


def twins(
    first: tuple[Sequence[str], np.ndarray], second: tuple[Sequence[str], np.ndarray] | None = None
) -> list[Twin]:
    """Pairs of differently named subjects with alike volumes, within one data set or between two.

    Each argument is the subjects of its volumes and their fingerprints; the most alike volumes stand for a pair of
    subjects. A pair must stand out: of the way from what is usual among the two's others (lower median) to identity, it
    has to go the share ALIKE. Real hearts are usually unlike (0.1); drawn ones may all share their outline.
    """
    other = second or first
    if not len(first[0]) or not len(other[0]):
        return []
    rows, at = np.unique(list(first[0]), return_inverse=True)
    columns, to = np.unique(list(other[0]), return_inverse=True)
    table = np.zeros((len(rows), len(columns)))
    np.maximum.at(table, (at[:, None], to[None]), likeness(first[1], other[1]))
    strangers = (rows[:, None] != columns[None]) | (second is not None)
    usual = np.maximum(_usual(table, strangers)[:, None], _usual(table.T, strangers.T)[None])
    found = strangers & (table >= usual + ALIKE * (1 - usual))
    pairs = [(str(rows[i]), str(columns[j]), float(table[i, j])) for i, j in np.argwhere(found)]
    return [Twin(a, b, value) for a, b, value in pairs if second is not None or a < b]


def _usual(table: np.ndarray, strangers: np.ndarray) -> np.ndarray:
    """Each row's lower median over the others; 0 where a single one cannot tell what is usual."""
    values = [np.sort(row[mask]) for row, mask in zip(table, strangers, strict=True)]
    return np.array([row[(len(row) - 1) // 2] if len(row) > 1 else 0.0 for row in values])


def refuse_overlap(splits: Mapping[str, Iterable[str]]) -> None:
    """ValueError if a subject is in two of the named splits."""
    where: dict[str, str] = {}
    for name, subjects in splits.items():
        for subject in sorted(set(subjects)):
            if where.setdefault(subject, name) != name:
                raise ValueError(
                    f"leakage: subject {subject} is in {where[subject]} and in {name}; keep it in one"
                )


def _inside(image: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns between the constant margins of a padded volume."""
    least = MARGIN * float(np.ptp(image))
    spans = []
    for axes in ((1, 2), (0, 2)):
        busy = np.flatnonzero(np.ptp(image, axis=axes) > least)
        spans.append(
            (int(busy[0]), int(busy[-1]) + 1) if len(busy) else (0, image.shape[3 - sum(axes)])
        )
    return spans[0], spans[1]


def _view(
    image: np.ndarray,
    rows: tuple[float, float],
    columns: tuple[float, float],
    levels: tuple[float, float],
) -> np.ndarray:
    """Area means of a box (voxel edges) on the grid, linear between slices, high-passed, unit norm by level; what lies
    outside the image takes the mean of what lies inside."""
    across, along = _bins(image.shape[0], *rows), _bins(image.shape[1], *columns)
    raised = image - image.min()
    parts = [across @ (raised @ weights) @ along.T for weights in _between(image.shape[2], *levels)]
    cover = np.outer(across.sum(axis=1), along.sum(axis=1))
    grid = (
        np.stack(parts)
        + (1 - cover) * np.stack(parts).sum(axis=(1, 2), keepdims=True) / cover.sum()
    )
    grid -= gaussian_filter(grid, (0, HIGH_PASS, HIGH_PASS))
    grid -= grid.mean(axis=(1, 2), keepdims=True)
    norm = np.sqrt((grid**2).sum(axis=(1, 2), keepdims=True))
    unit = np.divide(grid, norm, out=np.zeros_like(grid), where=norm > 1e-6 * np.ptp(image))
    return (unit / np.sqrt(LEVELS)).astype(np.float32)


def _bins(length: int, low: float, high: float) -> np.ndarray:
    """(GRID, length) weights that average voxels over equal bins of [low, high]; nothing lies outside the image."""
    edges = np.linspace(low, high, GRID + 1)
    start = np.arange(length)
    overlap = np.minimum(edges[1:, None], start + 1) - np.maximum(edges[:-1, None], start)
    return np.clip(overlap, 0, None) / max(edges[1] - edges[0], 1e-9)


def _between(depth: int, low: float, high: float) -> np.ndarray:
    """(LEVELS, depth) weights of linear interpolation at the middles of equal parts of [low, high]."""
    at = np.clip(low + (high - low) * (np.arange(LEVELS) + 0.5) / LEVELS - 0.5, 0, depth - 1)
    return np.clip(1 - np.abs(at[:, None] - np.arange(depth)), 0, None)
