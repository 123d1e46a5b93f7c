"""Train, synthesise and judge: `python -m cmr_bench.run -m model=ddpm,ldm,fm`."""

from __future__ import annotations

import logging
import sys
from typing import Any

from cmr_bench.config import check, verb

log = logging.getLogger("cmr_bench")

KEYS: dict[str, Any] = {
    **dict.fromkeys(
        "data external mask model autoencoder segmenter encoder metric trainer logger protocol size".split()
    ),
    "callbacks": {"every_n_steps": int, "axes": None},
    "seed": int,
    "threads": int,
    "sweep": str,
    "tags": None,
    "dry_run": bool,
    "fit": {"steps": int, "batch": int, "ema": float, "augment": None},
    "synthesis": {"count": int, "batch": int},
    "store": {"root": str},
}
"""What the verb reads, beside what describes itself by `_target_`."""

CHOICES = ("model", "data", "mask", "metric", "protocol")
FAILED: list[str] = []
PLANNED: list[Any] = []


def task(config: Any) -> None:
    """One cell: found done, resumed, or made. One that fails leaves its error in its folder; the others go on."""
    from hydra.core.hydra_config import HydraConfig

    check(config, KEYS)
    choices = {name: str(HydraConfig.get().runtime.choices[name]) for name in CHOICES}
    if config.dry_run:
        from cmr_bench.planning import look_ahead

        PLANNED.append(look_ahead(config, choices, HydraConfig.get().overrides.task))
        return
    from cmr_bench.cells import run_cell  # the heavy imports, after the checks that need none

    try:
        run_cell(config, choices)
    except Exception as error:  # whatever it was, the other cells go on
        users = isinstance(error, ValueError | OSError)
        log.error("%s failed: %s", choices["model"], error, exc_info=None if users else error)
        FAILED.append(choices["model"])


def main() -> None:
    verb("run", task)
    if PLANNED:
        from cmr_bench.planning import table

        print(table(PLANNED))
    if FAILED:
        sys.exit(f"cmr_bench: {len(FAILED)} of the cells failed: {', '.join(FAILED)}")


if __name__ == "__main__":
    main()
