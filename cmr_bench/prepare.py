"""Prepare a data set and show what is in it: `python -m cmr_bench.prepare data=acdc data.root=PATH`."""

from __future__ import annotations

from typing import Any

from cmr_bench.commands import verb
from cmr_bench.config import check

KEYS: dict[str, Any] = {
    "data": None,
    "protocol": None,
    "store": {"root": str},
}


def task(config: Any) -> None:
    """One data set; a run with the same settings finds it done."""
    check(config, KEYS)
    from rich.console import Console  # the heavy imports, after the checks that need none

    from cmr_bench.data.pools import load_pool, load_table
    from cmr_bench.data.splits import SPLITS
    from cmr_bench.data.summary import summary
    from cmr_bench.preparation import prepared
    from cmr_bench.reporting.grids import save_subjects
    from cmr_bench.store import Store

    folder = prepared(Store(config.store.root), config.data)
    there = set(load_table(folder)["split"])
    picture = folder / "subjects.png"
    save_subjects(picture, [load_pool(folder, split) for split in SPLITS if split in there])
    Console().print(summary(folder), f"some of them: {picture}", soft_wrap=True)


def main() -> None:
    verb("prepare", task)


if __name__ == "__main__":
    main()
