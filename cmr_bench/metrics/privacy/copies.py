"""Is a synthetic image a copy? Nearest training images, calibrated on held-out subjects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.neighbours import Neighbours, neighbours
from cmr_bench.stats import proportion, row_mean
from cmr_bench.types import Score


def threshold(held_out: ArrayLike, fpr: float) -> tuple[float, float]:
    """(t, rate): a ratio below t is a copy; a new held-out image is so called at most at rate.

    t is the k-th smallest of n held-out ratios, k = fpr (n + 1) rounded down (conformal p-value). n
    images support no rate below 1 / (n + 1); a lower one is raised to it, and the rate is handed
    back.
    """
    values = np.sort(np.asarray(held_out, dtype=np.float64))
    k = max(1, int(fpr * (len(values) + 1) + 1e-9))
    return float(values[k - 1]), k / (len(values) + 1)


class Copies(Metric):
    """Patient-aware ratio d1 / d2 of each synthetic image to the training images.

    d1: nearest training image; d2: nearest of another subject. Near 1, it resembles the cohort; far
    below 1, one person. `copy_rate` counts ratios below a threshold that real held-out subjects
    (val, test) pass at the stated false-positive rate `fpr`, which is thus the rate to expect of
    images that copy nobody; few held-out subjects leave that rate uncertain, see its own interval,
    reference_low to reference_high. `copied_subjects` is the share of training subjects with at
    least one near-copy, beside the share to expect from false positives alone. In pixel space
    (low-passed), and as `*_features` in the encoder's.
    """

    axis = "privacy"
    names = ("privacy/copy_rate", "privacy/nn_ratio", "privacy/copied_subjects")
    pools = ("train", "test", "synthetic")
    higher_is_better = False
    catches = ("copy", "copy_noise")
    spares = ("heldout",)

    def __init__(self, fpr: float = 0.05, spaces: Sequence[str] = ("pixels", "features")) -> None:
        self.fpr = fpr
        self.spaces = tuple(spaces)
        self.needs = ("encode",) if "features" in self.spaces else ()

    def compute(self, evidence: Evidence) -> list[Score]:
        if len(set(evidence.subjects("train"))) < 2:
            return self.blank("needs training images of two subjects at least")
        return [one for space in self.spaces for one in self._in(space, evidence)]

    def _in(self, space: str, evidence: Evidence) -> list[Score]:
        train, subjects = evidence.vectors(space, "train"), evidence.subjects("train")
        found = neighbours(evidence.vectors(space, "synthetic"), train, subjects)
        real = neighbours(evidence.vectors(space, *evidence.held_out), train, subjects)
        ratio, real_ratio = _ratio(found), _ratio(real)
        limit, fpr = threshold(real_ratio, self.fpr)
        copied = ratio < limit
        people = evidence.subjects(*evidence.held_out)
        false = row_mean(real_ratio < limit, people, seed=evidence.seed)
        hit = len(np.unique(found.subject.numpy()[copied]))
        end = "" if space == "pixels" else f"_{space}"
        return [
            score(
                f"privacy/copy_rate{end}",
                proportion(int(copied.sum()), len(copied)),
                n=len(copied),
                unit="images",
                better="lower",
                reference=fpr,
                reference_name="false positives on held-out subjects",
                extra={
                    "threshold": limit,
                    "held_out_images": len(real_ratio),
                    "held_out_subjects": len(set(people)),
                    "reference_low": false.low,
                    "reference_high": false.high,
                },
            ),
            score(
                f"privacy/nn_ratio{end}",
                row_mean(ratio, evidence.subjects("synthetic"), seed=evidence.seed),
                n=len(ratio),
                unit="images",
                better="higher",
                reference=float(real_ratio.mean()),
                reference_name="held-out subjects",
                extra={"smallest": float(ratio.min())},
            ),
            score(
                f"privacy/copied_subjects{end}",
                proportion(hit, len(found.names)),
                n=len(found.names),
                better="lower",
                reference=_expected(real, fpr, len(ratio)),
                reference_name="expected from false positives",
                extra={"in_words": f"{hit} of {len(found.names)} training subjects were copied"},
            ),
        ]


def _ratio(found: Neighbours) -> NDArray[np.float64]:
    """d1 / d2; two identical neighbours of different subjects give 1."""
    first, second = found.first.numpy(), found.second.numpy()
    return np.divide(first, second, out=np.ones_like(first), where=second > 0)


def _expected(real: Neighbours, fpr: float, images: int) -> float:
    """Share of training subjects that false positives alone would flag among so many images.

    Held-out images fall to training subjects with frequencies q; a subject stays unflagged with
    probability (1 - fpr q)^images.
    """
    q = np.bincount(real.subject.numpy(), minlength=len(real.names)) / len(real.subject)
    return float((1 - (1 - fpr * q) ** images).mean())
