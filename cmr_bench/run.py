"""Train, synthesise and judge: `python -m cmr_bench.run -m model=ddpm,ldm,fm`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from cmr_bench.commands import verb
from cmr_bench.config import check, conf_path
from cmr_bench.interruption import flag
from cmr_bench.launchers.grid import Grid
from cmr_bench.launchers.jobs import FAILED, KEYS, PLANNED, choices_of
from cmr_bench.launchers.local import Local
from cmr_bench.launchers.slurm import Slurm
from cmr_bench.launchers.sweep import register
from cmr_bench.store import Busy

log = logging.getLogger("cmr_bench")


def task(config: Any) -> None:
    """One cell: found done, resumed, or made. One that fails leaves its error in its folder; the others go on."""
    from hydra.core.hydra_config import HydraConfig

    refuse_slip(config, HydraConfig.get())
    check(config, KEYS)
    choices = choices_of(HydraConfig.get())
    if config.dry_run:
        from cmr_bench.planning import look_ahead

        PLANNED.append(look_ahead(config, choices, [f"model={choices['model']}"]))
        return
    from cmr_bench.cells import run_cell  # the heavy imports, after the checks that need none

    try:
        run_cell(config, choices)
    except Busy as busy:
        log.error("%s", busy)
        FAILED.append(str(busy))
    except Exception as error:  # whatever it was, the other cells go on
        users = isinstance(error, ValueError | OSError)
        log.error("%s failed: %s", choices["model"], error, exc_info=None if users else error)
        FAILED.append(f"{choices['model']}: {error}")


def refuse_slip(config: Any, hydra: Any) -> None:
    """Refuse `sweep=NAME`, which only names a group of runs, where the sweep of that name was meant."""
    named = Path(conf_path(), "sweeps", f"{config.sweep}.yaml").is_file()
    if named and hydra.mode.name == "RUN" and not hydra.runtime.choices.get("sweeps"):
        raise ValueError(
            f"sweep={config.sweep} only names the group of this one cell: type sweeps={config.sweep} "
            "for the whole grid, or add -m for a cell of that group"
        )


def main() -> None:
    register(Local, Slurm, Grid)
    flag.listen()
    verb("run", task)
    if PLANNED:
        from cmr_bench.planning import table

        print(table(PLANNED))
    if FAILED:
        sys.exit(f"cmr_bench: {len(FAILED)} of the cells not done: {'; '.join(FAILED)}")


if __name__ == "__main__":
    main()
