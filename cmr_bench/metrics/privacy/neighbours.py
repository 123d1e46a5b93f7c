"""Nearest images of another pool, with subjects told apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

CHUNK = 256


class Neighbours(NamedTuple):
    """Distance to the nearest image, its subject (index of `names`), distance to other subjects."""

    first: Tensor
    subject: Tensor
    second: Tensor
    names: NDArray[np.str_]


def neighbours(queries: Tensor, gallery: Tensor, subjects: ArrayLike) -> Neighbours:
    """Nearest and patient-aware second nearest; vectors (N, d), (M, d), Euclidean.

    The second neighbour comes from another subject than the first: the next slice or the other
    phase of the same heart is so near that it would hide a copy.
    """
    names, group = _groups(subjects)
    if len(names) < 2:
        raise ValueError("neighbours need training images of two subjects at least")
    first, subject, second = [], [], []
    for distances in _by_subject(queries, gallery, group, len(names)):
        two = distances.topk(2, dim=1, largest=False)
        first.append(two.values[:, 0])
        second.append(two.values[:, 1])
        subject.append(two.indices[:, 0])
    return Neighbours(torch.cat(first), torch.cat(subject), torch.cat(second), names)


def other_subject(gallery: Tensor, subjects: ArrayLike) -> Tensor:
    """(M,) distance of each gallery image to the nearest image of another subject."""
    names, group = _groups(subjects)
    parts = []
    for own, distances in zip(
        group.split(CHUNK), _by_subject(gallery, gallery, group, len(names)), strict=True
    ):
        parts.append(distances.scatter(1, own[:, None], float("inf")).amin(1))
    return torch.cat(parts)


def nearest_row(queries: Tensor, gallery: Tensor) -> Tensor:
    """(N,) row of the nearest gallery image."""
    parts = queries.double().split(CHUNK)
    return torch.cat([torch.cdist(part, gallery.double()).argmin(1) for part in parts])


def _by_subject(queries: Tensor, gallery: Tensor, group: Tensor, subjects: int) -> Iterator[Tensor]:
    """Chunks (b, subjects) of the distance to each subject's nearest image."""
    gallery = gallery.double()
    for part in queries.double().split(CHUNK):
        nearest = torch.full((len(part), subjects), float("inf"), dtype=torch.float64)
        distances = torch.cdist(part, gallery)
        yield nearest.scatter_reduce(1, group.expand(len(part), -1), distances, "amin")


def _groups(subjects: ArrayLike) -> tuple[NDArray[np.str_], Tensor]:
    names, group = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    return names, torch.as_tensor(group)
