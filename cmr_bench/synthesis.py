"""Synthetic images: one a mask, kept row by row, and seen again as pools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cmr_bench.interruption import flag
from cmr_bench.progress import each
from cmr_bench.seeds import mix
from cmr_bench.store import read_json
from cmr_bench.store.samples import Samples
from cmr_bench.types import Masks, MaskToImage, Pool


def synthesise(
    model: MaskToImage, masks: Masks, samples: Samples, name: str, seed: int, batch: int
) -> None:
    """Fill a group of samples.h5 with one image a mask, going on where an earlier call stopped."""
    seeds = torch.tensor([mix(seed, name, i) for i in range(len(masks))])
    samples.reserve(name, masks=masks.numpy(), seeds=seeds.numpy())
    missing = torch.as_tensor(samples.missing(name))
    parts = missing.split(batch) if len(missing) else []
    for rows in each(parts, f"images, {name}"):
        flag.between()
        samples.put(name, rows.numpy(), model.sample(masks[rows], seeds=seeds[rows]).numpy())


def synthetic_pool(
    name: str, samples: Samples, test: Pool, model: MaskToImage | None = None
) -> Pool:
    """A group of samples.h5 as a pool: `matched` has the table of test, each other image is a subject of its own.

    But of a control that shows images of real subjects (`owners`) those of one are one subject.
    """
    images, masks, _ = samples.read(name)
    table = test.table
    if name != "matched":
        table = pd.DataFrame({column: [""] * len(images) for column in test.table.columns})
        owners = getattr(model, "owners", None)
        whose = owners(torch.from_numpy(masks)) if owners else range(len(images))
        table["subject"] = [f"synthetic-{who:0>5}" for who in whose]
        table["slice"], table["thickness_mm"] = 0, float(np.median(test.table["thickness_mm"]))
    return Pool(
        name, torch.from_numpy(images), torch.from_numpy(masks), table, test.spacing_mm, test.labels
    )


def released_pool(folder: Path, test: Pool) -> Pool:
    """Images made elsewhere as the pool `synthetic`, with the subject, phase, slice and thickness that their files tell.

    Where they came without masks no structure is labelled.
    """
    pool = synthetic_pool("synthetic", Samples(folder / "samples.h5"), test)
    about = read_json(folder / "released.json")
    told = pd.DataFrame(about["planes"]).reindex(
        columns=["subject", "phase", "slice", "thickness_mm"]
    )
    table = pool.table.assign(**told.fillna(pool.table))
    return replace(pool, table=table, labels=tuple(about["labels"]))
