"""Does the loss tell whose images a model was trained on? (Carlini et al. 2023)"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.stats import Array, auc, subject_means, tpr_at_fpr
from cmr_bench.types import Score


def suspicion(losses: Tensor) -> Array:
    """(N,) how strongly low losses (N, repeats, times) speak for membership.

    Minus the mean over noises, standardised at each time over all images (members or not) so that
    no time outweighs the others, then averaged over times.
    """
    each = losses.double().mean(1)
    spread = each.std(0, correction=0).clamp(min=1e-12)
    return (-(each - each.mean(0)) / spread).mean(1).numpy()


class Membership(Metric):
    """Loss attack on train (members) against test and val (others), of one split by subject.

    Losses at several fixed times and noises, the same noises for every image; slices are averaged
    to subjects. AUC 0.5 is ignorance; `mia_tpr_at_fpr` is the share of members found at the lowest
    false-positive rate, or `fpr` if the others support it (its value stands in `fpr`).
    """

    axis = "privacy"
    names = ("privacy/mia_auc", "privacy/mia_tpr_at_fpr")
    pools = ("train", "test")
    needs = ("losses",)
    higher_is_better = False

    def __init__(
        self,
        times: Sequence[float] = (0.1, 0.2, 0.3, 0.5),
        repeats: int = 4,
        fpr: float = 0.01,
    ) -> None:
        self.times = tuple(times)
        self.repeats = repeats
        self.fpr = fpr

    def compute(self, evidence: Evidence) -> list[Score]:
        members, others = self._subjects(evidence)
        found = auc(members, others, seed=evidence.seed)
        caught, fpr = tpr_at_fpr(members, others, self.fpr, seed=evidence.seed)
        sizes: dict[str, float | str] = {"members": len(members), "others": len(others)}
        return [
            score(
                "privacy/mia_auc",
                found,
                n=len(members) + len(others),
                better="lower",
                reference=0.5,
                reference_name="guessing",
                extra=sizes,
            ),
            score(
                "privacy/mia_tpr_at_fpr",
                caught,
                n=len(members) + len(others),
                better="lower",
                reference=fpr,
                reference_name="guessing",
                extra={"fpr": fpr, **sizes},
            ),
        ]

    def _subjects(self, evidence: Evidence) -> tuple[Array, Array]:
        names = ("train", *evidence.held_out)
        parts = [evidence.losses(name, self.times, self.repeats) for name in names]
        found = suspicion(torch.cat(parts))
        cut = len(evidence.pools["train"])
        members = subject_means(found[:cut], evidence.subjects("train"))
        others = subject_means(found[cut:], evidence.subjects(*evidence.held_out))
        return members.to_numpy(), others.to_numpy()
