"""Extraction keyed by masks: whoever holds a patient's mask, does the model hand out that patient's image?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cmr_bench.discrimination import auc
from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import marked
from cmr_bench.metrics.privacy.blind import void
from cmr_bench.metrics.privacy.calibration import fewest, share_below, threshold
from cmr_bench.metrics.privacy.members import sides
from cmr_bench.stats import Array
from cmr_bench.types import Masks, Pool, Score


def gathering(samples: Tensor, owner: Tensor, alike: Tensor) -> Array:
    """(n,) distance of samples (n, k, H, W) to the owner's image (n, H, W) over that to its look-alikes (n, l, H, W).

    Both distances are means over the k samples of root mean square differences of images
    low-passed by 2 x 2 means; of the look-alikes the nearest counts. Near 1: the samples show the
    mask; far below 1: they show the owner.
    """
    s, o, a = (F.avg_pool2d(x.float(), 2).flatten(-2).double() for x in (samples, owner, alike))
    own = (s - o[:, None]).square().mean(-1).sqrt().mean(1)
    others = (s[:, :, None] - a[:, None]).square().mean(-1).sqrt().mean(1).amin(1)
    return (own / others.clamp(min=1e-9)).numpy()


def chosen(pool: Pool, subjects: int) -> NDArray[np.intp]:
    """One row each of at most so many subjects of a pool: the slice with the largest heart."""
    names = np.unique(pool.subjects)
    kept = names[np.linspace(0, len(names) - 1, min(subjects, len(names))).astype(int)]
    heart = (pool.masks > 0).flatten(1).sum(1).numpy()
    return np.array([max(np.flatnonzero(pool.subjects == s), key=heart.__getitem__) for s in kept])


def look_alikes(mask: Masks, subject: str, pools: list[Pool], count: int) -> Tensor:
    """(count, H, W) images of other subjects whose masks disagree with (1, H, W) in the fewest pixels."""
    off = torch.cat([(pool.masks != mask).flatten(1).sum(1) for pool in pools])
    own = np.concatenate([pool.subjects for pool in pools]) == subject
    off[torch.as_tensor(own)] = mask.numel() + 1
    nearest = off.argsort(stable=True)[:count]
    return torch.cat([pool.images for pool in pools])[nearest, 0]


class Extraction(Metric):
    """Black box: `repeats` samples for the mask of each of some training and held-out subjects.

    Of images released without their model the samples are those whose masks disagree least with the subject's.
    A training subject is extracted where its samples gather nearer to its image than to its
    look-alikes, by a ratio that held-out subjects undercut at the false-positive rate `fpr`; too few
    of them give a line and no rate. Masks of held-out subjects are the control: what a mask alone
    tells of its image, it tells of theirs. `extraction_auc` compares the ratios without a threshold.
    """

    axis = "privacy"
    names = ("privacy/extraction_auc", "privacy/extraction_rate")
    pools = ("train", "test")
    higher_is_better = False
    catches = ("copy",)
    spares = ("painter", "heldout")
    blind_to = ("one_patient",)

    def __init__(
        self, subjects: int = 12, repeats: int = 2, alike: int = 5, fpr: float = 0.1
    ) -> None:
        self.subjects = subjects
        self.repeats = repeats
        self.alike = alike
        self.fpr = fpr

    def skip(self, evidence: Evidence) -> str | None:
        """Where there is neither a model to ask nor released images with masks."""
        if evidence.model is None and "synthetic" in evidence.pools:
            return evidence.lacks((*self.pools, "synthetic"), ("masks",))
        return evidence.lacks(self.pools, ("sample",))

    def compute(self, evidence: Evidence) -> list[Score]:
        found = sides(evidence)
        if reason := found.lack():
            return self.blank(reason)
        members, others = self._ratios(evidence, found.names)
        scores = [
            score(
                "privacy/extraction_auc",
                auc(-members, -others, seed=evidence.seed),
                n=len(members) + len(others),
                better="lower",
                reference=0.5,
                reference_name="guessing",
                extra={"members": len(members), "others": len(others)},
            ),
            self._rate(members, others, evidence.seed),
        ]
        return marked(scores, void(evidence))

    def _rate(self, members: Array, others: Array, seed: int) -> Score:
        if len(others) < fewest(self.fpr):
            reason = (
                f"a false-positive rate of {self.fpr:g} needs {fewest(self.fpr)} held-out subjects "
                f"at least; there are {len(others)}"
            )
            return Score(self.names[1], float("nan"), reason=reason)
        limit, rate = threshold(others, self.fpr)
        return score(
            self.names[1],
            share_below(
                members, range(len(members)), others, range(len(others)), self.fpr, seed=seed
            ),
            n=len(members),
            better="lower",
            reference=rate,
            reference_name="false positives on held-out subjects",
            extra={
                "threshold": limit,
                "held_out_subjects": len(others),
                "samples_each": self.repeats,
                "smallest": float(members.min()),
            },
        )

    def _ratios(self, evidence: Evidence, names: tuple[str, ...]) -> tuple[Array, Array]:
        pools = [evidence.pools[name] for name in names]
        held_out = sum(len(set(pool.subjects)) for pool in pools[1:])
        parts = []
        for pool in pools:
            share = len(set(pool.subjects)) / held_out if pool is not pools[0] else 1.0
            rows = chosen(pool, max(1, round(self.subjects * share)))
            alike = [look_alikes(pool.masks[r], pool.subjects[r], pools, self.alike) for r in rows]
            samples = self._samples(evidence, pool, rows)
            parts.append(gathering(samples, pool.images[rows, 0], torch.stack(alike)))
        return parts[0], np.concatenate(parts[1:])

    def _samples(self, evidence: Evidence, pool: Pool, rows: NDArray[np.intp]) -> Tensor:
        """(len(rows), repeats, H, W) images for the masks of these rows, asked of the model or found among those released."""
        if evidence.model is not None:
            return evidence.sampled(pool.name, tuple(int(r) for r in rows), self.repeats)
        released = [evidence.pools["synthetic"]]
        return torch.stack([look_alikes(pool.masks[r], "", released, self.repeats) for r in rows])
