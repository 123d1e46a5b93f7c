"""Does the image obey its mask? Segmenters trained on real images draw the mask back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pandas as pd

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.obedience import each_pair, share_of
from cmr_bench.metrics.utility.breakdown import breakdown, volumes
from cmr_bench.metrics.volumes import cases
from cmr_bench.stats import interval, proportion, ratio, subject_means
from cmr_bench.types import LABELS, Masks, Score

CEILING = "same segmenter on real test images"
SLICES = "same segmenter on real test images, slice by slice"
JUDGED = ("train", "matched", "test", "synthetic")


class Adherence(Metric):
    """Dice and HD95 between the conditioning mask and the mask that a real-trained segmenter finds.

    Judged per volume on `matched`; the ceiling is the same segmenter on the real test images, whose
    masks they are, and `share_of_ceiling` is their ratio with a paired interval. A share above 1 is
    possible: synthetic images can be easier to segment than real ones. Rules for absent structures
    are those of `volumes`; structures that one of the pools does not label are left out. One judge a seed and architecture (`segmenter.others`), averaged; where
    there are several, `judge_lowest` and `judge_highest` are the shares that single ones give.

    Images made elsewhere were not drawn for the masks of test: of them the chain alone is judged.

    `chain_adherence` asks the same of the whole chain, generated mask to image: each image of
    `synthetic` is its own subject and is judged alone, so its ceiling is that of single test
    slices, and the share has no pairs. `adherence_yield` is the share of its pairs with a mean Dice
    of at least `obeys`. Tables of the cell: `adherence_images` (each pair, from which
    `cmr_bench.export` leaves out) and `adherence_breakdown` (by vendor, pathology and level, of
    synthetic and real images).
    """

    axis = "fidelity"
    names = ("fidelity/adherence",)
    pools = ("train", "test", "matched")
    needs = ("segment",)
    higher_is_better = True
    rankings: ClassVar = {"fidelity/adherence": (("heldout", "noise"),)}
    blind_to = ("copy", "painter")

    def __init__(self, seeds: Sequence[int] = (0,), obeys: float = 0.8) -> None:
        self.seeds, self.obeys = tuple(seeds), obeys

    def skip(self, evidence: Evidence) -> str | None:
        """Also where the rows of matched are not those of test; without a model there are none."""
        if evidence.model is None and "matched" not in evidence.pools:
            return evidence.lacks(("train", "test", "synthetic"), (*self.needs, "masks"))
        reason = super().skip(evidence)
        if reason is None and len(evidence.pools["matched"]) != len(evidence.pools["test"]):
            return "pool matched has not one image for each test mask"
        return reason

    def compute(self, evidence: Evidence) -> list[Score]:
        known = ({*pool.labels} for name in JUDGED if (pool := evidence.pools.get(name)))
        labels = sorted(set.intersection(*known))
        pairs = {
            name: each_pair(evidence.pools[name], self._drawn(evidence, name), labels)
            for name in JUDGED[1:]
            if len(evidence.pools.get(name, ()))
        }
        if "matched" in pairs:
            scores = self._matched(pairs, labels, evidence)
        else:
            scores = self.blank("no images were drawn for the masks of test subjects")
        if "synthetic" in pairs:
            scores += self._chain(pairs["synthetic"], pairs["test"], labels, evidence.seed)
        evidence.tables["adherence_images"] = pd.concat(
            [part.assign(pool=name) for name, part in pairs.items()], ignore_index=True
        )
        return scores

    def _matched(
        self, pairs: dict[str, pd.DataFrame], labels: Sequence[int], evidence: Evidence
    ) -> list[Score]:
        matched, real = self._volumes(evidence, labels)
        scores = [self._dice("fidelity/adherence", matched, real, evidence.seed)]
        for k in labels:
            one, top = matched[matched["label"] == k], real[real["label"] == k]
            scores.append(self._dice(f"fidelity/adherence_{LABELS[k]}", one, top, evidence.seed))
            scores.append(
                self._hd95(f"fidelity/adherence_hd95_{LABELS[k]}", one, top, evidence.seed)
            )
            scores.append(_area(LABELS[k], pairs, evidence.seed))
        return scores

    def _drawn(self, evidence: Evidence, name: str) -> list[Masks]:
        return [
            evidence.segmented("real", name, seed, judge)
            for judge in evidence.judges
            for seed in self.seeds
        ]

    def _volumes(self, evidence: Evidence, labels: Sequence[int]) -> list[pd.DataFrame]:
        """Whole volumes of matched and of test; their breakdown stays with the cell."""
        # Row i of `matched` is conditioned on mask i of test, so the truth is one and the same.
        test, whole, tables = evidence.pools["test"], [], []
        for name in ("matched", "test"):
            found = volumes(test, self._drawn(evidence, name), labels)
            whole.append(found[found["level"] == "all"])
            table = breakdown(found, test, evidence.seed)
            table.insert(0, "images", name)
            tables.append(table)
        evidence.tables["adherence_breakdown"] = pd.concat(tables, ignore_index=True)
        return whole

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
                **_judges(found, ceiling),
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

    def _chain(
        self, found: pd.DataFrame, real: pd.DataFrame, labels: Sequence[int], seed: int
    ) -> list[Score]:
        scores = []
        for end in ("", *(f"_{LABELS[k]}" for k in labels)):
            obeyed, possible = (subject_means(t[f"dice{end}"], t["subject"]) for t in (found, real))
            share = share_of(obeyed.to_numpy(), possible.to_numpy(), seed=seed)
            scores.append(
                score(
                    f"fidelity/chain_adherence{end}",
                    interval(found[f"dice{end}"], found["subject"], seed=seed),
                    n=len(obeyed),
                    unit="images",
                    better="higher",
                    reference=float(possible.mean()),
                    reference_name=SLICES,
                    extra={
                        "share_of_ceiling": share.value,
                        "share_low": share.low,
                        "share_high": share.high,
                    },
                )
            )
        dice, top = found["dice"].dropna(), real["dice"].dropna()
        kept = score(
            "fidelity/adherence_yield",
            proportion(int((dice >= self.obeys).sum()), len(dice)),
            n=len(dice),
            unit="images",
            better="higher",
            reference=float((top >= self.obeys).mean()),
            reference_name=SLICES,
            extra={"obeys": self.obeys},
        )
        return [*scores, kept]


def _area(structure: str, pairs: dict[str, pd.DataFrame], seed: int) -> Score:
    """Mean relative area error of a structure over the slices of `matched`."""
    found, ceiling = (pairs[name] for name in ("matched", "test"))
    column = f"area_error_{structure}"
    return score(
        f"fidelity/adherence_area_{structure}",
        interval(found[column], found["subject"], seed=seed),
        n=len(subject_means(found[column], found["subject"])),
        better="lower",
        reference=float(subject_means(ceiling[column], ceiling["subject"]).mean()),
        reference_name=CEILING,
        extra={"measured_in": "share of the true area"},
    )


def _judges(found: pd.DataFrame, ceiling: pd.DataFrame) -> dict[str, float | str]:
    """How far apart several judges are: the lowest and the highest share of the ceiling."""
    fits = found["fit"].nunique()
    if fits < 2:
        return {"judges": fits}
    means = (
        t.groupby(["fit", "subject"])["dice"].mean().groupby(level="fit").mean()
        for t in (found, ceiling)
    )
    obeyed, possible = means
    shares = obeyed / possible
    return {
        "judges": fits,
        "judge_lowest": float(shares.min()),
        "judge_highest": float(shares.max()),
    }
