"""Extraction keyed by masks: whoever holds a patient's mask, does the model hand out that patient's image?"""

from __future__ import annotations

from dataclasses import replace

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
from cmr_bench.seeds import numpy_rng
from cmr_bench.stats import Array, subject_means
from cmr_bench.types import LABELS, Masks, Pool, Score, join

COPY = 1e-3
"""Ratios below it are one: the samples are the image but for rounding."""


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


def chosen(pool: Pool, subjects: int, slices: int, seed: int) -> NDArray[np.intp]:
    """Rows of at most so many subjects of a pool and so many slices of each, drawn among those that show a heart, if any do."""
    heart, names = (pool.masks > 0).flatten(1).any(1).numpy(), np.unique(pool.subjects)
    parts = []
    for name in names[np.linspace(0, len(names) - 1, min(subjects, len(names))).astype(int)]:
        own = pool.subjects == name
        rows = np.flatnonzero(own & heart if heart[own].any() else own)
        rng = numpy_rng("extraction", seed, str(name))
        parts.append(np.sort(rng.permutation(rows)[:slices]))
    return np.concatenate(parts)


def look_alikes(mask: Masks, pool: Pool, count: int, subject: str = "") -> Tensor:
    """(count,) rows of a pool, of other subjects, whose masks disagree with (1, H, W) in the fewest pixels."""
    off = (pool.masks != mask).flatten(1).sum(1)
    off[torch.as_tensor(pool.subjects == subject)] = mask.numel() + 1
    return off.argsort(stable=True)[:count]


def tissues(pool: Pool) -> Tensor:
    """(labels,) mean intensity of each label of the pool's masks."""
    where, count = pool.masks.flatten(), len(LABELS)
    total = where.bincount(pool.images.flatten().double(), minlength=count)
    return (total / where.bincount(minlength=count).clamp(min=1)).float()


class Extraction(Metric):
    """Black box: `repeats` samples for each of `slices` masks of the training and of the held-out subjects.

    Of images released without their model the samples are those whose masks disagree least with the subject's.
    They may be nearer to masks of training subjects than to others, for which they were made, so images are compared in
    what they show beyond their mask: their difference from one intensity a tissue. A training subject is extracted where its samples gather
    nearer to its images than to their look-alikes, by a geometric mean of ratios that held-out subjects undercut at the
    false-positive rate `fpr`; too few of them give a line and no rate. Masks of held-out subjects are the control: what
    a mask alone tells of its image, it tells of theirs. `extraction_auc` compares the ratios without a threshold. A
    model is asked for 2 `subjects` x `slices` x `repeats` images at most.
    """

    axis = "privacy"
    names = ("privacy/extraction_auc", "privacy/extraction_rate")
    pools = ("train", "test")
    higher_is_better = False
    catches = ("copy",)
    spares = ("painter", "heldout")
    blind_to = ("one_patient",)

    def __init__(
        self,
        subjects: int = 60,
        slices: int = 3,
        repeats: int = 2,
        alike: int = 5,
        fpr: float = 0.1,
    ) -> None:
        self.subjects = subjects
        self.slices = slices
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
        limit, rate = threshold(others, range(len(others)), self.fpr)
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
                "slices_each": self.slices,
                "samples_each": self.repeats,
                "smallest": float(members.min()),
            },
        )

    def _ratios(self, evidence: Evidence, names: tuple[str, ...]) -> tuple[Array, Array]:
        """Ratio of each member, and of each other."""
        pools = [
            replace(pool, table=pool.table.assign(subject=evidence.subjects(name)))
            for name, pool in ((name, evidence.pools[name]) for name in names)
        ]
        held_out, train = sum(len(set(pool.subjects)) for pool in pools[1:]), pools[0]
        real, grey = join("real", *pools), tissues(train)

        def ratios(pool: Pool, subjects: int) -> Array:
            rows = chosen(pool, subjects, self.slices, evidence.seed)
            near = [look_alikes(pool.masks[r], real, self.alike, pool.subjects[r]) for r in rows]
            found = gathering(
                self._samples(evidence, pool, rows, grey),
                (pool.images - grey[pool.masks])[rows, 0],
                (real.images - grey[real.masks])[torch.stack(near), 0],
            )
            return np.exp(subject_means(np.log(found.clip(COPY)), pool.subjects[rows]).to_numpy())

        shares = [self.subjects * len(set(pool.subjects)) / held_out for pool in pools[1:]]
        others = [ratios(p, max(1, round(n))) for p, n in zip(pools[1:], shares, strict=True)]
        return ratios(train, self.subjects), np.concatenate(others)

    def _samples(
        self, evidence: Evidence, pool: Pool, rows: NDArray[np.intp], grey: Tensor
    ) -> Tensor:
        """(len(rows), repeats, H, W) what images for the masks of these rows show beyond them, asked of the model or found among those released."""
        if evidence.model is not None:
            images = evidence.sampled(pool.name, tuple(int(r) for r in rows), self.repeats)
            return images - grey[pool.masks[rows]]
        released = evidence.pools["synthetic"]
        found = torch.stack([look_alikes(pool.masks[r], released, self.repeats) for r in rows])
        return (released.images - grey[released.masks])[found, 0]
