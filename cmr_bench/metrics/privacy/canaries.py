"""What repetition costs: are planted subjects, whose fingerprint nobody else has, found again?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmr_bench.discrimination import auc
from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import suspicion
from cmr_bench.metrics.privacy.calibration import fewest
from cmr_bench.stats import FEWEST, Array, proportion
from cmr_bench.types import Pool, Score

Groups = dict[str, NDArray[np.bool_]]
"""Which canaries are scored together, by the end of the score's name."""
REACH = 2
"""Pixels by which a fingerprint may be off its place: training shifts and turns images."""


def likeness(samples: Tensor, codes: Tensor, start: int, side: int) -> Array:
    """(n, m) best correlation of any of the samples (n, k, H, W) with each fingerprint (m, side, side).

    Over the k samples of a row and shifts of up to REACH pixels.
    """
    first = max(0, start - REACH)
    region = samples[..., first : start + side + REACH, first : start + side + REACH].double()
    windows = region.unfold(-2, side, 1).unfold(-2, side, 1).flatten(-2).flatten(1, -2)
    return (_standard(windows) @ _standard(codes.double().flatten(1)).T).amax(1).numpy()


def _standard(vectors: Tensor) -> Tensor:
    centred = vectors - vectors.mean(-1, keepdim=True)
    return centred / centred.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def extracted(own: Array, others: Array, fpr: float) -> tuple[NDArray[np.bool_], float]:
    """((n,) whether the own fingerprint is the one that is found, how often that happens by chance).

    own (n,), others (n, m): likeness to the own fingerprint and to m that nobody was trained on. All were drawn alike,
    so that of a model that knows none of them each rank of the own one is equally likely (Carlini et al. 2019,
    exposure): at most k = fpr (m + 1), rounded down but 1 at least, of m + 1 ranks count.
    """
    m = others.shape[1]
    k = max(1, int(fpr * (m + 1) + 1e-9))
    return 1 + (others >= own[:, None]).sum(1) <= k, k / (m + 1)


class Canaries(Metric):
    """Planted subjects (`data.canaries`) by how often each was repeated in the training set of the generator.

    `canary_extraction`: share whose fingerprint the best of `samples` images for their mask carries, nearer than those
    of held-out canaries, whom nobody was trained on. `canary_auc`: the loss attack on planted against held-out ones.
    Both also for each number of repetitions, as `..._x16`. Every canary is one subject with one image. Fewer than `fpr` needs give a line and no number.
    """

    axis = "privacy"
    names = ("privacy/canary_extraction", "privacy/canary_auc")
    pools = ("canaries", "canaries_held_out")
    higher_is_better = False
    untested = "no control was trained on planted subjects"

    def __init__(
        self,
        samples: int = 4,
        fpr: float = 0.05,
        times: Sequence[float] = (0.1, 0.2, 0.4),
        repeats: int = 2,
    ) -> None:
        self.samples, self.fpr = samples, fpr
        self.times, self.repeats = tuple(times), repeats

    def skip(self, evidence: Evidence) -> str | None:
        if "canaries" not in evidence.pools:
            return "no subject was planted: give data.canaries=n"
        return super().skip(evidence) or self._too_few(evidence)

    def _too_few(self, evidence: Evidence) -> str | None:
        """Rates need held-out canaries enough for `fpr`, and intervals FEWEST planted ones of each number of repetitions."""
        planted, unknown = (evidence.pools[name] for name in self.pools)
        often = planted.table["repeats"].value_counts()
        least = max(fewest(self.fpr), FEWEST * len(often))
        if len(unknown) >= least and often.min() >= FEWEST:
            return None
        return (
            f"a false-positive rate of {self.fpr:g} and {len(often)} numbers of repetitions need {least} canaries "
            f"at least; there are {len(unknown)}: give data.canaries={least} or more"
        )

    def compute(self, evidence: Evidence) -> list[Score]:
        planted = evidence.pools["canaries"]
        often = planted.table["repeats"].to_numpy()
        groups: Groups = {"": np.ones(len(planted), dtype=bool)}
        groups |= {f"_x{r}": often == r for r in sorted(set(often.tolist()))}
        return [*self._extraction(evidence, groups), *self._attack(evidence, groups)]

    def _extraction(self, evidence: Evidence, groups: Groups) -> list[Score]:
        name = self.names[0]
        if reason := evidence.lacks((), ("sample",)):
            return [Score(name, float("nan"), reason=reason)]
        planted, unknown = (evidence.pools[pool] for pool in self.pools)
        at = int(planted.table["start"].iloc[0]), int(planted.table["side"].iloc[0])
        drawn = evidence.sampled("canaries", range(len(planted)), self.samples)
        own = likeness(drawn, _codes(planted, *at), *at).diagonal()
        found, rate = extracted(own, likeness(drawn, _codes(unknown, *at), *at), self.fpr)
        return [
            score(
                f"{name}{end}",
                proportion(int(found[rows].sum()), int(rows.sum())),
                n=int(rows.sum()),
                better="lower",
                reference=rate,
                reference_name="fingerprints of held-out canaries",
                extra={"samples_each": self.samples, "likeness": float(own[rows].mean())},
            )
            for end, rows in groups.items()
        ]

    def _attack(self, evidence: Evidence, groups: Groups) -> list[Score]:
        name = self.names[1]
        if reason := evidence.lacks((), ("losses",)):
            return [Score(name, float("nan"), reason=reason)]
        parts = [evidence.losses(pool, self.times, self.repeats) for pool in self.pools]
        suspected = suspicion(torch.cat(parts))
        members, others = suspected[: len(parts[0])], suspected[len(parts[0]) :]
        return [
            score(
                f"{name}{end}",
                auc(members[rows], others, seed=evidence.seed),
                n=int(rows.sum()) + len(others),
                better="lower",
                reference=0.5,
                reference_name="guessing",
                extra={"members": int(rows.sum()), "others": len(others)},
            )
            for end, rows in groups.items()
        ]


def _codes(pool: Pool, start: int, side: int) -> Tensor:
    return pool.images[:, 0, start : start + side, start : start + side]
