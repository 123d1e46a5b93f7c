"""A sweep on a SLURM cluster: one array, and nothing that the queue or an exit code would have to remember."""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
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
            numbers = queued(root)
            missing = [job for job in jobs if job not in numbers]
            for job in jobs:
                if job in numbers:
                    log.info("%s: queued as %s", job.name, numbers[job])
            if missing:
                numbers |= self.submit(missing, root)
            else:
                log.info("nothing to submit")
        if self.wait:
            self.watch({job: numbers[job] for job in jobs}, root)

    def submit(self, jobs: Sequence[Job], root: Path) -> dict[Job, str]:
        folder = root / "arrays" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{uuid.uuid4().hex[:8]}"
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
        array = ask(*line).split(";")[0].strip()
        numbers = {job: f"{array}_{i}" for i, job in enumerate(jobs)}
        for job, number in numbers.items():
            log.info("%s: submitted as %s", job.name, number)
        return numbers

    def watch(self, numbers: Mapping[Job, str], root: Path) -> None:
        """Until the queue holds none of them; what is not done then is named."""
        while numbers.keys() & queued(root).keys():
            if flag.asked:
                raise Stopped  # the jobs stay in the queue
            time.sleep(self.poll_seconds)
        for job, number in numbers.items():
            silent = job.status.state not in ("done", "failed", "running")
            if silent and (words := end_of(number, job.log)):
                job.fail(RuntimeError(words))
            if job.status.state != "done":
                failed(job)


def queued(root: Path) -> dict[Job, str]:
    """The jobs below `root` that the queue of this cluster has, with their numbers in it.

    The script of an entry lies beside the list of its array's jobs, so that nothing has to be kept once it is submitted.
    """
    arrays: dict[Path, list[str]] = {}
    for line in ask("squeue", "--noheader", "--array", "--format=%i %o").splitlines():
        number, _, script = line.strip().partition(" ")
        arrays.setdefault(Path(script).parent, []).append(number)
    found: dict[Job, str] = {}
    for folder in sorted(arrays):  # they are named by the time; of two entries the newer one counts
        if folder.parent.resolve() == (root / "arrays").resolve():
            names = [Path(line).name for line in (folder / "jobs.txt").read_text().splitlines()]
            tasks = {number: int(number.partition("_")[2]) for number in arrays[folder]}
            found |= {Job(root / names[task]): number for number, task in tasks.items()}
    return found


def end_of(number: str, words: Path) -> str:
    """How a job ended that could not record it; "" if that was no failure, or SLURM has forgotten it."""
    try:
        text = ask("scontrol", "show", "job", number)
    except ValueError:
        return ""
    found = re.search(r"JobState=(?:FAILED|OUT_OF_MEMORY)\b.*?ExitCode=(\d+):", text, re.DOTALL)
    code = int(found[1]) if found else 0
    if not found or code == BUSY:
        return ""
    return how(128 - code if code > 128 else code, words)


def ask(*line: str, tries: int = 6) -> str:
    """What a command of SLURM answers. It is asked again for a minute, unless a second answer would be another one.

    Raises:
        ValueError: with SLURM's own words, if it refuses.
    """
    for last in range(tries):
        answer = subprocess.run(line, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return answer.stdout
        if line[0] == "sbatch" or "Invalid job id" in answer.stderr:
            break
        time.sleep(10 if last else 1)
    words = answer.stderr.strip().splitlines() or [f"code {answer.returncode}"]
    raise ValueError(f"{line[0]}: {words[-1]}")
