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
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from slurm_support import TINY, feed

from cmr_bench.store import Job, Store, read_json, read_jsonl

KINDS = ("data", "mask", "autoencoder", "model", "samples", "segmenter")
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


def stage(root: Path) -> str:
    """The first kind of work that is begun and not done, or the one that comes next."""
    for kind in KINDS:
        folders = [path for path in root.glob(f"{kind}/*") if path.is_dir()]
        if not folders or not all((path / "done.json").exists() for path in folders):
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


def test_killed_at_twenty_random_moments_ends_as_one_left_alone(alone: Job, tmp_path: Path) -> None:
    draw = random.Random(0)
    wanted = contents(alone.folder.parents[1])
    assert len(wanted) > 5
    kills: list[str] = []
    while len(kills) < 20:
        job = twin(alone, tmp_path / f"store{len(kills)}")
        root = job.folder.parents[1]
        while job.status.state != "done":
            process = start(job)
            while process.poll() is None and not held(root, process.pid):
                time.sleep(0.05)  # the imports
            try:
                process.wait(draw.uniform(0.1, 4))
            except subprocess.TimeoutExpired:
                kills.append(stage(root))
                process.send_signal(signal.SIGKILL)
                process.wait()
            assert process.returncode in (0, -signal.SIGKILL), job.log.read_text()[-2000:]
        assert contents(root) == wanted
    print({kind: kills.count(kind) for kind in dict.fromkeys(kills)})


def held(root: Path, pid: int) -> bool:
    """Whether the process has begun to work: it holds a lock of the store."""
    return any(read_json(owner).get("pid") == pid for owner in root.glob("*/**/*.lock.owner"))
