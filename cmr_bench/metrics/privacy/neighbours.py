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
    for block in _blocks(queries, gallery):
        first, row = block.nearest(gallery)
        block.least[group[None] == group[row][:, None]] = float("inf")
        parts.append(Neighbours(first, row, *block.nearest(gallery)))
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
    for block in _blocks(gallery, gallery):
        own = group[start : start + len(block.queries)]
        block.least[group[None] == own[:, None]] = float("inf")
        parts.append(block.nearest(gallery)[0])
        start += len(own)
    return torch.cat(parts)


def nearest(queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """(distance in float64 (N,), row) of the nearest gallery image, the first of equals."""
    parts = [block.nearest(gallery) for block in _blocks(queries, gallery)]
    distance, row = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return distance, row


def _blocks(queries: Tensor, gallery: Tensor) -> Iterator[_Block]:
    """The queries in blocks, each with the whole gallery.

    Vectors are centred first, products are float32. The sum of d rounded products is off by at most sqrt(d) u |q| |g|
    times a small factor but for a chance that falls exponentially in its square (Higham & Mary 2019, theorem 3.1); the
    factor is SURE. So |g|^2 - 2 q.g is off by e |g| (|g| + 2 |q|) at most, e = SURE sqrt(d) u: its part with |q| is one
    more column of the product.
    """
    centre = gallery.mean(0)
    centred = (gallery - centre).float()
    length = centred.norm(dim=1)
    error = SURE * gallery.shape[1] ** 0.5 * torch.finfo(torch.float32).eps / 2 * length
    known, squares = torch.cat([centred, error[:, None]], 1), length.square() - error * length
    for vectors in queries.split(max(1, BLOCK // len(gallery))):
        q = (vectors - centre).float()
        size = q.norm(dim=1)
        least = torch.addmm(squares, torch.cat([q, size[:, None]], 1), known.T, alpha=-2)
        yield _Block(vectors, least, size, length, error)


class _Block(NamedTuple):
    """Queries (b, d); the least that |g|^2 - 2 q.g can be (b, M); |q| (b,); |g| and e |g| (M,)."""

    queries: Tensor
    least: Tensor
    size: Tensor
    length: Tensor
    error: Tensor

    def nearest(self, gallery: Tensor) -> tuple[Tensor, Tensor]:
        """(distance in float64, first row that has it) among rows whose `least` is finite."""
        least, at = self.least.min(1)
        limit = least + 2 * self.error[at] * (self.length[at] + 2 * self.size)
        limit = limit.clamp(max=torch.finfo(least.dtype).max)
        query, row = (self.least <= limit[:, None]).nonzero(as_tuple=True)
        exact = torch.empty(len(query), dtype=torch.float64)
        for part in torch.arange(len(query)).split(max(1, PAIRS // gallery.shape[1])):
            apart = self.queries[query[part]].double() - gallery[row[part]].double()
            exact[part] = apart.norm(dim=1)
        best = exact.new_full((len(self.queries),), float("inf"))
        best = best.scatter_reduce(0, query, exact, "amin")
        found = exact == best[query]
        last = row.new_full((len(self.queries),), len(gallery) - 1)
        return best, last.scatter_reduce(0, query[found], row[found], "amin")


def groups(subjects: ArrayLike) -> Tensor:
    """(M,) the number of each row's subject."""
    return torch.as_tensor(np.unique(np.asarray(subjects, dtype=str), return_inverse=True)[1])
