"""Cells killed at random moments, and started at the same one: no cluster is needed, but minutes are."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from slurm_support import TINY, feed

from cmr_bench.store import Job, Store, read_json, read_jsonl

KINDS = ("data", "autoencoder", "model", "mask", "samples", "segmenter")
"""In the order in which a cell works on them."""
SHORT = [
    "fit.steps=60", "mask=learned", "mask.fit.steps=20", "mask.module.steps=2", "autoencoder.fit.steps=20",
    "segmenter.fit.steps=20", "synthesis.batch=2", "checkpoint_minutes=0.01",
]  # fmt: skip


def start(job: Job) -> subprocess.Popen[bytes]:
    with open(job.log, "ab") as log:
        line = [sys.executable, "-m", "cmr_bench.launchers.worker", str(job.folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(line, stdout=log, stderr=log, env=environment)


def twin(job: Job, root: Path) -> Job:
    """The same job in another, empty store."""
    other = Store(root).job("ldm", job.folder.name.partition("-")[2])
    other.write(job.config | {"store": {"root": str(root)}}, job.choices, job.name)
    return other


def contents(root: Path) -> dict[str, Any]:
    """Hashes of all weights and samples, and the scores of all cells."""
    found: dict[str, Any] = {}
    for path in root.glob("*/*/*.ckpt"):
        digest = hashlib.sha256()
        state = torch.load(path, map_location="cpu", weights_only=True)
        feed(
            digest, {k: state.get(k) for k in ("state_dict", "averaging_state", "optimizer_states")}
        )
        found[str(path.relative_to(root))] = digest.hexdigest()
    for path in root.glob("samples/*/samples.h5"):
        with h5py.File(path) as file:
            for name, group in file.items():
                images = hashlib.sha256(group["images"][()].tobytes()).hexdigest()
                found[f"{path.relative_to(root)}:{name}"] = images
    for path in root.glob("cells/*/scores.jsonl"):
        rows = {row["name"]: row for row in read_jsonl(path)}
        keep = ("value", "low", "high", "reference", "n")
        text = json.dumps({n: [r.get(k) for k in keep] for n, r in rows.items()}, sort_keys=True)
        found[str(path.relative_to(root))] = text
    return found


def stage(root: Path, whole: Path) -> str:
    """The first kind of work of which there is less than in a whole store."""
    for kind in KINDS:
        if len(finished(root, kind)) < len(finished(whole, kind)):
            return kind
    return "metrics"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A latent model with learned masks, made from an empty store by one process that nobody disturbed."""
    place = tmp_path_factory.mktemp("alone")
    line = [sys.executable, "-m", "cmr_bench.run", "-m", *TINY, *SHORT, "model=ldm"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(line, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)
    (folder,) = (place / "runs" / "jobs").glob("ldm-*")
    return Job(folder)


@pytest.mark.parametrize("round", range(3))
def test_killed_once_in_every_step_ends_as_one_left_alone(
    alone: Job, tmp_path: Path, round: int
) -> None:
    """Seven kills a round, each at a random moment of its step: 21 in all."""
    draw = random.Random(round)
    wanted, spent = contents(whole := alone.folder.parents[1]), seconds(whole)
    assert len(wanted) > 5
    job = twin(alone, root := tmp_path / "runs")
    kills, made = [], {}
    for kind in (*KINDS, "metrics"):
        process = start(job)
        while process.poll() is None and not (
            stage(root, whole) == kind and held(root, process.pid)
        ):
            time.sleep(0.02)
        with suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0, 0.7 * spent[kind]))
        kills.append(stage(root, whole))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, job.log.read_text()[-2000:]
        made = finished(root) | made
    assert start(job).wait(400) == 0, job.log.read_text()[-2000:]
    print(kills, spent)
    assert contents(root) == wanted
    assert made.items() <= finished(root).items(), "what was done once is not done again"


def seconds(whole: Path) -> dict[str, float]:
    """What each kind of work took in the undisturbed cell; its last metrics come after its last segmenter."""
    found = {
        kind: sum(float(read_json(done)["seconds"]) for done in finished(whole, kind))
        for kind in KINDS
    }
    (end,) = finished(whole, "cells")
    last = max(float(read_json(done)["time"]) for done in finished(whole, "segmenter"))
    return found | {"metrics": float(read_json(end)["time"]) - last}


def finished(root: Path, kind: str = "*") -> dict[Path, int]:
    """When each artefact was finished."""
    return {done: done.stat().st_mtime_ns for done in root.glob(f"{kind}/*/done.json")}


def held(root: Path, pid: int) -> bool:
    """Whether the process has begun to work: it holds a lock of the store."""
    return any(read_json(owner).get("pid") == pid for owner in root.glob("*/**/*.lock.owner"))
