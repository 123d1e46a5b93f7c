"""The table and the page of what is on disk: `python -m cmr_bench.report store.root=runs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cmr_bench.commands import verb
from cmr_bench.config import check

KEYS: dict[str, Any] = {"store": {"root": str}, "sweep": str, "out": str, "all_done": bool}


def task(config: Any) -> None:
    """Works on an empty store, while cells run and after a crash; needs neither W&B nor a GPU."""
    check(config, KEYS)
    from cmr_bench.reporting import report
    from cmr_bench.reporting.cells import entries

    root = Path(config.store.root)
    out = Path(config.out) if config.out else root / "report"
    print(report(root, out, every_cell=True, sweep=config.sweep))
    print(out / "index.html")
    if not config.all_done:
        return
    every = entries(root, waiting=True, sweep=config.sweep)
    states = [entry.status.state for entry in every if entry.status.state != "outdated"]
    if not states or set(states) != {"done"}:
        sys.exit(f"cmr_bench: {states.count('done')} of {len(states)} cells are done")


def main() -> None:
    verb("report", task)


if __name__ == "__main__":
    main()
