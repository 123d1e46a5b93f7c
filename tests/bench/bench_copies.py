"""Planted copies under noise: how many are found by the ratio of distances to the next slice, and to the next subject.

    python tests/bench/bench_copies.py [seed ...]

Every training slice of a phantom cohort is copied and noised. "slices" is the usual ratio of the distances to the
nearest and the second nearest training slice, "subjects" the same ratio with the second from another subject, "Copies"
the metric. Each calls 5 % of real held-out images copies at most.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from cmr_bench.data.phantom_prepare import prepare_phantom
from cmr_bench.data.pools import load_pool
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.copies import Copies, ratios, threshold
from cmr_bench.metrics.privacy.neighbours import neighbours
from cmr_bench.seeds import torch_rng
from cmr_bench.types import Pool

NOISE = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8)
SPLIT = {"train": 0.5, "val": 0.25, "test": 0.25, "seed": 0}


def cohort(folder: Path, seed: int, subjects: int = 40) -> dict[str, Pool]:
    path = prepare_phantom(
        folder=folder, subjects=subjects, size=48, spacing_mm=3.0, seed=seed, split=SPLIT
    )
    return {name: load_pool(path, name) for name in ("train", "val", "test")}


def planted(train: Pool, noise: float, seed: int) -> Pool:
    """Every training slice under white noise of this standard deviation (images span 2)."""
    grain = torch.randn(train.images.shape, generator=torch_rng("planted", seed))
    return replace(train, name="synthetic", images=train.images + noise * grain)


FPR = 0.05


def found(pools: Mapping[str, Pool], noise: float, seed: int) -> dict[str, tuple[float, float]]:
    """(share of planted copies found, false-positive rate) of each way to look for them."""
    train, synthetic = pools["train"], planted(pools["train"], noise, seed)
    evidence = Evidence({**pools, "synthetic": synthetic})
    rates = {}
    for way, owners in (("slices", np.arange(len(train))), ("subjects", train.subjects)):
        known = evidence.pixels("train")
        near, real = (
            ratios(neighbours(evidence.pixels(*names), known, owners))
            for names in (("synthetic",), evidence.held_out)
        )
        limit, rate = threshold(real, evidence.subjects(*evidence.held_out), FPR)
        rates[way] = float((near < limit).mean()), rate
    score = Copies(fpr=FPR, spaces=["pixels"]).scores(evidence)[0]
    return rates | {"Copies": (score.value, score.reference)}


def main(seeds: list[int]) -> None:
    for seed in seeds:
        with TemporaryDirectory() as folder:
            pools = cohort(Path(folder), seed)
        train = pools["train"]
        print(f"seed {seed}: {len(train)} copies of {len(set(train.subjects))} subjects")
        for noise in NOISE:
            rates = found(pools, noise, seed)
            words = (f"{way} {100 * share:.1f} %" for way, (share, _) in rates.items())
            print(f"  noise {noise}: {', '.join(words)}", flush=True)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [0, 1, 2])
