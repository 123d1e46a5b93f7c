"""Authenticity of synthetic images (Alaa et al. 2022), grouped by subject."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.spaces import each_space
from cmr_bench.metrics.privacy.copies import too_few
from cmr_bench.metrics.privacy.neighbours import nearest, other_subject
from cmr_bench.stats import open_end, row_mean
from cmr_bench.types import Score


def authentic(queries: Tensor, train: Tensor, apart: Tensor) -> Tensor:
    """(N,) whether a query is farther from its nearest training image than other subjects are.

    `apart` (M,) is each training image's distance to the nearest image of another subject; the
    published form takes any other image, and the next slice of the same heart makes all look
    authentic.
    """
    distance, row = nearest(queries, train)
    return distance > apart[row]


class Authenticity(Metric):
    """Share of synthetic images that are authentic, beside that of held-out real images.

    In the encoder's space, and as `*_pixels` in that of low-passed pixels.
    """

    axis = "privacy"
    names = ("privacy/authenticity",)
    pools = ("train", "test", "synthetic")
    higher_is_better = True
    catches = ("copy", "copy_noise")
    spares = ("heldout",)

    def __init__(self, spaces: Sequence[str] = ("features", "pixels")) -> None:
        self.spaces = tuple(spaces)

    def compute(self, evidence: Evidence) -> list[Score]:
        if reason := too_few(evidence):
            return self.blank(reason)
        return each_space(evidence, self.names, self.spaces, self._in)

    def _in(self, space: str, evidence: Evidence) -> list[Score]:
        train = evidence.vectors(space, "train")
        apart = other_subject(train, evidence.subjects("train"))
        found, real = (
            authentic(evidence.vectors(space, *names), train, apart).double()
            for names in (("synthetic",), evidence.held_out)
        )
        usual = row_mean(real, evidence.subjects(*evidence.held_out), seed=evidence.seed)
        subjects = evidence.subjects("synthetic")
        return [
            score(
                self.names[0],
                open_end(row_mean(found, subjects, seed=evidence.seed), len(set(subjects))),
                n=len(found),
                unit="images",
                better="higher",
                reference=usual.value,
                reference_name="held-out subjects",
                extra={"reference_low": usual.low, "reference_high": usual.high},
            )
        ]
