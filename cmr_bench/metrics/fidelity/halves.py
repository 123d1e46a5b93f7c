"""Random halves of real data by subject: what a distance shows where there is no difference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmr_bench.seeds import numpy_rng

Rows = NDArray[np.intp]


def halves(subjects: ArrayLike, *, repeats: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """`repeats` random splits of rows into two halves that share no subject."""
    names, group = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    for repeat in range(repeats):
        order = numpy_rng("halves", seed, repeat).permutation(len(names))
        first = np.isin(group, order[: len(names) // 2])
        yield np.flatnonzero(first), np.flatnonzero(~first)
