"""Train, synthesise and judge: `python -m cmr_bench.run -m model=ddpm,ldm,fm`."""

from __future__ import annotations

import logging
import sys
from typing import Any

from cmr_bench.commands import verb
from cmr_bench.config import check
from cmr_bench.interruption import flag
from cmr_bench.launchers.jobs import FAILED, KEYS, choices_of
from cmr_bench.launchers.local import Local
from cmr_bench.launchers.slurm import Slurm
from cmr_bench.launchers.sweep import register

log = logging.getLogger("cmr_bench")

PLANNED: list[Any] = []


def task(config: Any) -> None:
    """One cell: found done, resumed, or made. One that fails leaves its error in its folder; the others go on."""
    from hydra.core.hydra_config import HydraConfig

    check(config, KEYS)
    choices = choices_of(HydraConfig.get())
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
        FAILED.append(f"{choices['model']}: {error}")


def main() -> None:
    register(Local, Slurm)
    flag.listen()
    verb("run", task)
    if PLANNED:
        from cmr_bench.planning import table

        print(table(PLANNED))
    if FAILED:
        sys.exit(f"cmr_bench: {len(FAILED)} of the cells failed: {'; '.join(FAILED)}")


if __name__ == "__main__":
    main()
