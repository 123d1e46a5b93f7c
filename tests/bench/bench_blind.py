"""How often the blind baseline voids membership results: splits by vendor, uneven mixtures of vendors, stratified splits.

    python tests/bench/bench_blind.py [cohorts]

Phantom cohorts of 40 subjects of three vendors, 20 of them members. "by vendor": the members come from the first two
vendors as far as these reach; "nobody told": the same, the vendor being unknown to the baseline, which has images alone;
"uneven": of the first vendor two in three are members, of the third one in three.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from cmr_bench.data.phantom_prepare import prepare_phantom
from cmr_bench.data.pools import load_pool
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.blind import verdict, void
from cmr_bench.networks.encoders import EfficientNetLite0
from cmr_bench.types import Pool, join

SPLIT = {"train": 0.4, "val": 0.1, "test": 0.5, "seed": 0}
SHARE = {"A": 2 / 3, "B": 1 / 2, "C": 1 / 3}

Rule = Callable[[pd.DataFrame, np.random.Generator], list[str]]


def by_vendor(people: pd.DataFrame, rng: np.random.Generator) -> list[str]:
    return [*people.sort_values("vendor", kind="stable").index[: len(people) // 2]]


def uneven(people: pd.DataFrame, rng: np.random.Generator) -> list[str]:
    return [
        subject
        for vendor, group in people.groupby("vendor")
        for subject in rng.permutation(group.index)[: round(SHARE[str(vendor)] * len(group))]
    ]


def parted(pool: Pool, members: list[str], **table: object) -> dict[str, Pool]:
    pool = replace(pool, table=pool.table.assign(**table))
    inside = np.isin(pool.subjects, members)
    return {
        "train": pool.take(np.flatnonzero(inside), "train"),
        "test": pool.take(np.flatnonzero(~inside), "test"),
    }


def cohort(folder: Path, seed: int) -> dict[str, dict[str, Pool]]:
    path = prepare_phantom(
        folder=folder, subjects=40, size=48, spacing_mm=3.0, seed=seed, split=SPLIT | {"seed": seed}
    )
    train, val, test = (load_pool(path, name) for name in ("train", "val", "test"))
    everybody, rng = join("all", train, val, test), np.random.default_rng(seed)
    people = everybody.table.groupby("subject").first()
    return {
        "by vendor": parted(everybody, by_vendor(people, rng)),
        "by vendor, nobody told": parted(everybody, by_vendor(people, rng), vendor="?"),
        "uneven": parted(everybody, uneven(people, rng)),
        "stratified": {"train": join("train", train, val), "test": test},
    }


def main(cohorts: int) -> None:
    encode, voided, aucs = EfficientNetLite0(), {}, {}
    for seed in range(cohorts):
        with TemporaryDirectory() as folder:
            for name, pools in cohort(Path(folder), seed).items():
                evidence = Evidence(pools, encode=encode, seed=seed)
                voided.setdefault(name, []).append("void" in void(evidence))
                found = verdict(evidence)
                aucs.setdefault(name, []).append(found.auc.value if found else np.nan)
    print(f"{cohorts} cohorts: membership results void; mean AUC of the baseline")
    for name, flags in voided.items():
        print(f"{name:24s}{sum(flags):4d}  {np.mean(aucs[name]):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
