"""How well does a segmentation network trained on synthetic images do on real, unseen subjects?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.volumes import cases, overlap
from cmr_bench.stats import difference, interval, ratio, subject_means
from cmr_bench.types import LABELS, Score

ARMS = {"synthetic": "", "both": "both_", "real": "real_"}
POOLS = {"test": "", "external": "external_"}
REAL = "same network trained on real images"


class Segmentation(Metric):
    """Dice and HD95 per volume of networks trained on synthetic, on both and on real images.

    Same network, steps and augmentation in each arm; one fit a seed, averaged within a subject.
    `dice_ratio` and `dice_gap` compare the synthetic arm with the real one on the same subjects
    (paired bootstrap). On the external domain too, if there is one, and only for structures that
    both the training and the test data label. Rules for absent structures are those of `volumes`.
    """

    axis = "utility"
    names = ("utility/dice", "utility/dice_ratio", "utility/dice_gap")
    pools = ("train", "test", "synthetic")
    needs = ("segment",)
    higher_is_better = True

    def __init__(
        self, seeds: Sequence[int] = (0,), arms: Sequence[str] = ("synthetic", "both", "real")
    ) -> None:
        if not {"synthetic", "real"} <= set(arms) <= set(ARMS):
            raise ValueError(f"arms are {list(arms)}: take synthetic, real and, if wanted, both")
        self.seeds, self.arms = tuple(seeds), tuple(arms)

    def compute(self, evidence: Evidence) -> list[Score]:
        trained = evidence.pools["train"].labels
        scores = []
        for name, prefix in POOLS.items():
            if not len(evidence.pools.get(name, ())):
                continue
            labels = [k for k in evidence.pools[name].labels if k in trained]
            tables = {arm: self._table(evidence, arm, name, labels) for arm in self.arms}
            for arm in self.arms:
                scores += self._arm(f"utility/{prefix}", arm, tables, labels, evidence.seed)
            scores += self._against_real(f"utility/{prefix}", tables, evidence.seed)
        return scores

    def _table(
        self, evidence: Evidence, arm: str, name: str, labels: Sequence[int]
    ) -> pd.DataFrame:
        pool = evidence.pools[name]
        drawn = (evidence.segmented(arm, name, seed) for seed in self.seeds)
        return pd.concat([overlap(pool.masks, d, pool=pool, labels=labels) for d in drawn])

    def _arm(
        self,
        prefix: str,
        arm: str,
        tables: dict[str, pd.DataFrame],
        labels: Sequence[int],
        seed: int,
    ) -> list[Score]:
        found, real, prefix = tables[arm], tables["real"], prefix + ARMS[arm]
        scores = [self._score(f"{prefix}dice", "dice", found, real, arm, seed)]
        for k in labels:
            one, other = found[found["label"] == k], real[real["label"] == k]
            for what in ("dice", "hd95"):
                scores.append(
                    self._score(f"{prefix}{what}_{LABELS[k]}", what, one, other, arm, seed)
                )
        return scores

    def _score(
        self, name: str, what: str, found: pd.DataFrame, real: pd.DataFrame, arm: str, seed: int
    ) -> Score:
        means, other = (subject_means(t[what], t["subject"]) for t in (found, real))
        return score(
            name,
            interval(found[what], found["subject"], seed=seed),
            n=len(means),
            better="higher" if what == "dice" else "lower",
            reference=float("nan") if arm == "real" else float(other.mean()),
            reference_name="" if arm == "real" else REAL,
            extra={"segmenter_seeds": len(self.seeds), **cases(found)},
        )

    def _against_real(self, prefix: str, tables: dict[str, pd.DataFrame], seed: int) -> list[Score]:
        dice = {arm: subject_means(t["dice"], t["subject"]) for arm, t in tables.items()}
        scores = []
        for arm in (arm for arm in self.arms if arm != "real"):
            for what, compare, equal in (("ratio", ratio, 1.0), ("gap", difference, 0.0)):
                scores.append(
                    score(
                        f"{prefix}{ARMS[arm]}dice_{what}",
                        compare(dice[arm], dice["real"], seed=seed),
                        n=len(dice[arm]),
                        better="higher",
                        reference=equal,
                        reference_name=REAL,
                        extra={"segmenter_seeds": len(self.seeds)},
                    )
                )
        return scores
