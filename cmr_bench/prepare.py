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

    from cmr_bench.data.summary import summary
    from cmr_bench.preparation import prepared
    from cmr_bench.store import Store

    Console().print(summary(prepared(Store(config.store.root), config.data)))


def main() -> None:
    verb("prepare", task)


if __name__ == "__main__":
    main()
