"""The blind baseline: can members be told from others without asking the model? (Das et al. 2024)"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from cmr_bench.discrimination import auc
from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.members import HALVES, Sides, learnt, sides
from cmr_bench.seeds import numpy_rng
from cmr_bench.stats import Array, Estimate, holm
from cmr_bench.types import LABELS, Images, Masks, Score

FACTS = ("vendor", "centre", "pathology")
COMPONENTS = 16
ALPHA = 0.05
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Verdict(NamedTuple):
    """AUC of the fitted baseline, and p of each test that the sides are alike, corrected for their number (Holm 1979)."""

    auc: Estimate
    p: dict[str, float]


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
    """What can be known of each image without the model: its statistics, facts of its subject, its features."""
    pools = [evidence.pools[name] for name in found.names]
    seen = {"statistics": np.concatenate([statistics(p.images, p.masks) for p in pools])}
    tables = pd.concat([pool.table for pool in pools], ignore_index=True)
    for fact in FACTS:
        if fact in tables and tables[fact].nunique() > 1:
            seen[fact] = pd.get_dummies(tables[fact].astype(str)).to_numpy(dtype=np.float64)
    if evidence.lacks_space("features") is None:
        features = StandardScaler().fit_transform(evidence.features(*found.names).double().numpy())
        parts = min(COMPONENTS, *features.shape)
        seen["features"] = PCA(parts, random_state=0).fit_transform(features)
    return seen


def p_alike(x: Array, found: Sides, *, seed: int, repeats: int = 1999) -> float:
    """p of no difference between members and others in features x (N, d), by permutation of subjects.

    The statistic is sum_j (mean of members - mean of others)^2 of the columns of subjects' means, each standardised; of
    one column a fact it is that of chi-square, but for the weights of facts that many share. Exact at any number of subjects,
    and on the safe side where the split was stratified.
    """
    rows = pd.DataFrame(x).groupby(found.subjects)
    z = StandardScaler().fit_transform(rows.mean().to_numpy())
    member = rows.first().index.isin(found.subjects[found.member]).astype(np.float64)
    draw = numpy_rng("alike", seed).permuted(np.tile(member, (repeats, 1)), axis=1)
    gaps = np.square((np.vstack([member, draw]) - member.mean()) @ z).sum(1)
    return float(np.mean(gaps >= gaps[0] * (1 - 1e-9)))


def verdict(evidence: Evidence) -> Verdict | None:
    """The baseline on this evidence, made once; None where there are too few subjects."""
    found = sides(evidence)
    if found.lack(HALVES):
        return None
    seed = evidence.seed

    def make() -> Verdict:
        seen = views(evidence, found)
        told = learnt(np.concatenate(list(seen.values()), axis=1), found, seed=seed)
        p = {"all together": float(mannwhitneyu(*told).pvalue)}
        p |= {name: p_alike(x, found, seed=seed) for name, x in seen.items()}
        return Verdict(
            auc(*told, seed=seed), dict(zip(p, holm([*p.values()]).tolist(), strict=True))
        )

    return evidence.once(("blind", *found.names), make)


def void(evidence: Evidence) -> dict[str, str]:
    """`void`: why no attack on membership is evidence about the model on this split, or `unchecked`: why that is not known; mostly empty."""
    found = verdict(evidence)
    if found is None:
        return {"unchecked": f"the blind baseline {sides(evidence).lack(HALVES)}"}
    by = [f"{name} (p {p:.2g})" for name, p in found.p.items() if p < ALPHA]
    if not by:
        return {}
    return {
        "void": "an attack that never sees the model tells training from held-out subjects, "
        f"by {', '.join(by)}: split at random, stratified"
    }


class Blind(Metric):
    """The best attack that never sees the model: what it finds, no model can be blamed for.

    The AUC is that of a logistic regression on image statistics, vendor, centre and pathology, and the principal
    components of encoder features, fitted on one half of the subjects and judged on the other; slices
    averaged to subjects. All membership results on the split are void where, after Holm's correction, one of these
    tests stands at 5 %: Mann and Whitney's of the fitted attack, and one by permutation of subjects (`p_alike`) of
    the statistics, the features and each fact alone, which also sees what half of few subjects could not teach.
    Corrected p in the extras.
    """

    axis = "privacy"
    names = ("privacy/blind_auc",)
    pools = ("train", "test")
    higher_is_better = False
    untested = "it never sees a model, so that all controls are one to it"

    def compute(self, evidence: Evidence) -> list[Score]:
        found = verdict(evidence)
        if found is None:
            return self.blank(sides(evidence).lack(HALVES) or "")
        p: dict[str, float | str] = {f"p_{k.replace(' ', '_')}": v for k, v in found.p.items()}
        return [
            score(
                "privacy/blind_auc",
                found.auc,
                n=len(set(sides(evidence).subjects)),
                better="lower",
                reference=0.5,
                reference_name="guessing",
                extra={**p, **void(evidence)},
            )
        ]
