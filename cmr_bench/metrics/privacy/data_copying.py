"""Do synthetic images lie nearer to the training set than unseen ones do? (Meehan, Chaudhuri & Dasgupta 2020)"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.spaces import each_space
from cmr_bench.metrics.privacy.copies import too_few
from cmr_bench.metrics.privacy.neighbours import nearest
from cmr_bench.stats import Array, Estimate, expanded_percentile, multiplicities
from cmr_bench.types import Score

LEAST = 10
"""Synthetic images that a cell must hold to count."""


class Cell(NamedTuple):
    """`wins` (m, k): of the held-out images of subject j, the share nearer to training than synthetic image i.

    `subjects` (k,) are the subjects' numbers, `weight` is the cell's share of held-out images.
    """

    wins: Array
    subjects: NDArray[np.intp]
    weight: float


def cells_of(
    distance: Array, place: NDArray[np.intp], real: Array, real_place: NDArray[np.intp],
    subjects: NDArray[np.intp],
) -> Iterator[Cell]:  # fmt: skip
    """Cells with LEAST synthetic images and two held-out subjects, of distances to training and cells of both."""
    for cell in np.unique(real_place):
        near, inside = distance[place == cell], real_place == cell
        who = np.unique(subjects[inside])
        if len(near) < LEAST or len(who) < 2:
            continue
        columns = []
        for subject in who:
            others = real[inside & (subjects == subject)]
            above = (near[:, None] > others) + 0.5 * (near[:, None] == others)
            columns.append(above.mean(1))
        yield Cell(np.stack(columns, axis=1), who, float(inside.mean()))


def c_t(cells: Sequence[Cell], subjects: int, *, seed: int = 0) -> Estimate:
    """Mean over cells, by weight, of z = (U - 1/2) / sqrt((m + k + 1) / (12 m k)), with its interval.

    U is the chance that a synthetic image of the cell is farther from its nearest training image
    than a held-out one is (Meehan et al. 2020, section 3), m counts synthetic images and k held-out
    subjects, each of which counts once: slices of one heart are not independent, and k images would
    be the most that they can be worth. The interval resamples synthetic images of each cell and
    held-out subjects. Far below 0: copies; about 0: as near as unseen patients; above: farther.
    """
    total = sum(cell.weight for cell in cells)
    value, samples = 0.0, np.zeros(2000)
    people = multiplicities(subjects, repeats=2000, seed=seed)
    for number, cell in enumerate(cells):
        m, k = cell.wins.shape
        scale = cell.weight / total / np.sqrt((m + k + 1) / (12 * m * k))
        value += scale * (cell.wins.mean() - 0.5)
        images = multiplicities(m, repeats=2000, seed=seed + 1 + number)
        weights = people[:, cell.subjects]
        drawn = weights.sum(1)
        share = ((images @ cell.wins) * weights).sum(1) / (m * np.maximum(drawn, 1))
        samples += scale * np.where(drawn > 0, share - 0.5, 0.0)
    return expanded_percentile(value, samples, subjects)


class DataCopying(Metric):
    """C_T with the subject as the unit: distances to the nearest training image, within cells of like images.

    Cells are those of k-means on training images (`cells`); one with too few synthetic images or a
    single held-out subject is left out, and `covered` in the extra is the share of held-out images
    in the others. Unlike `Copies` it sees a set that keeps a little too near to the training set as
    a whole, and no single copy. In the encoder's space, and as `*_pixels` in that of low-passed pixels.
    """

    axis = "privacy"
    names = ("privacy/data_copying",)
    pools = ("train", "test", "synthetic")
    higher_is_better = True
    catches = ("copy",)
    spares = ("heldout",)

    def __init__(self, spaces: Sequence[str] = ("features", "pixels"), cells: int = 4) -> None:
        self.spaces = tuple(spaces)
        self.cells = cells

    def compute(self, evidence: Evidence) -> list[Score]:
        if reason := too_few(evidence):
            return self.blank(reason)
        return each_space(evidence, self.names, self.spaces, self._in)

    def _in(self, space: str, evidence: Evidence) -> list[Score]:
        train = evidence.vectors(space, "train")
        partition = KMeans(min(self.cells, len(train)), n_init=4, random_state=evidence.seed)
        partition.fit(train.double().numpy())
        who, number = np.unique(evidence.subjects(*evidence.held_out), return_inverse=True)

        def placed(*names: str) -> tuple[Array, NDArray[np.intp]]:
            found = evidence.vectors(space, *names).double()
            return nearest(found, train)[0].numpy(), partition.predict(found.numpy())

        cells = [*cells_of(*placed("synthetic"), *placed(*evidence.held_out), number)]
        if not cells:
            return self.blank(f"no cell has {LEAST} synthetic images and two held-out subjects")
        return [
            score(
                self.names[0],
                c_t(cells, len(who), seed=evidence.seed),
                n=len(evidence.pools["synthetic"]),
                unit="images",
                better="higher",
                reference=0.0,
                reference_name="images of unseen subjects",
                extra={
                    "cells": len(cells),
                    "covered": sum(cell.weight for cell in cells),
                    "held_out_subjects": len(who),
                },
            )
        ]
