"""A sweep on a SLURM cluster: one array, and nothing that the queue or an exit code would have to remember."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmr_bench.interruption import BUSY, EXIT_CODE, Stopped, flag
from cmr_bench.launchers.sweep import Sweep, failed, how
from cmr_bench.store import Job, atomic
from cmr_bench.store.locks import locked

log = logging.getLogger("cmr_bench")

SCRIPT = """#!/bin/bash
# One task of the array is one cell. A cell that stops with code {stopped} has saved all that it did: it goes back
# into the queue. A cancelled job ends here and stays cancelled.
mapfile -t jobs <"{list}"
job=${{jobs[$SLURM_ARRAY_TASK_ID]}}
cd {here} || exit 1
srun --nodes=1 --ntasks=1 --kill-on-bad-exit=0 {python} -m cmr_bench.launchers.worker "$job" >>"$job/log.txt" 2>&1
code=$?
if [ $code = {stopped} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit $code
"""


class Slurm(Sweep):
    """Submits what is neither done nor queued; polls squeue alone, so that accounting is not needed."""

    __module__ = "hydra_plugins.cmr_bench"

    def __init__(
        self,
        *,
        partition: str | None,
        account: str | None,
        time: str | int,
        gpus: int,
        cpus: int,
        memory: str | None,
        parallel: int | None,
        signal_seconds: int,
        max_requeues: int,
        sbatch: Mapping[str, Any],
        python: str | None,
        wait: bool,
        poll_seconds: float,
    ) -> None:
        self.parallel, self.max_requeues, self.python = parallel, max_requeues, python
        self.wait, self.poll_seconds = wait, poll_seconds
        wanted = {
            "partition": partition,
            "account": account,
            "time": time,
            "gres": f"gpu:{gpus}" if gpus else None,
            "cpus-per-task": cpus,
            "mem": memory,
            "signal": f"USR1@{signal_seconds}",
            "open-mode": "append",
            "job-name": "cmr_bench",
            **sbatch,
        }
        self.options = [f"--{key}={value}" for key, value in wanted.items() if value is not None]

    def start(self, jobs: Sequence[Job]) -> None:
        if shutil.which("sbatch") is None:
            raise ValueError("hydra/launcher=slurm: no sbatch on this machine; take local")
        root = jobs[0].folder.parent
        with locked(root / ".submit.lock", "submission"):  # two sweeps at once submit a cell once
            cluster = cluster_name()
            queue = queued(jobs, cluster)
            missing = [job for job in jobs if job not in queue]
            for job, id in queue.items():
                log.info("%s: queued as %s", job.name, id)
            if missing:
                self.submit(missing, root, cluster)
            else:
                log.info("nothing to submit")
        if self.wait:
            self.watch(jobs, cluster)

    def submit(self, jobs: Sequence[Job], root: Path, cluster: str) -> None:
        folder = root / "arrays" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{os.getpid()}"
        with atomic(folder / "jobs.txt") as temporary:
            temporary.write_text("".join(f"{job.folder}\n" for job in jobs))
        script = SCRIPT.format(
            list=folder / "jobs.txt",
            here=shlex.quote(str(Path.cwd())),
            python=shlex.quote(self.python or sys.executable),
            stopped=EXIT_CODE,
            requeues=self.max_requeues,
        )
        with atomic(folder / "array.sbatch") as temporary:
            temporary.write_text(script)
        at_once = f"%{self.parallel}" if self.parallel else ""
        line = ["sbatch", "--parsable", "--requeue", f"--array=0-{len(jobs) - 1}{at_once}"]
        line += [f"--output={folder}/%a.txt", *self.options, str(folder / "array.sbatch")]
        number = ask(*line).split(";")[0].strip()
        for i, job in enumerate(jobs):
            job.enqueue(f"{number}_{i}", cluster)
            log.info("%s: submitted as %s_%d", job.name, number, i)

    def watch(self, jobs: Sequence[Job], cluster: str) -> None:
        """Until the queue holds none of them; what is not done then is named."""
        while queued(jobs, cluster):
            if flag.asked:
                raise Stopped  # the jobs stay in the queue
            time.sleep(self.poll_seconds)
        for job in jobs:
            silent = job.status.state not in ("done", "failed", "running")
            if silent and (words := end_of(job)):
                job.fail(RuntimeError(words))
            if job.status.state != "done":
                failed(job)


def queued(jobs: Sequence[Job], cluster: str) -> dict[Job, str]:
    """Those of the jobs that the queue of this cluster still has, with their numbers in it."""
    there = set(ask("squeue", "--noheader", "--array", "--format=%i").split())
    entries = {job: job.queued for job in jobs}
    return {
        job: str(entry["id"])
        for job, entry in entries.items()
        if entry.get("cluster") == cluster and entry.get("id") in there
    }


def end_of(job: Job) -> str:
    """How a job ended that could not record it; "" if that was no failure, or SLURM has forgotten it."""
    try:
        text = ask("scontrol", "show", "job", str(job.queued.get("id")))
    except ValueError:
        return ""
    found = re.search(r"JobState=(?:FAILED|OUT_OF_MEMORY)\b.*?ExitCode=(\d+):", text, re.DOTALL)
    code = int(found[1]) if found else 0
    if not found or code == BUSY:
        return ""
    return how(128 - code if code > 128 else code, job.log)


def cluster_name() -> str:
    """Numbers of jobs are repeated on another cluster."""
    found = re.search(r"^ClusterName\s*=\s*(\S+)", ask("scontrol", "show", "config"), re.MULTILINE)
    return found[1] if found else ""


def ask(*line: str, tries: int = 6) -> str:
    """What a command of SLURM answers; a controller that is away for a minute is waited for.

    Raises:
        ValueError: with SLURM's own words, if it refuses.
    """
    for last in range(tries):
        answer = subprocess.run(line, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return answer.stdout
        away = "Unable to contact" in answer.stderr or "onnect failure" in answer.stderr
        if line[0] == "sbatch" or not away:
            break
        time.sleep(10 if last else 1)
    raise ValueError(f"{line[0]}: {answer.stderr.strip().splitlines()[-1:] or answer.returncode}")
