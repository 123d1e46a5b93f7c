"""The blind baseline: can members be told from others without asking the model? (Das et al. 2024)"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.members import HALVES, Sides, learnt_auc, sides
from cmr_bench.stats import Array, Estimate
from cmr_bench.types import LABELS, Images, Masks, Score

FACTS = ("vendor", "centre", "pathology")
COMPONENTS = 16
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Verdict(NamedTuple):
    """AUC of the baseline on all it sees, and of each of its views alone."""

    all: Estimate
    views: dict[str, float]


def statistics(images: Images, masks: Masks) -> Array:
    """(N, 11 + labels): moments, quantiles and sharpness of the image, shares and means of the tissues."""
    flat = images.flatten(1).double()
    centred = flat - flat.mean(1, keepdim=True)
    spread = centred.std(1).clamp(min=1e-6)
    edges = [images.diff(dim=d).abs().flatten(1).mean(1).double() for d in (-1, -2)]
    soft = F.avg_pool2d(images, 3, 1, 1)
    columns = [
        flat.mean(1),
        spread,
        (centred**3).mean(1) / spread**3,
        *(flat.quantile(q, dim=1) for q in QUANTILES),
        *edges,
        (images - soft).double().square().flatten(1).mean(1),
        *(_shares(masks)),
    ]
    return np.stack([column.numpy() for column in columns], axis=1)


def _shares(masks: Masks) -> list[Tensor]:
    return [(masks == label).double().flatten(1).mean(1) for label in range(1, len(LABELS))]


def views(evidence: Evidence, found: Sides) -> dict[str, Array]:
    """What can be known of each image without the model: its statistics, its table, its features."""
    pools = [evidence.pools[name] for name in found.names]
    seen = {"statistics": np.concatenate([statistics(p.images, p.masks) for p in pools])}
    tables = pd.concat([pool.table for pool in pools], ignore_index=True)
    known = [fact for fact in FACTS if fact in tables and tables[fact].nunique() > 1]
    if known:
        seen["table"] = pd.get_dummies(tables[known].astype(str)).to_numpy(dtype=np.float64)
    if evidence.lacks_space("features") is None:
        features = StandardScaler().fit_transform(evidence.features(*found.names).double().numpy())
        parts = min(COMPONENTS, *features.shape)
        seen["features"] = PCA(parts, random_state=0).fit_transform(features)
    return seen


def verdict(evidence: Evidence) -> Verdict | None:
    """The baseline on this evidence, made once; None where there are too few subjects."""
    found = sides(evidence)
    if found.lack(HALVES):
        return None

    def against(x: Array) -> Estimate:
        return learnt_auc(x, found, seed=evidence.seed)

    def make() -> Verdict:
        seen = views(evidence, found)
        together = against(np.concatenate(list(seen.values()), axis=1))
        return Verdict(together, {name: against(x).value for name, x in seen.items()})

    return evidence.once(("blind", *found.names), make)


def void(evidence: Evidence) -> str:
    """Why no attack on membership is evidence about the model on this split; empty if it is."""
    found = verdict(evidence)
    if found is None or not (found.all.low > 0.5 or found.all.high < 0.5):
        return ""
    value, low, high = found.all
    return (
        f"an attack that never sees the model has AUC {value:.2f} [{low:.2f}, {high:.2f}]: "
        "training and held-out subjects differ by themselves; split at random, stratified"
    )


class Blind(Metric):
    """The best attack that never sees the model: what it finds, no model can be blamed for.

    Logistic regression on image statistics, vendor, centre and pathology, and the principal
    components of encoder features, fitted on one half of the subjects and judged on the other; slices
    averaged to subjects. Where its interval leaves 0.5 out, on either side, all membership results on
    the split are void: a side that is told apart the wrong way round is told apart. AUC of each view
    alone in the extras.
    """

    axis = "privacy"
    names = ("privacy/blind_auc",)
    pools = ("train", "test")
    higher_is_better = False

    def compute(self, evidence: Evidence) -> list[Score]:
        found = verdict(evidence)
        if found is None:
            return self.blank(sides(evidence).lack(HALVES) or "")
        who = sides(evidence)
        extra: dict[str, float | str] = {f"auc_{name}": v for name, v in found.views.items()}
        if reason := void(evidence):
            extra["void"] = reason
        return [
            score(
                "privacy/blind_auc",
                found.all,
                n=len(set(who.subjects)),
                better="lower",
                reference=0.5,
                reference_name="guessing",
                extra=extra,
            )
        ]
