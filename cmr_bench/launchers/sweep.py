"""What the launchers have in common: compose all cells, leave out what is done, hand over the rest."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.plugin import Plugin
from omegaconf import DictConfig

from cmr_bench.config import check
from cmr_bench.interruption import FULL
from cmr_bench.launchers.compose import Composer
from cmr_bench.launchers.jobs import FAILED, KEYS, PLANNED, job_of, record
from cmr_bench.progress import each
from cmr_bench.store import Job
from cmr_bench.store.files import REMEDY

log = logging.getLogger("cmr_bench")


def register(*plugins: type[Plugin]) -> None:
    """Make launchers and sweepers known to Hydra, which takes only classes of modules below `hydra_plugins`.

    Done by the verb, so that an editable install and a wheel need no second package.
    """
    known = Plugins.instance()  # looks for the packages that are installed
    try:
        top = import_module("hydra_plugins")
    except ImportError:  # no other plugin is installed
        top = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
    ours = sys.modules["hydra_plugins.cmr_bench"] = ModuleType("hydra_plugins.cmr_bench")
    vars(top)["cmr_bench"] = ours
    for plugin in plugins:
        vars(ours)[plugin.__name__] = plugin
        known.register(plugin)


class Sweep(Launcher):
    """Each cell becomes a job in the store; `start` brings those that are not done to their end."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.config = config
        self.compose = Composer(hydra_context.config_loader, config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        if self.config.get("dry_run"):
            self.look_ahead(job_overrides)
        else:
            self.bring_to_end(self.jobs(job_overrides))
        return [
            JobReturn(overrides=o, status=JobStatus.COMPLETED, _return_value=None)
            for o in job_overrides
        ]

    def bring_to_end(self, jobs: Sequence[Job]) -> None:
        open_jobs = list(dict.fromkeys(job for job in jobs if job.status.state != "done"))
        log.info("%d of %d cells are done", len(jobs) - len(open_jobs), len(jobs))
        if open_jobs:
            self.start(open_jobs)

    def look_ahead(self, job_overrides: Sequence[Sequence[str]]) -> None:
        """The plan of every cell; nothing is made."""
        from cmr_bench.planning import look_ahead  # the heavy imports

        for overrides, config, choices in self.cells(job_overrides):
            check(config, KEYS)
            PLANNED.append(look_ahead(config, choices, overrides))

    def cells(
        self, job_overrides: Sequence[Sequence[str]]
    ) -> Iterator[tuple[Sequence[str], DictConfig, dict[str, str]]]:
        """(overrides, configuration, choices) of each cell, with a bar that shows how far it is."""
        for overrides in each(job_overrides, "cells"):
            yield overrides, *self.compose(overrides)

    def jobs(self, job_overrides: Sequence[Sequence[str]]) -> list[Job]:
        """One job a cell, in the order of the sweep; those that are not done are checked and written down."""
        found = []
        shared = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
        for overrides, config, choices in self.cells(job_overrides):
            job = job_of(config, choices)
            if job.cell is not None:
                job.cell.join(config.sweep)
            if job.status.state != "done":
                check(config, KEYS)
                record(job, config, choices, [word for word in overrides if word not in shared])
            found.append(job)
        return found

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> None:
        """Bring the jobs to their end; one that ends otherwise is named by `failed`."""


def how(code: int, words: Path) -> str:
    """What an exit code (negative: a signal) says of a process that could not record its end."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"the process was killed by {name}" + ": out of memory?" * (name == "SIGKILL")
    if code == FULL:
        return f"{os.strerror(errno.ENOSPC)}: {REMEDY[errno.ENOSPC]}"
    last = words.read_text(errors="replace").rstrip().rpartition("\n")[2]
    return f"the process ended with code {code}: {last}"


def failed(job: Job) -> None:
    """The sweep goes on; the verb ends non-zero and names it, also where another process is still at it."""
    status = job.status
    reason = status.detail or "ended without a word"
    if status.state == "running":
        reason = f"another process works on it, {reason}"
    log.error("%s is not done: %s (log: %s)", job.name, reason, job.log)
    FAILED.append(f"{job.name}: {reason}")
