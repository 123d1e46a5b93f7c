"""Utility as the study counts it: per slice, in pixels, background included, what is not finite dropped."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import compute_dice
from monai.metrics.meaniou import compute_iou
from monai.metrics.surface_distance import compute_average_surface_distance
from monai.networks.utils import one_hot

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.stats import row_mean
from cmr_bench.types import LABELS, Masks, Score

MEASURES = {"dice": "higher", "iou": "higher", "hd95": "lower", "asd": "lower"}
NOTE = (
    "per slice, in pixels, with background; a missed or invented structure is dropped, not counted"
)


def per_slice(truth: Masks, predicted: Masks) -> pd.DataFrame:
    """One row a slice and class, background too: dice, iou, hd95 and asd (pixels), not finite where MONAI says so.

    Dice and IoU are nan where the truth has no such class, even if one was drawn; HD95 and ASD are
    nan or inf where either has none. ASD is one-sided: from the drawn surface to the true one.
    """
    a, b = (one_hot(masks, len(LABELS)) for masks in (truth, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each absent structure
        found = {
            "dice": compute_dice(b, a, include_background=True),
            "iou": compute_iou(b, a, include_background=True),
            "hd95": compute_hausdorff_distance(b, a, include_background=True, percentile=95),
            "asd": compute_average_surface_distance(b, a, include_background=True),
        }
    table = pd.DataFrame({what: torch.as_tensor(v).flatten().numpy() for what, v in found.items()})
    return table.assign(
        slice=np.repeat(np.arange(len(a)), len(LABELS)), label=np.tile(range(len(LABELS)), len(a))
    )


class PaperSegmentation(Metric):
    """Mean over all (slice, class) values that are finite, of networks trained on synthetic and on real images.

    Background, which is most of an image, and the loss of failures both raise Dice: a background of
    1.00 and three structures of 0.80 read 0.85. Only for domains whose every structure is labelled.
    """

    axis = "utility"
    names = tuple(f"utility/paper_{what}" for what in MEASURES)
    pools = ("train", "test", "synthetic")
    needs = ("segment",)
    higher_is_better = True
    untested = "it trains a network for each model"

    def __init__(self, seeds: Sequence[int] = (0,)) -> None:
        self.seeds = tuple(seeds)

    def compute(self, evidence: Evidence) -> list[Score]:
        scores: list[Score] = []
        for domain, prefix in (("test", ""), ("external", "external_")):
            pool = evidence.pools.get(domain)
            if pool is None or not len(pool):
                continue
            if len(pool.labels) < len(LABELS) - 1:
                there = ", ".join(LABELS[k] for k in pool.labels)
                reason = f"labels {there} alone: the rest would count as background"
                given = [f"utility/paper_{prefix}{what}" for what in MEASURES]
                scores += [Score(name, np.nan, reason=reason) for name in given]
                continue
            real, synthetic = (self._table(evidence, arm, domain) for arm in ("real", "synthetic"))
            scores += self._scores(f"utility/paper_{prefix}", synthetic, real, evidence.seed)
            scores += self._scores(f"utility/paper_{prefix}real_", real, None, evidence.seed)
        return scores

    def _table(self, evidence: Evidence, arm: str, domain: str) -> pd.DataFrame:
        pool = evidence.pools[domain]
        drawn = (evidence.segmented(arm, domain, seed) for seed in self.seeds)
        subject = pool.subjects.repeat(len(LABELS))
        return pd.concat([per_slice(pool.masks, d).assign(subject=subject) for d in drawn])

    def _scores(
        self, prefix: str, found: pd.DataFrame, real: pd.DataFrame | None, seed: int
    ) -> list[Score]:
        scores = []
        for what, better in MEASURES.items():
            values = found[what].where(np.isfinite(found[what]))
            reference = np.nan if real is None else real[what][np.isfinite(real[what])].mean()
            scores.append(
                score(
                    f"{prefix}{what}",
                    row_mean(values, found["subject"], seed=seed),
                    n=found["subject"].nunique(),
                    better=better,
                    reference=reference,
                    reference_name="" if real is None else "same network trained on real images",
                    extra={
                        "sd": float(values.std(ddof=0)),
                        "values": int(values.notna().sum()),
                        "dropped": int(values.isna().sum()),
                        "note": NOTE,
                    },
                )
            )
        return scores
