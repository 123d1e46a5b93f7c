"""Acceptance on a real cluster: whatever happens to a job, the cell ends in the weights and scores of one left alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from slurm_support import ON_SLURM, STEPS, Cluster, Sweep, about, slurm, typed, until, warned

from cmr_bench.interruption import BUSY

fast = pytest.mark.fast
Same = Callable[..., None]


@fast
def test_a1_the_line_typed_again_submits_only_what_is_missing(sweep: Sweep, same: Same) -> None:
    assert sweep.type("seed=0,1").count("submitted as") == 2
    again = sweep.type("seed=0,1")
    assert again.count("queued as") == 2 and "nothing to submit" in again
    more = sweep.type("seed=0,1,2")
    assert more.count("submitted as") == 1 and f"submitted as {sweep.number(2)}" in more
    sweep.done(0, 1, 2)
    last = sweep.type("seed=0,1,2")
    assert "3 of 3 cells are done" in last and "submitted as" not in last
    same(sweep, 0, 1)


def test_a2_a_cell_that_raises_leaves_the_others_running(sweep: Sweep, same: Same) -> None:
    obstacle = sweep.store.root / "samples"
    obstacle.write_text("a file where a folder must be")
    sweep.type("seed=0,1", "hydra.launcher.parallel=1")
    until(lambda: about(sweep.number(0))["JobState"] == "FAILED", "the end of the failing cell")
    obstacle.unlink()
    assert about(sweep.number(0))["ExitCode"] == "1:0"
    assert sweep.cell(0).status.state == "failed"
    same(sweep, 1)
    assert sweep.type("seed=0,1").count("submitted as") == 1
    same(sweep, 0)


@fast
def test_a3_kill_of_the_process(sweep: Sweep, same: Same) -> None:
    sweep.type("seed=0")
    sweep.trained_to(0, STEPS // 2)
    os.kill(sweep.process(0), signal.SIGKILL)
    until(lambda: about(sweep.number(0))["JobState"] == "FAILED", "a failed job")
    reached = sweep.cell(0).last_step()
    sweep.type("seed=0")
    sweep.done(0)
    (start,) = sweep.goes_on_at(0)
    assert 0 < start <= reached + 10
    same(sweep, 0)


@fast
def test_a4_usr1_twice_on_the_whole_array(sweep: Sweep, same: Same) -> None:
    sweep.type("seed=0,1")
    array = sweep.number(0).split("_")[0]
    for step in (STEPS // 4, STEPS // 2):
        for seed in (0, 1):
            sweep.trained_to(seed, step)
        restarts = [int(about(sweep.number(seed))["Restarts"]) for seed in (0, 1)]
        slurm("scancel", "--signal=USR1", array)
        for seed, before in zip((0, 1), restarts, strict=True):
            until(
                lambda s=seed, b=before: int(about(sweep.number(s))["Restarts"]) > b,
                f"seed {seed} in the queue again",
            )
    same(sweep, 0, 1)
    for seed in (0, 1):
        assert about(sweep.number(seed))["Restarts"] == "2"
        assert len(sweep.goes_on_at(seed)) == 2


def test_a5_time_limit_again_and_again(sweep: Sweep, same: Same) -> None:
    sweep.type("seed=0", "hydra.launcher.time=1", "hydra.launcher.signal_seconds=20")
    sweep.trained_to(0, 1)
    worker = sweep.process(0)
    os.kill(worker, signal.SIGSTOP)  # the limit comes before the end, however fast the machine is
    until(lambda: warned(worker), "a warning of the time limit")
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)
    until(lambda: sweep.cell(0).status.state == "done", "done", 600)
    same(sweep, 0)
    assert int(about(sweep.number(0))["Restarts"]) >= 1
    steps = sweep.goes_on_at(0)
    assert steps and 0 < steps[0] <= steps[-1] < STEPS and steps == sorted(steps)


@pytest.mark.parametrize(
    ("partition", "named"), [("main", "a6"), ("spot", "a7")], ids=["a6-no-grace", "a7-grace"]
)
def test_preempted(sweep: Sweep, same: Same, partition: str, named: str) -> None:
    sweep.type("seed=0", f"hydra.launcher.partition={partition}")
    sweep.trained_to(0, STEPS // 4)
    slurm(
        "sbatch",
        "--partition=urgent",
        "--nodes=2",
        "--exclusive",
        "--wrap=sleep 3",
        "--output=/dev/null",
    )
    until(lambda: about(sweep.number(0))["Restarts"] == "1", "requeued")
    same(sweep, 0)
    assert len(sweep.goes_on_at(0)) == 1


@fast
def test_a8_requeued_by_an_administrator(sweep: Sweep, same: Same) -> None:
    sweep.type("seed=0")
    sweep.trained_to(0, STEPS // 4)
    slurm("scontrol", "requeue", sweep.number(0))
    same(sweep, 0)
    assert about(sweep.number(0))["Restarts"] == "1"
    assert len(sweep.goes_on_at(0)) == 1


@fast
def test_a9_cancelled_by_the_user_stays_cancelled(sweep: Sweep, same: Same) -> None:
    sweep.type("seed=0")
    sweep.trained_to(0, STEPS // 4)
    slurm("scancel", sweep.number(0))
    until(lambda: not slurm("squeue", "-h"), "an empty queue")
    assert about(sweep.number(0))["JobState"] == "CANCELLED"
    assert sweep.cell(0).status.state == "stopped"
    assert "submitted as" in sweep.type("seed=0")
    same(sweep, 0)
    assert len(sweep.goes_on_at(0)) == 1


def test_a10_controller_killed_and_started(sweep: Sweep, same: Same, cluster: Cluster) -> None:
    sweep.type("seed=0")
    sweep.trained_to(0, STEPS // 4)
    cluster.kill("slurmctld")
    time.sleep(2)
    subprocess.run(["slurmctld", "-f", os.environ["SLURM_CONF"]], check=True)
    same(sweep, 0)
    assert about(sweep.number(0))["Restarts"] == "0" and sweep.goes_on_at(0) == []


def test_a11_torn_checkpoint(sweep: Sweep, same: Same) -> None:
    often = ("seed=0", "checkpoint_minutes=0.001")
    sweep.type(*often)
    until(lambda: [*sweep.store.root.glob("model/*/last.previous.ckpt")], "two checkpoints")
    os.kill(sweep.process(0), signal.SIGKILL)
    until(lambda: about(sweep.number(0))["JobState"] == "FAILED", "a failed job")
    (last,) = sweep.store.root.glob("model/*/last.ckpt")
    assert last.with_name("last.previous.ckpt").exists()
    os.truncate(last, 1000)
    sweep.type(*often)
    same(sweep, 0)
    assert "cannot be read" in sweep.log(0) and len(sweep.goes_on_at(0)) == 1


def test_a12_two_launchers_and_a_process_by_hand(sweep: Sweep, same: Same) -> None:
    pair = [
        subprocess.Popen(sweep.line("seed=0"), cwd=sweep.place, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = "".join(process.communicate(timeout=280)[0] for process in pair)
    assert said.count("submitted as") == 1 and said.count("queued as") == 1
    sweep.trained_to(0, 1)
    line = [sweep.line()[0], "-m", "cmr_bench.launchers.worker", str(sweep.jobs()["0"].folder)]
    hand = subprocess.run(
        line, cwd=sweep.place, capture_output=True, text=True, check=False, timeout=120
    )
    assert hand.returncode == BUSY and "works on it since" in hand.stderr
    same(sweep, 0)


@fast
def test_a13_a_node_dies(sweep: Sweep, same: Same, cluster: Cluster) -> None:
    sweep.type("seed=0,1")
    for seed in (0, 1):
        sweep.trained_to(seed, STEPS // 4)
    node = about(sweep.number(0))["NodeList"]
    for pid in [cluster.pid(f"slurmd-{node}"), *of_job(sweep.number(0))]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: about(sweep.number(0))["Restarts"] == "1", "requeued from a dead node")
    (cluster.folder / "run" / f"slurmd-{node}.pid").unlink(missing_ok=True)
    subprocess.run(["slurmd", "-N", node, "-f", os.environ["SLURM_CONF"]], check=True)
    same(sweep, 0, 1)
    assert about(sweep.number(1))["Restarts"] == "0"
    assert len(sweep.goes_on_at(0)) == 1 and sweep.goes_on_at(1) == []


def of_job(number: str) -> list[int]:
    """All processes of a task: the steward of its batch script first, which would report the death of the others."""
    task = about(number)["JobId"]
    found: list[tuple[int, int]] = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().decode()
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if line.startswith(f"slurmstepd: [{task}."):
            found.append((0 if "batch" in line else 2, int(path.name)))
        elif f"SLURM_JOB_ID={task}".encode() in environment:
            found.append((1, int(path.name)))
    return [pid for _, pid in sorted(found)]


@pytest.mark.parametrize(("grace", "named"), [(20, "a14"), (0, "a15")])
def test_preemption_that_cancels(
    sweep: Sweep, same: Same, cluster: Cluster, grace: int, named: str
) -> None:
    slurm("scontrol", "update", "PartitionName=spot", "PreemptMode=CANCEL", f"GraceTime={grace}")
    sweep.type("seed=0", "hydra.launcher.partition=spot")
    sweep.trained_to(0, STEPS // 4)
    slurm(
        "sbatch",
        "--partition=urgent",
        "--nodes=2",
        "--exclusive",
        "--wrap=sleep 3",
        "--output=/dev/null",
    )
    if grace:
        until(lambda: about(sweep.number(0))["Restarts"] == "1", "requeued inside the grace")
    else:
        until(lambda: about(sweep.number(0))["JobState"] == "PREEMPTED", "preempted")
        sweep.type("seed=0")
    same(sweep, 0)
    assert len(sweep.goes_on_at(0)) == 1


@fast
def test_a16_an_array_is_known_though_sbatch_never_said_that_it_was_taken(
    sweep: Sweep, same: Same
) -> None:
    deaf = sweep.place / "bin" / "sbatch"
    deaf.parent.mkdir()
    deaf.write_text(
        f'#!/bin/bash\n{shutil.which("sbatch")} "$@" >/dev/null\necho Socket timed out >&2\nexit 1\n'
    )
    deaf.chmod(0o755)
    path = f"{deaf.parent}:{os.environ['PATH']}"
    lost = typed(sweep.place, *ON_SLURM, "model=fm", "seed=0,1", PATH=path)
    assert lost.returncode == 2 and lost.stderr.count("sbatch: Socket timed out") == 1, lost.stderr
    again = sweep.type("seed=0,1,2")
    assert again.count("queued as") == 2 and again.count("submitted as") == 1
    same(sweep, 0, 1)


def test_a_cell_on_two_nodes(sweep: Sweep, alone: Sweep) -> None:
    """Its training is that of one process up to rounding, which grows with the steps, also over a stop and a requeue."""
    sweep.type(
        "seed=0", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1",
        "trainer.num_nodes=2", "+hydra.launcher.sbatch.nodes=2",
    )  # fmt: skip
    sweep.trained_to(0, STEPS // 4)
    assert about(sweep.number(0))["NumNodes"] == "2"
    slurm("scancel", "--signal=USR1", sweep.number(0))
    until(lambda: about(sweep.number(0))["Restarts"] == "1", "in the queue again")
    sweep.done(0)
    assert len(sweep.goes_on_at(0)) == 1

    def losses(one: Sweep) -> dict[int, float]:
        rows = one.cell(0).logged()
        return {row["step"]: row["value"] for row in rows if row["name"] == "model/loss"}

    here, there = losses(alone), losses(sweep)
    assert here.keys() == there.keys()
    apart = {step: abs(there[step] / here[step] - 1) for step in here}
    early, late = max(apart[step] for step in apart if step < STEPS // 4), max(apart.values())
    print(f"losses differ by at most {early:.1e} in the first quarter and {late:.1e} in all")
    assert early < 1e-4 and late < 1e-2
