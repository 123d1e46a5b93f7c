"""The local launcher: a process a cell, and what it says of one that ends badly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from cmr_bench import saving
from cmr_bench.config import conf_path
from cmr_bench.interruption import EXIT_CODE, Flag, Stopped
from cmr_bench.launchers import local, worker
from cmr_bench.launchers.jobs import FAILED, choices_of, job_of, record
from cmr_bench.launchers.local import Local, slots_of
from cmr_bench.store import Job, Store, locks, read_json
from cmr_bench.store.locks import locked

CHOICES = {"model": "fm"}

WORKER = """
import os, signal, sys
name = open(sys.argv[1] + "/config.yaml").read()
print("worked on", name, flush=True)
if "killed" in name: os.kill(os.getpid(), signal.SIGKILL)
if "memory" in name:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28)); bytearray(1 << 30)
if "stopped" in name: sys.exit(75)
from cmr_bench.store import Cell, Job
job = Job(__import__("pathlib").Path(sys.argv[1]))
cell = Cell(job.folder.parents[1] / "cells" / job.folder.name)
job.belongs_to(cell)
if "busy" in name: sys.exit(69)
with cell.attempt():
    if "raises" in name: raise RuntimeError("out of paint")
    cell.finish()
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Job]:
    """One job a fate, worked on by a process that meets it."""
    (tmp_path / "fated.py").write_text(WORKER)
    real = subprocess.Popen

    def popen(line: list[Any], **options: Any) -> subprocess.Popen[bytes]:
        return real([sys.executable, tmp_path / "fated.py", *line[3:]], **options)

    monkeypatch.setattr(local.subprocess, "Popen", popen)
    monkeypatch.setattr(local, "visible_gpus", list)
    FAILED.clear()
    made = {}
    for fate in ("raises", "killed", "memory", "stopped", "good"):
        made[fate] = Store(tmp_path / "runs").job("fm", fate)
        made[fate].write({"fate": fate}, CHOICES, fate)
    return made


