"""How well does a segmentation network trained on synthetic images do on real, unseen subjects?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.utility.arms import Arm, named
from cmr_bench.metrics.utility.breakdown import breakdown, volumes
from cmr_bench.metrics.utility.compared import REAL, Judged, differences, unjudged, worths
from cmr_bench.metrics.volumes import cases, ejection
from cmr_bench.stats import interval, subject_means
from cmr_bench.types import LABELS, Pool, Score

POOLS = {"test": "", "external": "external_"}
STRUCTURE = {"dice": "higher", "hd95": "lower", "iou": "higher", "asd": "lower", "volume_error": "lower"}  # fmt: skip
CAVITIES = (1, 3)


class Segmentation(Metric):
    """Networks trained on arms of real and synthetic images, judged per volume on unseen real subjects.

    Same network, optimiser steps and choice of weights (the last) in each arm; one fit a seed,
    averaged within a subject. Dice and, but for arms of few real subjects, each structure's Dice,
    IoU, HD95, ASD, volume error (ml) and the error of the ejection fraction (%); background never
    counts, and rules for absent structures are those of `volumes`. `dice_ratio` and `dice_gap`
    compare each arm with the real one, `gain` an arm of few real subjects and synthetic images with
    the same subjects alone, and `worth` is the number of real patients that do as much (`worth.py`),
    where arms of few real subjects make a learning curve: each on the same test subjects and seeds.
    Their intervals and p cover the choice of test subjects and, where an arm has several fits, what
    hangs on their seeds: the draw of few real subjects, and the training (`crossed.py`); with one
    fit subjects alone, as `interval_over` in `extra` says. There too: the range of single fits, p
    and Holm's p over all gaps and gains of both domains of the cell. Intervals of all other scores
    are over test subjects; the generator, its images and other cells are given. Only structures
    count that the training data, the synthetic and those of the domain label. All volumes and their
    breakdown by vendor, pathology and level are tables of the cell.
    """

    axis = "utility"
    names = ("utility/dice", "utility/dice_ratio", "utility/dice_gap")
    pools = ("train", "test", "synthetic")
    needs = ("segment", "masks")
    higher_is_better = True
    untested = "it trains a network for each model"

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
            arms = list(self._judged(evidence, domain))
            judged.append(arms)
            real = next(one for one in arms if one.arm.name == "real")
            for one in arms:
                scores += self._own(one, real.beside(one), evidence.seed)
            scores += worths(arms, evidence.pools["train"], evidence.seed)
        scores += differences(judged, evidence.seed)
        self._keep(evidence, [one for arms in judged for one in arms])
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
        make, where = partial(self._score, one, seed), one.domain
        scores = [make("dice", "dice", one.whole, real.whole, unjudged(one))]
        if one.arm.few:
            return scores
        for k in one.whole["label"].unique():
            name = LABELS[k]
            own, other = (j.whole[j.whole["label"] == k] for j in (one, real))
            lack = f"no volume of {where} has a structure {name}"
            scores += [make(f"{w}_{name}", w, own, other, lack) for w in STRUCTURE]
            if k in CAVITIES:
                own, other = (_ejections(j.whole, k) for j in (one, real))
                lack = f"no subject of {where} has a structure {name} at both ED and ES"
                scores.append(make(f"ef_error_{name}", "error", own, other, lack))
        return scores

    def _score(
        self,
        one: Judged,
        seed: int,
        name: str,
        what: str,
        own: pd.DataFrame,
        real: pd.DataFrame,
        lack: str,
    ) -> Score:
        """A mean over subjects; where none has a value, a blank for the reason `lack`."""
        means, other = (subject_means(t[what], t["subject"]) for t in (own, real))
        if means.empty:
            return Score(f"{one.prefix}{name}", np.nan, reason=lack)
        alone = one.arm.name == "real"
        return score(
            f"{one.prefix}{name}",
            interval(own[what], own["subject"], seed=seed),
            n=len(means),
            better=STRUCTURE.get(what, "lower"),
            reference=float("nan") if alone else float(other.mean()),
            reference_name="" if alone else REAL,
            extra=one.about | (cases(own) if "case" in own else {}),
        )

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


def _volumes(found: pd.DataFrame, pool: Pool) -> pd.DataFrame:
    return found[found["level"] == "all"].drop(columns="level")


def _ejections(whole: pd.DataFrame, label: int) -> pd.DataFrame:
    return pd.concat([ejection(part, label) for _, part in whole.groupby("fit")])
