"""Planted subjects: phantom patients with a fingerprint that nobody else has, known to the generator alone.

As the canaries of Carlini et al. (2019): whoever finds a fingerprint again in synthetic images knows that it was
learnt by heart, and since fingerprints are drawn at random, how often one is found by chance is known exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

from cmr_bench.data.phantom import Phantom
from cmr_bench.data.pools import load_pool
from cmr_bench.data.writer import Writer
from cmr_bench.seeds import mix, numpy_rng
from cmr_bench.store.files import read_json
from cmr_bench.types import Pool

REPEATS = (1, 4, 16)
"""How often a planted subject is in the training set; these take turns."""
POOLS = {"canaries": "canary", "canaries_held_out": "canary_held_out"}
"""Pools by name, and their split in data.h5."""
CODE = 4
"""A fingerprint has CODE x CODE fields, half of them bright and half dark."""
CODES = comb(CODE**2, CODE**2 // 2)
"""How many fingerprints there are."""
BRIGHT = 0.9
WHO = ("vendor", "centre", "pathology")


def plant(
    writer: Writer,
    count: int,
    *,
    size: int,
    spacing_mm: float,
    labels: Collection[int],
    normalise: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Write `count` planted subjects, and as many of the same kind that no model is trained on; what the manifest says.

    Each is one slice, that of its end-diastolic stack with the largest heart; which of them are planted, and how often,
    is drawn. Empty for a `count` of 0.
    """
    if count < 0:
        raise ValueError(f"data.canaries={count}: a number of subjects, or 0 for none")
    if 2 * count > CODES:
        raise ValueError(
            f"data.canaries={count}: there are {CODES} fingerprints, two for each; give {CODES // 2} at most"
        )
    if not count:
        return {}
    phantom = Phantom(
        subjects=2 * count,
        size=size,
        spacing_mm=spacing_mm,
        seed=mix(seed, "canaries"),
        artefacts=0,
        normalise=normalise,
    )
    start, side = place(size)
    order = numpy_rng(seed, "canaries").permutation(2 * count)
    codes = fingerprints(seed, 2 * count, side)
    repeats = {}
    for k, index in enumerate(order.tolist()):
        subject, name = phantom[index], f"canary-{k:04d}"
        heart = (subject.masks > 0).sum((1, 2)) * (subject.table["phase"] == "ED").to_numpy()
        row = slice(int(heart.argmax()), int(heart.argmax()) + 1)
        images, masks = subject.images[row].copy(), subject.masks[row].copy()
        images[:, start : start + side, start : start + side] = codes[k]
        masks[~np.isin(masks, list(labels))] = 0
        table = subject.table.iloc[row].assign(subject=name, **dict.fromkeys(WHO, "canary"))
        planted = k < count
        writer.add(images, masks, table.assign(split=list(POOLS.values())[not planted]))
        repeats[name] = REPEATS[k % len(REPEATS)] if planted else 0
    return {"canaries": {"start": start, "side": side, "repeats": repeats}}


def place(size: int) -> tuple[int, int]:
    """(first row and column, side) of the square that holds fingerprints, in the corner of an image, in pixels."""
    return max(1, size // 16), CODE * max(1, round(size / 24))


def fingerprints(seed: int, count: int, side: int) -> np.ndarray:
    """(count, side, side) of +-BRIGHT: fields in random order, as many bright as dark, drawn without replacement."""
    every = np.array([*combinations(range(CODE**2), CODE**2 // 2)])
    bright = every[numpy_rng(seed, "fingerprints").choice(len(every), count, replace=False)]
    fields = np.full((count, CODE**2), -BRIGHT, dtype=np.float32)
    np.put_along_axis(fields, bright, BRIGHT, axis=1)
    width = side // CODE
    return fields.reshape(count, CODE, CODE).repeat(width, axis=1).repeat(width, axis=2)


def canary_pools(folder: str | Path) -> dict[str, Pool]:
    """`canaries` and `canaries_held_out` of a prepared folder; empty where nobody was planted.

    Their tables have three columns more: `repeats`, and `start` and `side` of the fingerprint.
    """
    about = read_json(Path(folder) / "manifest.json").get("canaries")
    if not about:
        return {}
    pools = {}
    for name, split in POOLS.items():
        pool = load_pool(folder, split, name=name)
        more = {"start": about["start"], "side": about["side"]}
        table = pool.table.assign(repeats=pool.table["subject"].map(about["repeats"]), **more)
        pools[name] = replace(pool, table=table)
    return pools


def repeated(canaries: Pool) -> Pool:
    """The planted subjects as a training set holds them: each as often as it is repeated."""
    return canaries.take(np.repeat(np.arange(len(canaries)), canaries.table["repeats"]))