@pytest.mark.parametrize("at_once", [None, 2])
def test_what_ends_badly_is_named_and_the_others_go_on(
    jobs: dict[str, Job], at_once: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    Local(jobs=at_once, poll_seconds=0.02).start(list(jobs.values()))
    assert jobs["good"].status.state == "done"
    assert sorted(line.split(":")[0] for line in FAILED) == [
        "killed",
        "memory",
        "raises",
        "stopped",
    ]
    assert "out of paint" in jobs["raises"].status.detail
    assert "SIGKILL" in jobs["killed"].status.detail
    assert "ended with code 1: MemoryError" in jobs["memory"].status.detail
    assert "worked on fate: good" in capsys.readouterr().out
    FAILED.clear()


def test_a_cell_that_another_process_works_on_is_not_done_and_has_not_failed(
    jobs: dict[str, Job],
) -> None:
    job, cell = jobs["good"], Store(jobs["good"].folder.parents[1]).cell("fm", "good")
    job.write({"fate": "busy"}, CHOICES, "good")
    with cell.attempt():
        Local(poll_seconds=0.02).start([job])
        assert cell.status.state == "running"
    assert not (cell.folder / "failed.json").exists()
    (words,) = FAILED
    assert words.startswith("good: another process works on it")
    FAILED.clear()


def test_slots_share_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [(s.gpu, s.cores) for s in slots_of(None)] == [("2", {0, 1}), ("5", {2, 3})]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [(s.gpu, s.cores) for s in slots_of(None)] == [(None, {0, 1, 2, 3})]
    assert [(s.gpu, s.cores) for s in slots_of(2)] == [(None, {0, 1}), (None, {2, 3})]
    assert len(slots_of(9)) == 9 and all(s.cores for s in slots_of(9))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,6,7")
    assert [s.gpu for s in slots_of(None, 2)] == ["2,5", "6,7"]
    assert [s.gpu for s in slots_of(None, "auto")] == ["2,5,6,7"]


def test_a_job_is_named_by_what_is_made_and_not_by_where(tmp_path: Path) -> None:
    def key(**change: Any) -> str:
        config = {"store": {"root": str(tmp_path)}, "seed": 0, "threads": 1, "data": {"size": 3}}
        return job_of(OmegaConf.create(config | change), CHOICES).folder.name

    assert key() == key(threads=2, logger={"mode": "online"}, checkpoint_minutes=1.0)
    assert len({key(), key(seed=1), key(data={"size": 4})}) == 3

    def read(root: str) -> dict[str, Any]:
        return {"root": root, "reader": {"_target_": "types.SimpleNamespace", "root": root}}

    assert key(external=read("/here")) == key(external=read("/here/"))
    trainer, synthesis = {"devices": 1, "precision": 32}, {"count": 9, "batch": 2}
    same = key(trainer=trainer, synthesis=synthesis)
    assert same == key(trainer=trainer | {"devices": 2, "num_nodes": 2}, synthesis=synthesis)
    assert same == key(trainer=trainer, synthesis=synthesis | {"batch": 3})
    assert same != key(trainer=trainer | {"precision": 16}, synthesis=synthesis)
    assert same != key(trainer=trainer, synthesis=synthesis | {"count": 8})


def test_a_job_finds_its_data_and_its_store_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    data = {"root": "data", "reader": {"root": "${..root}"}}
    config = OmegaConf.create({"store": {"root": "runs"}, "data": data, "external": None})
    job = Store("runs").job("fm", "key")
    record(job, config, CHOICES, [])
    seen: list[Any] = []
    monkeypatch.setattr("cmr_bench.cells.run_cell", lambda config, *_: seen.append(config))
    monkeypatch.chdir(tmp_path)
    assert worker.work(job) == 0
    root = str(tmp_path / "here" / "data")
    assert seen[0].data == {"root": root, "reader": {"root": root}}
    assert seen[0].store.root == str(tmp_path / "here" / "runs")


def test_the_flag_is_raised_by_a_signal_and_ends_the_work_between_two_pieces() -> None:
    code = """
import os, signal
from cmr_bench.interruption import flag
flag.listen()
flag.between()
os.kill(os.getpid(), signal.SIGTERM)
print(flag.pieces, flag.asked, flush=True)
flag.between()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (EXIT_CODE, ["1", "True"])


def test_a_cell_leads_to_the_log_of_its_job(
    jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, cell = jobs["good"], Store(jobs["good"].folder.parents[1]).cell("fm", "another-key")
    job.log.write_text("a word")
    monkeypatch.setattr(
        "cmr_bench.cells.run_cell", lambda config, choices, announce: announce(cell)
    )
    assert [worker.work(job), worker.work(job)] == [0, 0]
    assert (cell.folder / "log.txt").read_text() == "a word"
    assert not (cell.folder / "log.txt").readlink().is_absolute(), "a store can be moved"


def test_a_training_says_every_half_a_minute_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clock = [0.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: clock[0])
    kept = saving.Saving(tmp_path / "x", title="DDPM", minutes=60, validate_every=None)
    trainer: Any = SimpleNamespace(global_step=40, max_steps=100, world_size=1)
    kept.on_train_start(trainer, None)  # type: ignore[arg-type]
    for clock[0], trainer.global_step in ((29, 49), (30, 50), (31, 51), (60, 60)):
        kept.on_train_batch_end(trainer, torch.nn.Linear(1, 1), None)  # type: ignore[arg-type]
    assert caplog.messages == [
        "DDPM: training goes on at step 40",
        "DDPM: step 50 of 100, 2.5 minutes left",
        "DDPM: step 60 of 100, 2.0 minutes left",
    ]


VERB = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins without it
from cmr_bench.commands import verb
from cmr_bench.interruption import flag
def task(config):
    for _ in range({times}):
        os.kill(os.getpid(), signal.SIGINT)
    print("the step ends", flush=True)
    flag.between()
if {listens}:
    flag.listen()
sys.argv = ["report"]
verb("report", task)
"""


@pytest.mark.parametrize(
    ("times", "listens", "said", "ends"),
    [
        (1, True, ["stopping after this step", "stopped: the same line goes on"], True),
        (2, True, ["stopping after this step"], False),
        (1, False, [], False),
    ],
)
def test_ctrl_c_ends_a_line_after_the_step_and_again_at_once(
    tmp_path: Path, times: int, listens: bool, said: list[str], ends: bool
) -> None:
    line = [sys.executable, "-c", VERB.format(times=times, listens=listens)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 130 and bool(done.stdout) == ends
    assert len([line for line in done.stderr.splitlines() if line]) == len(said)
    assert all(words in done.stderr for words in said)


def test_an_orphan_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    flag = Flag()
    monkeypatch.setattr("signal.signal", lambda *_: None)
    flag.listen(follow_parent=True)
    flag.between()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(Stopped):
        flag.between()


def test_starts_without_any_work_are_counted(jobs: dict[str, Job]) -> None:
    job = jobs["good"]
    assert [job.stopped(0), job.stopped(0), job.stopped(3), job.stopped(0)] == [1, 2, 0, 1]
    job.write(job.config, job.choices, job.name)
    assert job.stopped(0) == 1, "the line typed again begins anew"


def test_an_error_before_the_attempt_takes_the_place_of_an_older_one(
    jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, cell = jobs["good"], Store(jobs["good"].folder.parents[1]).cell("fm", "good")
    job.belongs_to(cell)
    with pytest.raises(RuntimeError), cell.attempt():
        raise RuntimeError("out of paint")

    def run(_: Job) -> None:
        raise ValueError("no such folder")

    monkeypatch.setattr(worker, "run", run)
    with cell.attempt():
        assert worker.work(job) == 1
        assert cell.status.state == "running", "another process is at it"
    assert cell.status.detail == "ValueError: no such folder"
    assert read_json(cell.folder / "failed.json")["log"] == str(job.log)


def test_a_wait_for_another_builder_is_no_start_without_work(
    jobs: dict[str, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "run", lambda _: wait())
    monkeypatch.setattr(locks, "flag", asked := Flag())
    monkeypatch.setattr(worker, "flag", asked)
    asked.raised = True

    def wait() -> None:
        with locked(tmp_path / "lock", "model"):
            pass

    with locked(tmp_path / "lock", "model"):
        for _ in range(worker.PATIENCE + 1):
            asked.pieces = 0
            with pytest.raises(Stopped):
                worker.work(jobs["good"])


def test_two_bundles_of_metrics_at_once_name_a_cell() -> None:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        config = hydra.compose("run", ["metric=[fast,paper]"], return_hydra_config=True)
    assert choices_of(config.hydra) == {
        "model": "ddpm",
        "data": "phantom",
        "mask": "deformed",
        "metric": "fast+paper",
        "protocol": "strict",
    }
