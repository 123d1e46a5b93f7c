"""How well does a segmentation network trained on synthetic images do on real, unseen subjects?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.utility.arms import Arm, named
from cmr_bench.metrics.utility.breakdown import breakdown, volumes
from cmr_bench.metrics.utility.worth import worth
from cmr_bench.metrics.volumes import cases, ejection
from cmr_bench.stats import difference, difference_p, holm, interval, ratio, subject_means
from cmr_bench.types import LABELS, Pool, Score

POOLS = {"test": "", "external": "external_"}
STRUCTURE = {"dice": "higher", "hd95": "lower", "iou": "higher", "asd": "lower", "volume_error": "lower"}  # fmt: skip
CAVITIES = (1, 3)
REAL = "same network trained on real images"
CURVE = "all real subjects, the end of the learning curve: a value there means or more"


@dataclass(frozen=True)
class Judged:
    """What the networks of one arm drew into a domain, volume by volume; `prefix` begins its scores."""

    arm: Arm
    domain: str
    prefix: str
    found: pd.DataFrame
    about: dict[str, float | str]

    @property
    def whole(self) -> pd.DataFrame:
        return self.found[self.found["level"] == "all"]

    def beside(self, other: Judged) -> Judged:
        """The fits of the seeds that the other arm has too."""
        fits = other.found["fit"].nunique()
        return replace(self, found=self.found[self.found["fit"] < fits])

    @property
    def dice(self) -> pd.Series:
        return subject_means(self.whole["dice"], self.whole["subject"])


class Segmentation(Metric):
    """Networks trained on arms of real and synthetic images, judged per volume on unseen real subjects.

    Same network, optimiser steps and choice of weights (the last) in each arm; one fit a seed,
    averaged within a subject. Dice and, but for arms of few real subjects, each structure's Dice,
    IoU, HD95, ASD, volume error (ml) and the error of the ejection fraction (%); background never
    counts, and rules for absent structures are those of `volumes`. `dice_ratio` and `dice_gap`
    compare each arm with the real one on the same subjects and seeds (paired bootstrap; in `extra` p
    of the paired t test and Holm's p over all comparisons of both domains of the cell). Intervals
    and p cover the choice of test subjects alone, neither the seeds of the fits nor other cells.
    `worth` is the number of real patients that do as much (`worth.py`), where arms of few real
    subjects make a learning curve. Only structures count that the training data, the synthetic
    and those of the domain label. All volumes and their breakdown by vendor, pathology and level
    are tables of the cell.
    """

    axis = "utility"
    names = ("utility/dice", "utility/dice_ratio", "utility/dice_gap")
    pools = ("train", "test", "synthetic")
    needs = ("segment", "masks")
    higher_is_better = True

    def __init__(
        self, seeds: Sequence[int] = (0,), arms: Sequence[Arm | str] = ("synthetic", "both", "real")
    ) -> None:
        self.seeds, self.arms = tuple(seeds), tuple(named(arm) for arm in arms)
        there = [arm.name for arm in self.arms]
        if not {"synthetic", "real"} <= set(there) or len(set(there)) < len(there):
            raise ValueError(f"arms are {there}: take synthetic, real and others, each name once")

    def compute(self, evidence: Evidence) -> list[Score]:
        judged, scores = [], []
        for domain in (name for name in POOLS if len(evidence.pools.get(name, ()))):
            arms = {j.arm.name: j for j in self._judged(evidence, domain)}
            judged.append(arms)
            for one in arms.values():
                scores += self._own(one, arms["real"], evidence.seed)
            scores += self._worth(list(arms.values()), evidence)
        scores += self._against_real(judged, evidence.seed)
        self._keep(evidence, [one for arms in judged for one in arms.values()])
        return scores + self._impossible(evidence)

    def _judged(self, evidence: Evidence, domain: str) -> Iterator[Judged]:
        pool, train = evidence.pools[domain], evidence.pools["train"]
        learnt = {*train.labels} & {*evidence.pools["synthetic"].labels}
        labels = [k for k in pool.labels if k in learnt]
        for arm in (arm for arm in self.arms if not self._lacks(arm, evidence)):
            seeds = self.seeds[: arm.fits]
            drawn = [evidence.segmented(arm, domain, seed) for seed in seeds]
            about = describe(arm, evidence, seeds)
            name = "" if arm.name == "synthetic" else f"{arm.name}_"
            prefix = f"utility/{POOLS[domain]}{name}"
            yield Judged(arm, domain, prefix, volumes(pool, drawn, labels), about)

    def _own(self, one: Judged, real: Judged, seed: int) -> list[Score]:
        """The arm's own scores, each beside that of the real arm at the same seeds."""
        real = real.beside(one)
        scores = [self._score(one, f"{one.prefix}dice", "dice", one.whole, real.whole, seed)]
        if one.arm.few:
            return scores
        for k in one.whole["label"].unique():
            own, other = (j.whole[j.whole["label"] == k] for j in (one, real))
            for what in STRUCTURE:
                name = f"{one.prefix}{what}_{LABELS[k]}"
                scores.append(self._score(one, name, what, own, other, seed))
            if k in CAVITIES:
                own, other = (_ejections(j.whole, k) for j in (one, real))
                name = f"{one.prefix}ef_error_{LABELS[k]}"
                scores.append(self._score(one, name, "error", own, other, seed))
        return scores

    def _score(
        self, one: Judged, name: str, what: str, own: pd.DataFrame, real: pd.DataFrame, seed: int
    ) -> Score:
        means, other = (subject_means(t[what], t["subject"]) for t in (own, real))
        alone = one.arm.name == "real"
        return score(
            name,
            interval(own[what], own["subject"], seed=seed),
            n=len(means),
            better=STRUCTURE.get(what, "lower"),
            reference=float("nan") if alone else float(other.mean()),
            reference_name="" if alone else REAL,
            extra=one.about | (cases(own) if "case" in own else {}),
        )

    def _against_real(self, judged: Sequence[dict[str, Judged]], seed: int) -> list[Score]:
        """Ratio and gap of each arm, with p corrected for the number of gaps in all domains."""
        pairs = [
            (o, arms["real"].beside(o))
            for arms in judged
            for o in arms.values()
            if o.arm.name != "real"
        ]
        p = [difference_p(one.dice, real.dice) for one, real in pairs]
        known = int(np.isfinite(p).sum())
        scores = []
        for (one, real), raw, held in zip(pairs, p, holm(p), strict=True):
            tested = {"p": raw, "p_holm": float(held), "comparisons": known}
            for what, compare, equal in (("ratio", ratio, 1.0), ("gap", difference, 0.0)):
                scores.append(
                    score(
                        f"{one.prefix}dice_{what}",
                        compare(one.dice, real.dice, seed=seed),
                        n=len(one.dice),
                        better="higher",
                        reference=equal,
                        reference_name=REAL,
                        extra=one.about | (tested if what == "gap" else {}),
                    )
                )
        return scores

    def _worth(self, arms: Sequence[Judged], evidence: Evidence) -> list[Score]:
        """Real patients that each arm with synthetic images is worth, where the curve can tell."""
        train = evidence.pools["train"]
        points = {o.arm.real_subjects(train): o for o in arms if _real_point(o.arm)}
        counts = sorted(points)
        if len(counts) < 2:
            return []
        scores = []
        for one in arms:
            base = one.arm.real_subjects(train)
            if one.arm.kind == "real" or not one.arm.on_curve or base >= counts[-1]:
                continue
            curve = pd.DataFrame({count: points[count].beside(one).dice for count in counts})
            found = worth(counts, curve, one.dice, base=base, seed=evidence.seed)
            scores.append(
                score(
                    f"{one.prefix}worth",
                    found.patients,
                    n=found.n,
                    better="higher",
                    reference=counts[-1] - base,
                    reference_name=CURVE,
                    extra=one.about | {"share_above": found.above, "share_below": found.below},
                )
            )
        return scores

    def _keep(self, evidence: Evidence, judged: Sequence[Judged]) -> None:
        for name, table_of in (("volumes", _volumes), ("breakdown", breakdown)):
            parts = []
            for one in judged:
                table = table_of(one.found, evidence.pools[one.domain])
                table.insert(0, "arm", one.arm.name)
                table.insert(0, "domain", one.domain)
                parts.append(table)
            evidence.tables[f"utility_{name}"] = pd.concat(parts, ignore_index=True)

    def _impossible(self, evidence: Evidence) -> list[Score]:
        """Arms that there are too few real subjects or synthetic images for, with the reason."""
        reasons = {arm.name: self._lacks(arm, evidence) for arm in self.arms}
        return [
            Score(f"utility/{name}_dice", np.nan, reason=reason)
            for name, reason in reasons.items()
            if reason
        ]

    def _lacks(self, arm: Arm, evidence: Evidence) -> str | None:
        pools = evidence.pools
        return arm.lacks(pools["train"], len(pools["synthetic"]), self.seeds[: arm.fits])


def describe(arm: Arm, evidence: Evidence, seeds: Sequence[int]) -> dict[str, float | str]:
    """What stands beside each score of an arm; `synthetic_images` are those that its first fit sees."""
    train, there = evidence.pools["train"], len(evidence.pools["synthetic"])
    return {
        "segmenter_seeds": len(seeds),
        "real_subjects": arm.real_subjects(train),
        "synthetic": f"{arm.ratio:g} to 1" if arm.ratio else "none" if arm.ratio == 0 else "all",
        "synthetic_images": there if arm.ratio is None else arm.wants(train, seeds[0]),
        "on_curve": str(arm.on_curve).lower(),
    }


def _real_point(arm: Arm) -> bool:
    return arm.kind == "real" and arm.on_curve


def _volumes(found: pd.DataFrame, pool: Pool) -> pd.DataFrame:
    return found[found["level"] == "all"].drop(columns="level")


def _ejections(whole: pd.DataFrame, label: int) -> pd.DataFrame:
    return pd.concat([ejection(part, label) for _, part in whole.groupby("fit")])
