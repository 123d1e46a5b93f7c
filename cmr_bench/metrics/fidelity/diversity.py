"""How different are the images: of one mask under several seeds, and of different masks?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.seeds import mix
from cmr_bench.stats import Array, Estimate, interval, reweighted
from cmr_bench.types import MaskToImage, Pool, Score

REAL = "two real test images of different subjects"
REPEATED = "repeated"


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


def within(x: Tensor, groups: ArrayLike) -> pd.Series:
    """Mean square distance of two different rows of each group (N, D) with at least two."""
    names = np.asarray(groups, dtype=str)
    found = {}
    for name in np.unique(names):
        rows = x[torch.as_tensor(names == name)].double()
        if len(rows) > 1:
            found[name] = 2 * float(rows.var(dim=0).sum())
    return pd.Series(found, dtype=np.float64)


class Diversity(Metric):
    """Root mean square distance in the default feature space of two images, and what real ones have.

    `diversity`: of two images of `synthetic`, which have different masks. `diversity_within`: of
    `seeds` images for one mask, over `masks` test masks; 0 means that the mask alone decides and
    the seed nothing. Real data have one image a mask, so both stand beside two real images of
    different subjects, the most that can be asked of `diversity_within`; `share` is the ratio to
    them. Neither more nor less is better by itself: noise of another kind is diverse as well.
    """

    axis = "fidelity"
    names = ("fidelity/diversity", "fidelity/diversity_within")
    pools = ("test", "synthetic")
    needs = ("encode",)
    higher_is_better = True
    orders = (("heldout", "mean"),)
    blind_to = ("copy",)

    def __init__(self, masks: int = 8, seeds: int = 8) -> None:
        if masks < 1 or seeds < 2:
            raise ValueError(f"diversity: masks={masks}, seeds={seeds}: needs 1 and 2 or more")
        self.masks, self.seeds = masks, seeds

    def compute(self, evidence: Evidence) -> list[Score]:
        found, real = (
            between(evidence.features(k), evidence.subjects(k), seed=evidence.seed)
            for k in ("synthetic", "test")
        )
        n = len(evidence.pools["synthetic"])
        across = _score("fidelity/diversity", found, real, n, "images")
        return [across, self._within(evidence, real)]

    def _within(self, evidence: Evidence, real: Estimate) -> Score:
        name = "fidelity/diversity_within"
        if not isinstance(evidence.model, MaskToImage):
            return Score(name, float("nan"), reason="the model draws no further images")
        pool = evidence.pool(REPEATED, lambda: self._repeated(evidence))
        squares = within(evidence.features(REPEATED), pool.table["mask"])
        who = pool.table.drop_duplicates("mask").set_index("mask")["subject"][squares.index]
        spread = interval(squares, who, seed=evidence.seed)
        estimate = Estimate(*np.sqrt(spread))
        extra = {"masks": len(squares), "seeds": self.seeds}
        return _score(name, estimate, real, who.nunique(), "subjects", extra)

    def _repeated(self, evidence: Evidence) -> Pool:
        """`seeds` images of each of `masks` test masks."""
        few = evidence.pools["test"].spread(self.masks)
        pool = few.take(np.arange(len(few)).repeat(self.seeds), REPEATED)
        seeds = torch.tensor([mix(evidence.seed, REPEATED, i) for i in range(len(pool))])
        images = cast(MaskToImage, evidence.model).sample(pool.masks, seeds=seeds)
        mask = [f"{i // self.seeds:05d}" for i in range(len(pool))]
        return replace(pool, images=images.cpu(), table=pool.table.assign(mask=mask))


def _score(
    name: str,
    found: Estimate,
    real: Estimate,
    n: int,
    unit: str,
    extra: Mapping[str, float | str] | None = None,
) -> Score:
    share = found.value / real.value if real.value else float("nan")
    about: dict[str, float | str] = {
        "reference_low": real.low,
        "reference_high": real.high,
        "share": share,
    }
    return score(
        name,
        found,
        n=n,
        unit=unit,
        better="",
        reference=real.value,
        reference_name=REAL,
        extra=about | dict(extra or {}),
    )
