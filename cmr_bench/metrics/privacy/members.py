"""Members and others: whose images a model was trained on, and classifiers that never meet the subjects they judge."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmr_bench.discrimination import auc
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.stats import FEWEST, Array, Estimate, subject_means

HALVES = 2 * FEWEST
"""Subjects that a side needs where one half learns and the other is judged."""


class Sides(NamedTuple):
    """Rows of the pools `names`, one after the other: their subjects, and whether the model was trained on them."""

    names: tuple[str, ...]
    subjects: NDArray[np.str_]
    member: NDArray[np.bool_]

    def means(self, suspicion: Array) -> tuple[Array, Array]:
        """Mean suspicion of each member and of each other."""
        inside, outside = (
            subject_means(suspicion[rows], self.subjects[rows])
            for rows in (self.member, ~self.member)
        )
        return inside.to_numpy(), outside.to_numpy()

    def halves(self, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows of two halves of the subjects with as many members in each: one to learn from, one to judge."""
        folds = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
        return next(folds.split(self.member, self.member, groups=self.subjects))

    def lack(self, fewest: int = FEWEST) -> str | None:
        """Why there are too few subjects, in one line; None if there are `fewest` on each side."""
        counts = [len(set(self.subjects[rows])) for rows in (self.member, ~self.member)]
        if min(counts) >= fewest:
            return None
        more = "data.split.val and data.split.test" if counts[1] < fewest else "data.split.train"
        return (
            f"needs {fewest} subjects at least in train and in the held-out pools; "
            f"there are {counts[0]} and {counts[1]}: give {more} more"
        )


def sides(evidence: Evidence) -> Sides:
    """Members (train) and others (val, test) of one split by subject."""
    names = ("train", *evidence.held_out)
    counts = [len(evidence.pools[name]) for name in names]
    member = np.repeat([name == "train" for name in names], counts)
    return Sides(names, evidence.subjects(*names), member)


def thinned(evidence: Evidence, slices: int) -> Evidence:
    """The same evidence with at most so many slices of each real subject, spread over its stack."""
    pools = {}
    for name in ("train", *evidence.held_out):
        pool = evidence.pools[name]
        each = [np.flatnonzero(pool.subjects == subject) for subject in np.unique(pool.subjects)]
        kept = [r[np.linspace(0, len(r) - 1, min(slices, len(r))).astype(int)] for r in each]
        pools[name] = pool.take(np.sort(np.concatenate(kept)))
    return evidence.about(evidence.model, pools)


def learnt_auc(x: Array, found: Sides, *, seed: int) -> Estimate:
    """AUC over subjects of what is `learnt` from features x (N, d)."""
    return auc(*learnt(x, found, seed=seed), seed=seed)


def learnt(x: Array, found: Sides, *, seed: int) -> tuple[Array, Array]:
    """Suspicion of members and of others by a logistic regression on features x (N, d), fitted on the other half of the subjects.

    Cross-fitting would judge everybody, but its folds depend on each other: with memberships drawn at random its 95 %
    intervals left 0.5 out in 7 to 15 % of cohorts, and pooled judgements fell below a coin (Forman and Scholz 2010).
    """
    attack = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    fit, judge = found.halves(seed)
    suspicion = attack.fit(x[fit], found.member[fit]).decision_function(x[judge])
    judged = Sides(found.names, found.subjects[judge], found.member[judge])
    return judged.means(suspicion)
