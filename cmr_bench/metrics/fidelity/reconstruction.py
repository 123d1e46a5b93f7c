"""What the autoencoder of a latent model loses: the best that such a model can draw."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.volumes import overlap
from cmr_bench.stats import interval, ratio, subject_means
from cmr_bench.types import Score


class Reconstruction(Metric):
    """Test images through the encoder and back, D(E(x)): the ceiling of every model in that latent space.

    `reconstruction_mae` is the mean |D(E(x)) - x| of intensities in [-1, 1]; `reconstruction_adherence` the Dice
    that a real-trained segmenter reaches on D(E(x)), beside what it reaches on x. Means over subjects.
    """

    axis = "fidelity"
    names = ("fidelity/reconstruction_mae", "fidelity/reconstruction_adherence")
    pools = ("train", "test", "reconstructed")
    needs = ("segment",)
    higher_is_better = False
    untested = "no control has an autoencoder"

    def __init__(self, seeds: Sequence[int] = (0,)) -> None:
        self.seeds = tuple(seeds)

    def skip(self, evidence: Evidence) -> str | None:
        """Also where the model works on pixels."""
        if "test" in evidence.pools and "reconstructed" not in evidence.pools:
            return "the model has no autoencoder"
        return super().skip(evidence)

    def compute(self, evidence: Evidence) -> list[Score]:
        real, drawn = (evidence.pools[name].images for name in ("test", "reconstructed"))
        error = (drawn - real).abs().flatten(1).mean(1)
        subjects, seed = evidence.subjects("test"), evidence.seed
        after, before = (self._dice(evidence, name) for name in ("reconstructed", "test"))
        kept = ratio(after, before, seed=seed)
        return [
            score(
                self.names[0],
                interval(error, subjects, seed=seed),
                n=len(set(subjects)),
                better="lower",
                reference=0.0,
                reference_name="nothing lost",
            ),
            score(
                self.names[1],
                interval(after, after.index, seed=seed),
                n=len(after),
                better="higher",
                reference=float(before.mean()),
                reference_name="same segmenter on the images themselves",
                extra={"share": kept.value, "share_low": kept.low, "share_high": kept.high},
            ),
        ]

    def _dice(self, evidence: Evidence, name: str) -> pd.Series:
        """Mean Dice of each subject over structures, phases and segmenters."""
        test, trained = evidence.pools["test"], evidence.pools["train"].labels
        labels = [k for k in test.labels if k in trained]
        drawn = (evidence.segmented("real", name, s) for s in self.seeds)
        table = pd.concat([overlap(test.masks, d, pool=test, labels=labels) for d in drawn])
        return subject_means(table["dice"], table["subject"])
