"""Arms beside each other: on real subjects alone, with synthetic images, and along the learning curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from cmr_bench.metrics.base import score
from cmr_bench.metrics.utility.arms import Arm
from cmr_bench.metrics.utility.crossed import estimate, p_of_none
from cmr_bench.metrics.utility.worth import worth
from cmr_bench.stats import Array, holm
from cmr_bench.types import Pool, Score

REAL = "same network trained on real images"
SAME = "same network trained on the same real subjects alone"
Extra = dict[str, float | str]
CURVE = "all real subjects, the end of the learning curve: a value there means or more"


@dataclass(frozen=True)
class Judged:
    """What the networks of one arm drew into a domain, volume by volume; `prefix` begins its scores."""

    arm: Arm
    domain: str
    prefix: str
    found: pd.DataFrame
    about: Extra

    @property
    def whole(self) -> pd.DataFrame:
        return self.found[self.found["level"] == "all"]

    def beside(self, other: Judged) -> Judged:
        """The fits of the seeds that the other arm has too."""
        fits = other.found["fit"].nunique()
        return replace(self, found=self.found[self.found["fit"] < fits])

    @property
    def cells(self) -> pd.DataFrame:
        """Mean Dice of each fit (rows) in each test subject (columns)."""
        known = self.whole.dropna(subset="dice").astype({"dice": float})
        return known.pivot_table(index="fit", columns="subject", values="dice")


class Pair(NamedTuple):
    """An arm beside another; `what` ends the name of its score, and `beside` says what the other is."""

    one: Judged
    other: Judged
    what: str
    beside: str


def complete(*judged: Judged) -> Array:
    """(m, K, n) cells of several arms: the fits that all have, and the subjects in which all of these have a value."""
    tables = [one.cells for one in judged]
    fits = sorted(set.intersection(*({*table.index} for table in tables)))
    if not fits:
        return np.empty((len(tables), 0, 0))
    both = pd.concat([table.loc[fits] for table in tables]).dropna(axis=1)
    return both.to_numpy().reshape(len(tables), len(fits), both.shape[1])


def pairs(arms: Sequence[Judged]) -> Iterator[Pair]:
    """Each arm of a domain beside the real one, and with few subjects also beside the same ones without synthetic images."""
    real = next(o for o in arms if o.arm.name == "real")
    for one in arms:
        if one is not real:
            yield Pair(one, real, "dice_gap", REAL)
        if one.arm.few and one.arm.kind == "both":
            like = ("real", one.arm.strong, one.arm.subjects)
            twins = (o for o in arms if (o.arm.kind, o.arm.strong, o.arm.subjects) == like)
            if twin := next(twins, None):
                yield Pair(one, twin, "gain", SAME)


def differences(judged: Sequence[Sequence[Judged]], seed: int) -> list[Score]:
    """Gaps and ratios to the real arm, and gains over the same few subjects; p corrected for all of them in all domains."""
    found = [pair for arms in judged for pair in pairs(arms)]
    cells = [complete(pair.one, pair.other) for pair in found]
    p = [p_of_none(one - other) for one, other in cells]
    known = int(np.isfinite(p).sum())
    scores = []
    for pair, (one, other), raw, held in zip(found, cells, p, holm(p), strict=True):
        tested: Extra = {"p": raw, "p_holm": float(held), "comparisons": known}
        make = partial(_compared, pair, one, other, seed)
        if pair.what == "dice_gap":
            scores.append(make("dice_ratio", 1.0, {}))
        scores.append(make(pair.what, 0.0, tested))
    return scores


def _compared(
    pair: Pair, one: Array, other: Array, seed: int, what: str, equal: float, tested: Extra
) -> Score:
    """The difference, or with 1 for `equal` the ratio, of the means of two arms (K, n)."""
    name, (k, n) = f"{pair.one.prefix}{what}", one.shape
    if not n:
        return Score(name, np.nan, reason=unjudged(pair.one))
    if equal and not other.mean():
        return Score(name, np.nan, reason="the network beside it has a Dice of 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        times = one.mean() / other.mean() if equal else 1.0
        found = estimate(
            (lambda m: m[:, 0] / m[:, 1]) if equal else (lambda m: m[:, 0] - m[:, 1]),
            np.stack([one, other]),
            one - times * other,
            seed=seed,
        )
    return score(
        name,
        found,
        n=n,
        better="higher",
        reference=equal,
        reference_name=pair.beside,
        extra=pair.one.about | over(k) | tested | ({} if equal else span((one - other).mean(1))),
    )


def worths(arms: Sequence[Judged], train: Pool, seed: int) -> list[Score]:
    """Real patients that each arm with synthetic images is worth, where the curve can tell."""
    points = {
        o.arm.real_subjects(train): o for o in arms if o.arm.kind == "real" and o.arm.on_curve
    }
    counts = sorted(points)
    scores: list[Score] = []
    for one in arms if len(counts) > 1 else ():
        base = one.arm.real_subjects(train)
        if one.arm.kind == "real" or not one.arm.on_curve or base >= counts[-1]:
            continue
        *curve, target = complete(*(points[count] for count in counts), one)
        name, (k, n) = f"{one.prefix}worth", target.shape
        if not n:
            scores.append(Score(name, np.nan, reason=unjudged(one)))
            continue
        found = worth(counts, np.stack(curve), target, base=base, seed=seed)
        shares: Extra = {"share_above": found.above, "share_below": found.below}
        scores.append(
            score(
                name,
                found.patients,
                n=n,
                better="higher",
                reference=counts[-1] - base,
                reference_name=CURVE,
                extra=one.about | shares | over(k) | span(found.fits),
            )
        )
    return scores


def unjudged(one: Judged) -> str:
    """Why an arm has no Dice, in one line."""
    if one.found.empty:
        return f"{one.domain} labels no structure that training data and synthetic images label too"
    return f"no subject of {one.domain} has a structure in each fit of each arm"


def over(fits: int) -> Extra:
    """What an interval covers."""
    many = f"test subjects and the seeds of {fits} fits"
    return {"interval_over": many if fits > 1 else "test subjects alone: there is one fit"}


def span(values: Array) -> Extra:
    """The range of single fits, where there are several."""
    several = len(values) > 1
    return {"fits_low": float(values.min()), "fits_high": float(values.max())} if several else {}
