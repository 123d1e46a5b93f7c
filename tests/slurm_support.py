"""A real SLURM on this machine, and sweeps on it: two virtual nodes of one core, nothing outside a temporary folder."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from cmr_bench.launchers.slurm import queued
from cmr_bench.store import Cell, Job, Store, read_jsonl

HERE = Path(__file__).parent / "slurm"
STEPS = 240

TINY = [
    "data.size=32", "data.spacing_mm=5", "data.subjects=12", "data.split={train: 0.5, val: 0.25, test: 0.25, seed: 0}",
    "external.size=32", "external.spacing_mm=5", "external.subjects=4",
    "size.widths=[32,32]", "size.attention=[false,true]", "size.inner=32",
    f"fit.steps={STEPS}", "fit.batch=2", "segmenter.fit.steps=4", "autoencoder.fit.steps=4",
    "synthesis.count=12", "encoder.size=32", "metric=fast", "metric.segmentation.seeds=[0]",
    "trainer=cpu", "threads=1", "callbacks=none", "logger=csv", "checkpoint_minutes=0.03",
]  # fmt: skip

ON_SLURM = [
    "hydra/launcher=slurm", "hydra.launcher.gpus=0", "hydra.launcher.cpus=1", "hydra.launcher.memory=null",
    "hydra.launcher.time=10", "hydra.launcher.wait=false",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which of these tests run is said by TEST_SLURM: fast, all, or nothing."""
    wanted = os.environ.get("TEST_SLURM")
    for item in items:
        if HERE not in item.path.parents:
            continue
        if not wanted:
            item.add_marker(pytest.mark.skip(reason="needs a SLURM cluster: make test-slurm"))
        elif wanted == "fast" and "fast" not in item.keywords:
            item.add_marker(pytest.mark.skip(reason="not in the fast set: make test-slurm-all"))


def line(*overrides: str) -> list[str]:
    """The line that starts a sweep of tiny cells."""
    return [sys.executable, "-m", "cmr_bench.run", "-m", *TINY, *overrides]


