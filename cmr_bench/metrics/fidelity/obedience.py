"""Each image against its own mask: a table of single pairs, and shares of what real images reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmr_bench.metrics.volumes import overlap, together
from cmr_bench.stats import Estimate, expanded_percentile, multiplicities
from cmr_bench.types import LABELS, Masks, Pool

MEASURES = {"dice": "dice", "hd95": "hd95_mm", "volume_ratio_error": "area_error"}
WHO = ("subject", "phase", "slice", "level")


def each_pair(pool: Pool, drawn: Sequence[Masks], labels: Sequence[int]) -> pd.DataFrame:
    """One row an image: Dice, HD95 (mm) and relative area error of its mask, means over the fits in `drawn`.

    `dice`, `hd95_mm` and `area_error` are means over the structures, `dice_lv` and so on those of
    one. Rules for absent structures are those of `volumes`; where the mask has no such structure and
    one fit invents it, those that agree with the mask count as Dice 1 and errors 0. An image whose
    mask is empty, and where no fit found anything, has nan. `row` is the place in the pool.
    """
    alone = pool.table.assign(
        subject=[f"{i:08d}" for i in range(len(pool))], phase="", slice=0, thickness_mm=1.0
    )
    each = replace(pool, table=alone)
    tables = (overlap(pool.masks, masks, pool=each, labels=labels) for masks in drawn)
    found = together(pd.concat(tables, ignore_index=True)).rename(columns=MEASURES)
    measures = list(MEASURES.values())
    structures = found.groupby(["subject", "label"])[measures].mean()
    wide = structures.groupby(level="subject").mean()
    for k in labels:
        one = structures.xs(k, level="label")
        wide = wide.join(one.add_suffix(f"_{LABELS[k]}"))
    table = pool.table[[name for name in WHO if name in pool.table]].reset_index(drop=True)
    table.insert(0, "row", np.arange(len(pool)))
    return pd.concat([table, wide.reset_index(drop=True)], axis=1)


def share_of(
    found: NDArray[np.float64],
    possible: NDArray[np.float64],
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean of `found` over mean of `possible`, one value a subject, the two sides resampled apart."""
    if not len(found) or not len(possible):
        return Estimate(float("nan"), float("nan"), float("nan"))

    def means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
        return multiplicities(len(values), repeats=repeats, seed=seed) @ values / len(values)

    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.divide(found.mean(), possible.mean())
        samples = means(found, seed) / means(possible, seed + 1)
    return expanded_percentile(float(value), samples, min(len(found), len(possible)))
