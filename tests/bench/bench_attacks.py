"""How often the interval of an attack covers 0.5 when subjects are called members at random.

    python tests/bench/bench_attacks.py [repetitions]

Slices share half of their variance with the other slices of their subject. "fixed" judges given suspicions, as the
attacks on losses and predicted noise do; "fitted" fits a classifier on two features of one half of the subjects, anew for
each permutation, and judges the other half.
"""

from __future__ import annotations

import sys

import numpy as np

from cmr_bench.metrics.privacy.attacks import judged, named
from cmr_bench.metrics.privacy.members import Sides, learnt_auc
from cmr_bench.stats import Estimate

SIZES = ((26, 14), (49, 21), (100, 100))


def permuted(members: int, others: int, *, repeats: int, seed: int, fitted: bool) -> list[Estimate]:
    """AUCs of the whole pipeline on one cohort, its subjects called members at random each time."""
    rng = np.random.default_rng(seed)
    n = members + others
    subjects = np.repeat(np.arange(n), rng.integers(6, 20, n))
    shape = (len(subjects), 2) if fitted else (len(subjects),)
    values = rng.normal(size=(n, *shape[1:]))[subjects] + rng.normal(size=shape)
    found = []
    for run in range(repeats):
        member = rng.permutation(np.arange(n) < members)[subjects]
        sides = Sides(("all",), subjects.astype(str), member)
        if fitted:
            found.append(learnt_auc(values, sides, seed=run))
        else:
            auc = judged(named("any"), values, sides, fpr=0.01, seed=run)[0]
            found.append(Estimate(auc.value, auc.low, auc.high))
    return found


def coverage(found: list[Estimate]) -> float:
    return float(np.mean([low <= 0.5 <= high for _, low, high in found]))


def main(repeats: int) -> None:
    print(f"{repeats} permutations; share of 95 % intervals that cover 0.5 (mean AUC)")
    for members, others in SIZES:
        for fitted in (False, True):
            found = permuted(members, others, repeats=repeats, seed=0, fitted=fitted)
            above = np.mean([low > 0.5 for _, low, _ in found])
            print(
                f"{members:4d} members, {others:3d} others, {'fitted' if fitted else 'fixed '}: "
                f"{100 * coverage(found):.1f} % ({np.mean([e.value for e in found]):.3f}), "
                f"wholly above 0.5: {100 * above:.1f} %"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
