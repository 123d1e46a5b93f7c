"""What the launchers have in common: compose all cells, leave out what is done, hand over the rest."""

from __future__ import annotations

import logging
import sys
from abc import abstractmethod
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from rich.progress import track

from cmr_bench.config import check
from cmr_bench.launchers.jobs import FAILED, KEYS, choices_of, job_of, record
from cmr_bench.store import Job

log = logging.getLogger("cmr_bench")


def register(*launchers: type[Launcher]) -> None:
    """Make launchers known to Hydra, which takes only classes of modules below `hydra_plugins`.

    Done by the verb, so that an editable install and a wheel need no second package.
    """
    plugins = Plugins.instance()  # looks for the packages that are installed
    try:
        top = import_module("hydra_plugins")
    except ImportError:  # no other plugin is installed
        top = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
    ours = sys.modules["hydra_plugins.cmr_bench"] = ModuleType("hydra_plugins.cmr_bench")
    vars(top)["cmr_bench"] = ours
    for launcher in launchers:
        vars(ours)[launcher.__name__] = launcher
        plugins.register(launcher)


class Sweep(Launcher):
    """Each cell becomes a job in the store; `start` brings those that are not done to their end."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        if self.config.get("dry_run"):
            basic = BasicLauncher()
            basic.setup(
                hydra_context=self.hydra_context,
                task_function=self.task_function,
                config=self.config,
            )
            return basic.launch(job_overrides, initial_job_idx)
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        jobs = self.jobs(job_overrides)
        open_jobs = list(dict.fromkeys(job for job in jobs if job.status.state != "done"))
        log.info("%d of %d cells are done", len(jobs) - len(open_jobs), len(jobs))
        if open_jobs:
            self.start(open_jobs)
        return [
            JobReturn(overrides=o, status=JobStatus.COMPLETED, _return_value=None)
            for o in job_overrides
        ]

    def jobs(self, job_overrides: Sequence[Sequence[str]]) -> list[Job]:
        """One job a cell, in the order of the sweep; those that are not done are checked and written down."""
        found = []
        shared = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
        for overrides in track(
            job_overrides, "cells", transient=True, disable=not sys.stdout.isatty()
        ):
            config = self.hydra_context.config_loader.load_sweep_config(
                self.config, list(overrides)
            )
            choices = choices_of(config.hydra)
            node = config.copy()
            node._set_flag("struct", False)
            del node["hydra"]
            job = job_of(node, choices)
            if job.status.state != "done":
                check(node, KEYS)
                record(job, node, choices, [word for word in overrides if word not in shared])
            found.append(job)
        return found

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> None:
        """Bring the jobs to their end; one that ends otherwise is named by `failed`."""


def failed(job: Job) -> None:
    """The sweep goes on; the verb ends non-zero and names it."""
    status = job.status
    reason = status.detail or "ended without a word"
    log.error("%s failed: %s (log: %s)", job.name, reason, job.log)
    FAILED.append(f"{job.name}: {reason}")
