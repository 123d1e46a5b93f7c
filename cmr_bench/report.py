"""The table and the page of what is on disk: `python -m cmr_bench.report store.root=runs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cmr_bench.commands import verb
from cmr_bench.config import check

KEYS: dict[str, Any] = {"store": {"root": str}, "out": str, "all_done": bool}


def task(config: Any) -> None:
    """Works on an empty store, while cells run and after a crash; needs neither W&B nor a GPU."""
    check(config, KEYS)
    from cmr_bench.reporting import report
    from cmr_bench.store import Store

    root = Path(config.store.root)
    out = Path(config.out) if config.out else root / "report"
    print(report(root, out, every_cell=True))
    print(out / "index.html")
    store = Store(root)
    jobs = [job.status for job in store.waiting()]
    states = [status.state for status in (*jobs, *(cell.status for cell in store.cells()))]
    if config.all_done and (not states or set(states) != {"done"}):
        sys.exit(f"cmr_bench: {states.count('done')} of {len(states)} cells are done")


def main() -> None:
    verb("report", task)


if __name__ == "__main__":
    main()
