"""The frame of every attack on membership: suspicion of images, averaged to subjects, judged with intervals."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

from cmr_bench.discrimination import auc, tpr_at_fpr
from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.blind import void
from cmr_bench.metrics.privacy.members import Sides, sides, thinned
from cmr_bench.stats import FEWEST, Array, subject_means
from cmr_bench.types import Score

LOW_FPR = 0.001


def named(key: str) -> tuple[str, str, str]:
    """The scores of an attack."""
    return (
        f"privacy/{key}_auc",
        f"privacy/{key}_tpr_at_fpr",
        f"privacy/{key}_tpr_at_low_fpr",
    )


class Attack(Metric):
    """Tells members (train) from others (val and test) of one random split by subject.

    An attack is its `suspicions`: one number an image, higher for members. Slices are averaged to
    subjects and subjects resampled. `names` (see `named`) are the AUC, 0.5 being ignorance; the
    share of members found at a false-positive rate of `fpr` or the lowest that the others support,
    which stands in the extra `fpr`; and that share at LOW_FPR, given only where the others support
    it. `void` in the extra says that even an attack blind to the model tells the sides apart, so
    that the result is no evidence about the model, and `unchecked` that this could not be asked;
    `blind=False` leaves it unasked. `slices` are
    looked at of each subject, spread over its stack; None is all.
    """

    axis = "privacy"
    pools: ClassVar[tuple[str, ...]] = ("train", "test")
    higher_is_better = False
    catches: ClassVar[tuple[str, ...]] = ("copy",)
    spares: ClassVar[tuple[str, ...]] = ("painter",)
    blind_to = ("one_patient",)  # one subject of many does not move an AUC
    fewest = FEWEST  # subjects that each side needs

    def __init__(self, fpr: float = 0.01, blind: bool = True, slices: int | None = None) -> None:
        self.fpr = fpr
        self.blind = blind
        self.slices = slices

    @abstractmethod
    def suspicions(self, evidence: Evidence, names: tuple[str, ...]) -> Array:
        """(N,) how strongly each image of the pools, one after the other, looks like a member."""

    def compute(self, evidence: Evidence) -> list[Score]:
        if reason := sides(evidence).lack(self.fewest):
            return self.blank(reason)
        return marked(self.told(evidence), void(evidence) if self.blind else {})

    def told(self, evidence: Evidence) -> list[Score]:
        """What the attack finds, void or not."""
        few = evidence if self.slices is None else thinned(evidence, self.slices)
        found = sides(few)
        suspicion = self.suspicions(few, found.names)
        if suspicion.min() == suspicion.max():
            return self.blank(
                "the model answers alike about every image: nothing to tell members by"
            )
        self._keep(evidence, suspicion, found)
        return judged(self.names, suspicion, found, fpr=self.fpr, seed=evidence.seed)

    def _keep(self, evidence: Evidence, suspicion: Array, found: Sides) -> None:
        """The suspicion of each subject, from which the report draws the ROC curve of the attack."""
        table = pd.concat(
            pd.DataFrame(
                {
                    "member": inside,
                    "suspicion": subject_means(suspicion[rows], found.subjects[rows]),
                }
            )
            for inside, rows in ((True, found.member), (False, ~found.member))
        )
        attack = self.names[0].removeprefix("privacy/").removesuffix("_auc")
        evidence.tables[f"attack_{attack}"] = table.rename_axis("subject").reset_index()


def judged(
    names: tuple[str, ...], suspicion: Array, found: Sides, *, fpr: float, seed: int
) -> list[Score]:
    """AUC and shares of members found, of the suspicion (N,) of rows."""
    members, others = found.means(suspicion)
    sizes: dict[str, float | str] = {"members": len(members), "others": len(others)}
    n = len(members) + len(others)
    caught, rate = tpr_at_fpr(members, others, fpr, seed=seed)
    scores = [
        score(
            names[0],
            auc(members, others, seed=seed),
            n=n,
            better="lower",
            reference=0.5,
            reference_name="guessing",
            extra=sizes,
        ),
        score(
            names[1],
            caught,
            n=n,
            better="lower",
            reference=rate,
            reference_name="guessing",
            extra={"fpr": rate, **sizes},
        ),
    ]
    if LOW_FPR * (len(others) + 1) < 1 - 1e-9:
        reason = (
            f"{len(others)} held-out subjects support no false-positive rate below "
            f"{1 / (len(others) + 1):.2g}; {LOW_FPR:g} needs {1 / LOW_FPR - 1:.0f}"
        )
        return [*scores, Score(names[2], float("nan"), reason=reason)]
    caught, rate = tpr_at_fpr(members, others, LOW_FPR, seed=seed)
    return [
        *scores,
        score(
            names[2],
            caught,
            n=n,
            better="lower",
            reference=rate,
            reference_name="guessing",
            extra={"fpr": rate, **sizes},
        ),
    ]


def marked(scores: list[Score], marks: Mapping[str, str]) -> list[Score]:
    """The scores with `void` or `unchecked` in their extra."""
    return [replace(s, extra={**s.extra, **marks}) for s in scores]


def suspicion(errors: Tensor) -> Array:
    """(N,) how strongly small errors (N, repeats, times) speak for membership.

    Minus the mean over repeats, standardised at each time over all images (members or not) so that
    no time outweighs the others, then averaged over times.
    """
    each = errors.double().mean(1)
    spread = each.std(0, correction=0).clamp(min=1e-12)
    return (-(each - each.mean(0)) / spread).mean(1).numpy()


def concatenated(parts: list[Tensor]) -> Array:
    """Suspicion of errors (N, times) of several pools, one after the other."""
    return suspicion(torch.cat(parts)[:, None])
