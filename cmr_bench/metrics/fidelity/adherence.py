"""Does the image obey its mask? A segmenter trained on real images draws the mask back."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.volumes import cases, overlap
from cmr_bench.stats import interval, ratio, subject_means
from cmr_bench.types import LABELS, Score

CEILING = "same segmenter on real test images"


class Adherence(Metric):
    """Dice and HD95 between the conditioning mask and the mask that a real-trained segmenter finds.

    Judged per volume on `matched`; the ceiling is the same segmenter on the real test images, whose
    masks they are, and `share_of_ceiling` is their ratio with a paired interval. A share above 1 is
    possible: synthetic images can be easier to segment than real ones. Rules for absent structures
    are those of `volumes`.
    """

    axis = "fidelity"
    names = ("fidelity/adherence",)
    pools = ("train", "test", "matched")
    needs = ("segment",)
    higher_is_better = True
    orders = (("heldout", "noise"),)
    blind_to = ("copy",)

    def __init__(self, seeds: Sequence[int] = (0,)) -> None:
        self.seeds = tuple(seeds)

    def skip(self, evidence: Evidence) -> str | None:
        """Also where the rows of matched are not those of test."""
        reason = super().skip(evidence)
        if reason is None and len(evidence.pools["matched"]) != len(evidence.pools["test"]):
            return "pool matched has not one image for each test mask"
        return reason

    def compute(self, evidence: Evidence) -> list[Score]:
        trained = evidence.pools["train"].labels
        labels = [k for k in evidence.pools["test"].labels if k in trained]
        found, ceiling = (self._table(evidence, name, labels) for name in ("matched", "test"))
        scores = [self._dice("fidelity/adherence", found, ceiling, evidence.seed)]
        for k in labels:
            one, top = found[found["label"] == k], ceiling[ceiling["label"] == k]
            scores.append(self._dice(f"fidelity/adherence_{LABELS[k]}", one, top, evidence.seed))
            scores.append(
                self._hd95(f"fidelity/adherence_hd95_{LABELS[k]}", one, top, evidence.seed)
            )
        return scores

    def _table(self, evidence: Evidence, name: str, labels: Sequence[int]) -> pd.DataFrame:
        # Row i of `matched` is conditioned on mask i of test, so the truth is one and the same.
        test = evidence.pools["test"]
        drawn = (evidence.segmented("real", name, seed) for seed in self.seeds)
        return pd.concat([overlap(test.masks, d, pool=test, labels=labels) for d in drawn])

    def _dice(self, name: str, found: pd.DataFrame, ceiling: pd.DataFrame, seed: int) -> Score:
        obeyed, possible = (subject_means(t["dice"], t["subject"]) for t in (found, ceiling))
        share = ratio(obeyed, possible, seed=seed)
        return score(
            name,
            interval(found["dice"], found["subject"], seed=seed),
            n=len(obeyed),
            better="higher",
            reference=float(possible.mean()),
            reference_name=CEILING,
            extra={
                "share_of_ceiling": share.value,
                "share_low": share.low,
                "share_high": share.high,
                **cases(found),
            },
        )

    def _hd95(self, name: str, found: pd.DataFrame, ceiling: pd.DataFrame, seed: int) -> Score:
        return score(
            name,
            interval(found["hd95"], found["subject"], seed=seed),
            n=len(subject_means(found["hd95"], found["subject"])),
            better="lower",
            reference=float(subject_means(ceiling["hd95"], ceiling["subject"]).mean()),
            reference_name=CEILING,
            extra={"measured_in": "mm", **cases(found)},
        )
