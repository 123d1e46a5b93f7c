"""The table and the page of what is on disk: `python -m cmr_bench.report store.root=runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmr_bench.config import check, verb

KEYS: dict[str, Any] = {"store": {"root": str}, "out": str}


def task(config: Any) -> None:
    """Works on an empty store, while cells run and after a crash; needs neither W&B nor a GPU."""
    check(config, KEYS)
    from cmr_bench.reporting import report

    root = Path(config.store.root)
    out = Path(config.out) if config.out else root / "report"
    print(report(root, out))
    print(out / "index.html")


def main() -> None:
    verb("report", task)


if __name__ == "__main__":
    main()
