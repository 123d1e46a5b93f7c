"""Nearest images of another pool, with subjects told apart: exact, in bounded memory.

A float32 product of matrices finds every row that can be the nearest; those few are compared in
float64, so that the answer is that of float64 brute force.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

BLOCK = 2**23
"""Elements of a block of rough distances: 32 MiB."""

PAIRS = 2**21
"""Elements of the vectors that are compared in float64 at a time: 16 MiB."""

SURE = 8.0


class Neighbours(NamedTuple):
    """(N,) distance and gallery row of the nearest image, and of the nearest one of another subject than its."""

    first: Tensor
    row: Tensor
    second: Tensor
    other: Tensor


def neighbours(queries: Tensor, gallery: Tensor, subjects: ArrayLike) -> Neighbours:
    """Nearest and patient-aware second nearest; vectors (N, d), (M, d), Euclidean.

    The second neighbour comes from another subject than the first: the next slice or the other
    phase of the same heart is so near that it would hide a copy. Where there is one subject alone
    it is infinitely far.
    """
    group = groups(subjects)
    parts = []
    for vectors, rough, slack in _blocks(queries, gallery):
        first, row = _nearest(vectors, gallery, rough, slack)
        rough[group[None] == group[row][:, None]] = float("inf")
        parts.append(Neighbours(first, row, *_nearest(vectors, gallery, rough, slack)))
    return Neighbours(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def closest(parts: Iterable[Neighbours], subjects: ArrayLike) -> Neighbours:
    """The neighbours over several searches for the same queries: in parts of the gallery, or of the queries' variants.

    The two nearest subjects of all are among the two nearest of the searches that met them.
    """
    group = groups(subjects)
    best, *rest = parts
    for part in rest:
        distance = torch.stack([best.first, part.first, best.second, part.second])
        row = torch.stack([best.row, part.row, best.other, part.other])
        first = _least(distance, row)
        distance[group[row] == group[first[1]]] = float("inf")
        best = Neighbours(*first, *_least(distance, row))
    return best


def _least(distance: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """(smallest distance of each column, first row that has it)."""
    least = distance.amin(0)
    return least, row.where(distance == least, torch.iinfo(row.dtype).max).amin(0)


def other_subject(gallery: Tensor, subjects: ArrayLike) -> Tensor:
    """(M,) distance of each gallery image to the nearest image of another subject."""
    group = groups(subjects)
    parts, start = [], 0
    for vectors, rough, slack in _blocks(gallery, gallery):
        own = group[start : start + len(vectors)]
        rough[group[None] == own[:, None]] = float("inf")
        parts.append(_nearest(vectors, gallery, rough, slack)[0])
        start += len(vectors)
    return torch.cat(parts)


def nearest(queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """(distance in float64 (N,), row) of the nearest gallery image, the first of equals."""
    parts = [_nearest(q, gallery, *more) for q, *more in _blocks(queries, gallery)]
    distance, row = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return distance, row


def _blocks(queries: Tensor, gallery: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(queries (b, d), rough |g|^2 - 2 q.g (b, M) in float32, by how much it may be off (b,)).

    Vectors are centred first. The sum of d rounded products is off by at most sqrt(d) u |q| |g|
    times a small factor but for a chance that falls exponentially in its square (Higham & Mary
    2019, theorem 3.1); the factor is SURE.
    """
    centre = gallery.mean(0)
    centred = (gallery - centre).float()
    squares = centred.square().sum(1)
    longest = squares.max().sqrt()
    unit = SURE * gallery.shape[1] ** 0.5 * torch.finfo(torch.float32).eps / 2
    for vectors in queries.split(max(1, BLOCK // len(gallery))):
        q = (vectors - centre).float()
        rough = torch.addmm(squares, q, centred.T, alpha=-2)
        yield vectors, rough, unit * longest * (2 * q.norm(dim=1) + longest)


def _nearest(
    queries: Tensor, gallery: Tensor, rough: Tensor, slack: Tensor
) -> tuple[Tensor, Tensor]:
    """(distance in float64, first row that has it) among rows whose rough distance is finite."""
    limit = (rough.amin(1) + 2 * slack).clamp(max=torch.finfo(rough.dtype).max)
    query, row = (rough <= limit[:, None]).nonzero(as_tuple=True)
    size = max(1, PAIRS // gallery.shape[1])
    parts = [
        (queries[a].double() - gallery[b].double()).norm(dim=1)
        for a, b in zip(query.split(size), row.split(size), strict=True)
    ]
    exact = torch.cat(parts)
    best = exact.new_full((len(queries),), float("inf")).scatter_reduce(0, query, exact, "amin")
    at = exact == best[query]
    last = row.new_full((len(queries),), len(gallery) - 1)
    return best, last.scatter_reduce(0, query[at], row[at], "amin")


def groups(subjects: ArrayLike) -> Tensor:
    """(M,) the number of each row's subject."""
    return torch.as_tensor(np.unique(np.asarray(subjects, dtype=str), return_inverse=True)[1])
