"""A sweep on this machine: a fresh process for each cell."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cmr_bench.interruption import BUSY, EXIT_CODE, Stopped, flag
from cmr_bench.launchers.sweep import Sweep, failed, how
from cmr_bench.store import Job

log = logging.getLogger("cmr_bench")


@dataclass
class Slot:
    """Where one cell at a time runs: a GPU, or several of a cell that trains on several, and a share of the cores."""

    gpu: str | None
    cores: frozenset[int]
    job: Job | None = None
    process: subprocess.Popen[bytes] | None = None
    shown: int = 0

    def begin(self, job: Job) -> None:
        environment = {**os.environ}
        if self.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpu
        job.folder.mkdir(parents=True, exist_ok=True)
        with open(job.log, "ab") as stream:
            self.shown = stream.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cmr_bench.launchers.worker", job.folder, "--follow-parent"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the launcher, which asks the cells to stop
            )
        if self.cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.process.pid, self.cores)
        self.job = job

    def show(self) -> None:
        """Pass on what the cell has said since the last look."""
        if self.job is not None:
            with open(self.job.log, "rb") as stream:
                stream.seek(self.shown)
                text = stream.read()
            self.shown += len(text)
            sys.stdout.write(text.decode(errors="replace"))
            sys.stdout.flush()


class Local(Sweep):
    """One process a visible GPU, otherwise one cell at a time with all cores; `jobs` cells at a time share the cores."""

    __module__ = "hydra_plugins.cmr_bench"

    def __init__(self, jobs: int | None = None, poll_seconds: float = 0.2) -> None:
        if jobs is not None and jobs < 1:
            raise ValueError(f"hydra.launcher.jobs={jobs}: at least one cell at a time")
        self.at_once, self.poll_seconds = jobs, poll_seconds

    def start(self, jobs: Sequence[Job]) -> None:
        waiting = list(jobs)
        devices = jobs[0].config.get("trainer", {}).get("devices", 1)
        slots = slots_of(self.at_once, devices)
        try:
            while waiting or any(slot.job for slot in slots):
                if flag.asked:
                    raise Stopped
                for slot in slots:
                    self.look(slot)
                for slot in slots:
                    if slot.job is None and waiting:
                        job = waiting.pop(0)
                        slot.begin(job)
                        log.info("%s: started, %d to come", job.name, len(waiting))
                time.sleep(self.poll_seconds)
        finally:
            for slot in slots:
                if slot.process is not None and slot.process.poll() is None:
                    slot.process.terminate()
            for slot in slots:
                if slot.process is not None:
                    slot.process.wait()

    def look(self, slot: Slot) -> None:
        """Show what the slot's cell says and, if its process has ended, how."""
        if slot.job is None or slot.process is None:
            return
        code = slot.process.poll()
        slot.show()
        if code is None:
            return
        silent = slot.job.status.state not in ("done", "failed", "running")
        if silent and code not in (0, BUSY, EXIT_CODE):
            slot.job.fail(RuntimeError(how(code, slot.job.log)))
        if slot.job.status.state != "done":
            failed(slot.job)
        else:
            log.info("%s: done", slot.job.name)
        slot.job = slot.process = None


def slots_of(jobs: int | None, devices: int | str = 1) -> list[Slot]:
    """One slot for each `devices` visible GPUs or one in all, or `jobs` of them; slots share the cores evenly."""
    visible = visible_gpus()
    each = max(1, len(visible)) if devices == "auto" else int(devices)
    gpus = [",".join(visible[i : i + each]) for i in range(0, len(visible), each)]
    count = jobs or max(1, len(gpus))
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    share = max(1, len(cores) // count)
    return [
        Slot(
            gpus[i % len(gpus)] if gpus else None,
            frozenset(cores[(i * share) % len(cores) :][:share] if cores and count > 1 else cores),
        )
        for i in range(count)
    ]


def visible_gpus() -> list[str]:
    """The numbers or names of the GPUs that this process may use, found without torch."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    return [path.name[6:] for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
