"""Where a segmentation network does well and where it fails: by structure, vendor, pathology and level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from cmr_bench.metrics.volumes import MEASURES, overlap, together
from cmr_bench.stats import interval, subject_means
from cmr_bench.types import LABELS, Masks, Pool

GROUPS = ("vendor", "pathology")


def volumes(pool: Pool, drawn: Sequence[Masks], labels: Sequence[int]) -> pd.DataFrame:
    """`overlap` of each fit's masks, `together`: whole volumes (level "all") and the slices of each level alone."""
    parts = {"all": range(len(pool))} | levels(pool)
    tables = (
        overlap(part.masks, masks[list(rows)], pool=part, labels=labels).assign(
            fit=fit, level=level
        )
        for level, rows in parts.items()
        for part in [pool.take(list(rows))]
        for fit, masks in enumerate(drawn)
    )
    return together(pd.concat(tables, ignore_index=True))


def levels(pool: Pool) -> dict[str, Any]:
    """Rows of each level of the pool: base, middle, apex."""
    if "level" not in pool.table:
        return {}
    return {str(k): v for k, v in pool.table.groupby("level", sort=True).indices.items() if k}


def breakdown(found: pd.DataFrame, pool: Pool, seed: int = 0) -> pd.DataFrame:
    """One row a group (all, a vendor, a pathology, a level) and structure (or their mean).

    Columns: by, group, structure, n (subjects), each of MEASURES as a mean over subjects, and the
    interval of Dice.
    """
    rows = []
    for by, group, part in _groups(found, pool):
        for structure, one in _structures(part):
            means = {what: subject_means(one[what], one["subject"]) for what in MEASURES}
            _, low, high = interval(one["dice"], one["subject"], seed=seed)
            rows.append(
                {"by": by, "group": group, "structure": structure, "n": len(means["dice"])}
                | {what: float(mean.mean()) for what, mean in means.items()}
                | {"dice_low": low, "dice_high": high}
            )
    return pd.DataFrame(rows)


def _groups(found: pd.DataFrame, pool: Pool) -> Iterator[tuple[str, str, pd.DataFrame]]:
    whole = found[found["level"] == "all"]
    yield "all", "all", whole
    about = pool.table.assign(subject=pool.subjects).drop_duplicates("subject").set_index("subject")
    for by in (by for by in GROUPS if by in about):
        for group, part in whole.groupby(whole["subject"].map(about[by]), sort=True):
            yield by, str(group), part
    for level, part in found[found["level"] != "all"].groupby("level", sort=True):
        yield "level", str(level), part


def _structures(part: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "mean", part
    for label, one in part.groupby("label", sort=True):
        yield LABELS[int(label)], one  # type: ignore[call-overload]