def typed(place: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Type the line in a folder and wait for its end."""
    return subprocess.run(
        line(*overrides),
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def until(true: Callable[[], object], what: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.2)


@dataclass(frozen=True)
class Sweep:
    """One store and the line that fills it."""

    place: Path

    @property
    def store(self) -> Store:
        return Store(self.place / "runs")

    def line(self, *overrides: str) -> list[str]:
        return line(*ON_SLURM, "model=fm", *overrides)

    def type(self, *overrides: str) -> str:
        """Type the line and return what it says."""
        done = typed(self.place, *ON_SLURM, "model=fm", *overrides)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def jobs(self) -> dict[str, Job]:
        """By their seeds."""
        folders = sorted((self.store.root / "jobs").glob("fm-*"))
        return {str(job.config["seed"]): job for job in map(Job, folders)}

    def cell(self, seed: int) -> Cell:
        until(lambda: self.jobs()[str(seed)].cell is not None, f"a cell for seed {seed}")
        cell = self.jobs()[str(seed)].cell
        assert cell is not None
        return cell

    def number(self, seed: int) -> str:
        """The latest one in the queue, also after its end."""
        with mock.patch.dict(os.environ, SQUEUE_STATES="all"):
            return queued(self.store.root / "jobs")[self.jobs()[str(seed)]]

    def log(self, seed: int) -> str:
        return self.jobs()[str(seed)].log.read_text()

    def trained_to(self, seed: int, step: int) -> None:
        until(lambda: self.cell(seed).last_step() >= step, f"seed {seed} at step {step}")

    def goes_on_at(self, seed: int) -> list[int]:
        found = re.findall(r"training goes on at step (\d+)", self.log(seed))
        return [int(step) for step in found]

    def done(self, *seeds: int) -> None:
        for seed in seeds:
            until(lambda s=seed: self.cell(s).status.state == "done", f"seed {seed} done")

    def process(self, seed: int) -> int:
        """The process that works on the cell."""
        folder = str(self.jobs()[str(seed)].folder)
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if folder in words and "cmr_bench.launchers.worker" in words and "srun" not in words[0]:
                return int(path.name)
        raise AssertionError(f"no process works on seed {seed}")

    def weights(self, seed: int) -> str:
        """A hash of the trained weights, averages and optimiser of the cell."""
        import torch

        samples = (self.cell(seed).folder / "samples.h5").resolve().parent
        key = re.search(r'"model": "(\w+)"', (samples / "inputs.json").read_text())
        assert key
        state = torch.load(
            self.store.artefact("model", key[1]) / "last.ckpt",
            map_location="cpu",
            weights_only=True,
        )
        digest = hashlib.sha256()
        for part in ("state_dict", "averaging_state", "optimizer_states"):
            feed(digest, state[part])
        return digest.hexdigest()

    def scores(self, seed: int) -> dict[str, tuple[float, ...]]:
        return scores_of(self.cell(seed))


def scores_of(cell: Cell) -> dict[str, tuple[float, ...]]:
    """What a cell scored, with intervals and references."""
    keep = ("value", "low", "high", "reference", "n")
    rows = {row["name"]: row for row in read_jsonl(cell.folder / "scores.jsonl")}
    return {name: tuple(row.get(k) for k in keep) for name, row in rows.items()}


def feed(digest: object, value: object) -> None:
    """Bytes of everything in a nest of mappings, lists and tensors, in order."""
    if hasattr(value, "items"):
        for key, part in value.items():
            digest.update(str(key).encode())
            feed(digest, part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            feed(digest, part)
    elif hasattr(value, "numpy"):
        digest.update(value.numpy().tobytes())
    else:
        digest.update(repr(value).encode())


def slurm(*line: str) -> str:
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


def warned(process: int) -> bool:
    """Whether a process that was stopped has USR1 before it, or has gone on and ended, as SLURM may wake what it signals."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return True
    masks = re.findall(r"^S(?:ig|hd)Pnd:\s*(\w+)", status, re.MULTILINE)
    return any(int(mask, 16) >> (signal.SIGUSR1 - 1) & 1 for mask in masks)


def about(number: str) -> dict[str, str]:
    """What the controller knows of a job or task."""
    text = slurm("scontrol", "show", "job", number)
    return dict(re.findall(r"(\w+)=(\S*)", text))


@dataclass(frozen=True)
class Cluster:
    folder: Path

    def pid(self, daemon: str) -> int:
        return int((self.folder / "run" / f"{daemon}.pid").read_text())

    def kill(self, daemon: str) -> None:
        os.kill(self.pid(daemon), signal.SIGKILL)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {
        "SLURM_TEST_DIR": str(folder), "SLURM_TEST_NODES": "2", "SLURM_TEST_CPUS": "1",
        "SLURM_TEST_GPUS": "0", "SLURM_TEST_PORT": str(port), "SLURM_CONF": f"{folder}/etc/slurm.conf",
    }  # fmt: skip
    os.environ.update(environment)
    try:
        with open(folder / "up.log", "wb") as log:  # daemons would hold a pipe open
            up = subprocess.run(
                [HERE / "slurm-up.sh"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        assert up.returncode == 0, (folder / "up.log").read_text()
        yield Cluster(folder)
    finally:
        subprocess.run([HERE / "slurm-down.sh"], check=False, timeout=60)
        for key in environment:
            os.environ.pop(key, None)


@pytest.fixture(scope="session")
def alone(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two cells that nobody disturbed: what all others are held against."""
    sweep = Sweep(tmp_path_factory.mktemp("alone"))
    sweep.type("seed=0,1")
    sweep.done(0, 1)
    return sweep


@pytest.fixture
def sweep(alone: Sweep, tmp_path: Path) -> Iterator[Sweep]:
    """A store of its own, with data and judges of the undisturbed one."""
    for kind in ("data", "segmenter"):
        shutil.copytree(alone.store.root / kind, tmp_path / "runs" / kind, symlinks=True)
    yield Sweep(tmp_path)
    subprocess.run(["scancel", "--user=root"], check=False)
    until(lambda: not slurm("squeue", "-h"), "an empty queue")


@pytest.fixture
def same(alone: Sweep) -> Callable[..., None]:
    """Asserts that the cells of some seeds ended in the very weights and scores of undisturbed ones."""

    def check(other: Sweep, *seeds: int) -> None:
        for seed in seeds:
            other.done(seed)
            assert other.weights(seed) == alone.weights(seed)
            assert other.scores(seed) == alone.scores(seed)

    return check
