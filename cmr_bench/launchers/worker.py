"""One process at one job: `python -m cmr_bench.launchers.worker FOLDER`.

Exit codes: 0 done; 1 failed; 69 another process works on it; 74 failed for want of disk space; 75 stopped, to be
started again.
"""

from __future__ import annotations

import argparse
import errno
import logging
import sys
from pathlib import Path

from cmr_bench.interruption import BUSY, FULL, Stopped, flag
from cmr_bench.store import Busy, Cell, Job

log = logging.getLogger("cmr_bench")

PATIENCE = 3
"""Starts in a row that are stopped before they did anything: more would change nothing."""


def work(job: Job) -> int:
    """Bring the job's cell to its end, in this process; returns the exit code.

    Raises:
        Stopped: with the state on disk, unless the last starts were stopped before they did anything.
    """
    try:
        run(job)
    except Stopped:
        if job.stopped(flag.pieces) < PATIENCE:
            log.info("stopped, all that was done is kept")
            raise
        job.fail(
            TimeoutError(f"stopped {PATIENCE} times before it did anything: give it more time")
        )
        return 1
    except Busy as busy:
        log.info("%s", busy)
        return BUSY
    except Exception as error:  # whatever it was, it is recorded
        job.fail(error)
        log.error("failed: %s", error, exc_info=error)
        return FULL if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) else 1
    return 0


def run(job: Job) -> None:
    from omegaconf import OmegaConf

    from cmr_bench.cells import link, run_cell

    def announce(cell: Cell) -> None:
        job.belongs_to(cell)
        cell.folder.mkdir(parents=True, exist_ok=True)
        link(cell.folder / "log.txt", job.log)

    config = OmegaConf.create(job.config | {"store": {"root": str(job.folder.parents[1])}})
    run_cell(config, job.choices, announce)


def main() -> int:
    parser = argparse.ArgumentParser(prog="cmr_bench.launchers.worker", description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--follow-parent", action="store_true", help="stop when the starter dies")
    arguments = parser.parse_args()
    flag.listen(follow_parent=arguments.follow_parent)
    logging.basicConfig(
        level=logging.INFO, format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"
    )
    return work(Job(arguments.job.absolute()))


if __name__ == "__main__":
    sys.exit(main())
