"""How different are the images: of one mask under several seeds, and of different masks?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.stats import Array, Estimate, interval, reweighted
from cmr_bench.types import Score

REAL = "two real test images of different subjects"


def between(x: Tensor, groups: ArrayLike, *, repeats: int = 500, seed: int = 0) -> Estimate:
    """Root mean square distance of two rows of different groups (N, D); groups are resampled.

    Out of sums of the groups alone, since sum |x - y|^2 = n_v q_u + n_u q_v - 2 s_u s_v for groups
    of n rows with sum s and sum of squares q: no pair is ever formed.
    """
    _, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    values = x.double().numpy()
    values = values - values.mean(0)
    n = np.bincount(group).astype(np.float64)
    q = np.bincount(group, (values**2).sum(1))
    s = np.zeros((len(n), values.shape[1]))
    np.add.at(s, group, values)
    own = 2 * (n * q - (s**2).sum(1))

    def statistic(w: Array) -> Array:
        every = 2 * ((w @ n) * (w @ q) - ((w @ s) ** 2).sum(1)) - w**2 @ own
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.sqrt(every.clip(min=0) / ((w @ n) ** 2 - w**2 @ n**2))

    return reweighted(statistic, len(n), repeats=repeats, seed=seed)


def one_subject(x: Tensor) -> Estimate:
    """Root mean square distance of the rows (N, D) of one subject to each other, which tells nothing of others: no interval."""
    return Estimate(between(x, range(len(x)), repeats=1).value, float("nan"), float("nan"))


def within(x: Tensor, groups: ArrayLike) -> Array:
    """Mean square distance of two different rows of each group (N, D), in the order of the groups."""
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    parts = (x[torch.as_tensor(group == g)].double() for g in range(group.max() + 1))
    return np.array([2 * float(rows.var(dim=0).sum()) for rows in parts])


class Diversity(Metric):
    """Root mean square distance in the default feature space of two images, and what real ones have.

    `diversity`: of two images of `synthetic`, which have different masks. `diversity_within`: of
    `images` for one mask, over `masks` test masks; 0 means that the mask alone decides and
    the seed nothing. Real data have one image a mask, so both stand beside two real images of
    different subjects, the most that can be asked of `diversity_within`; `share` is the ratio to
    them. Too little is collapse; more than real data have is no merit, since noise of another kind
    is diverse as well.
    """

    axis = "fidelity"
    names = ("fidelity/diversity", "fidelity/diversity_within")
    pools = ("test", "synthetic")
    needs = ("encode",)
    higher_is_better = True
    rankings: ClassVar = {"fidelity/diversity": (("heldout", "one_patient", "mean"),)}
    blind_to = ("copy",)

    def __init__(self, masks: int = 8, images: int = 4) -> None:
        if masks < 1 or images < 2:
            raise ValueError(f"diversity: masks={masks}, images={images}: needs 1 and 2 or more")
        self.masks, self.images = masks, images

    def compute(self, evidence: Evidence) -> list[Score]:
        found, real = (
            between(evidence.features(k), evidence.subjects(k), seed=evidence.seed)
            for k in ("synthetic", "test")
        )
        if (
            len(set(evidence.subjects("synthetic"))) == 1
        ):  # of one subject: its images to each other
            found = one_subject(evidence.features("synthetic"))
        n = len(evidence.pools["synthetic"])
        return [
            _score("fidelity/diversity", found, real, n, "images"),
            self._within(evidence, real),
        ]

    def _within(self, evidence: Evidence, real: Estimate) -> Score:
        name, lack = "fidelity/diversity_within", evidence.lacks((), ("sample",))
        if lack:
            return Score(name, float("nan"), reason=lack)
        last = len(evidence.pools["test"]) - 1
        rows = np.unique(np.linspace(0, last, self.masks).astype(int))
        images = evidence.sampled("test", tuple(map(int, rows)), self.images)
        features = evidence.encoded(images.flatten(0, 1)[:, None])
        squares = within(features, rows.repeat(self.images))
        who = evidence.subjects("test")[rows]
        estimate = Estimate(*np.sqrt(interval(squares, who, seed=evidence.seed)))
        about: dict[str, float | str] = {"masks": len(rows), "images": self.images}
        return _score(name, estimate, real, len(set(who)), "subjects", about)


def _score(
    name: str,
    found: Estimate,
    real: Estimate,
    n: int,
    unit: str,
    about: Mapping[str, float | str] | None = None,
) -> Score:
    share = found.value / real.value if real.value else float("nan")
    limits = {"reference_low": real.low, "reference_high": real.high}
    return score(
        name,
        found,
        n=n,
        unit=unit,
        better="higher",
        reference=real.value,
        reference_name=REAL,
        extra={**limits, "share": share, **(about or {})},
    )
