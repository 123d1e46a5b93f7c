"""Six cells that start in the same instant on an empty store: what they share is built once, whoever dies over it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path

import hydra
import pytest
from omegaconf import open_dict
from slurm_support import TINY

from cmr_bench.config import conf_path
from cmr_bench.launchers.jobs import choices_of, job_of, record
from cmr_bench.store import Job, read_json

COUNTING = '''
"""A worker that writes down which artefacts it begins and ends to build."""
import os
import sys

from cmr_bench.launchers.worker import main
from cmr_bench.store import Store, key_of

build = Store.build

def counted(self, kind, inputs, make):
    def made(folder):
        note("begun", folder)
        make(folder)
        note("ended", folder)
    return build(self, kind, inputs, made)

def note(what, folder):
    line = f"{what} {folder.parent.name}/{folder.name}\\n".encode()
    file = os.open(os.environ["COUNT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)

Store.build = counted
sys.exit(main())
'''
SHORT = ["fit.steps=10", "mask=learned", "mask.fit.steps=4", "mask.module.steps=2"]
SHARED = ("data", "mask", "autoencoder", "segmenter")


def jobs(root: Path) -> list[Job]:
    """Three families and two seeds, written down and not started."""
    made = []
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        for model, seed in product(("ddpm", "ldm", "fm"), (0, 1)):
            words = [f"model={model}", f"seed={seed}"]
            overrides = [*TINY, *SHORT, f"store.root={root}", *words]
            config = hydra.compose("run", overrides, return_hydra_config=True)
            choices = choices_of(config.hydra)
            with open_dict(config):
                del config["hydra"]
            made.append(job_of(config, choices))
            record(made[-1], config, choices, words)
    return made


@pytest.mark.parametrize("deaths", [(), ("data", "segmenter")], ids=["undisturbed", "builders-die"])
def test_what_six_cells_share_is_built_once(tmp_path: Path, deaths: tuple[str, ...]) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    root, count = tmp_path / "runs", tmp_path / "count.txt"
    environment = {**os.environ, "COUNT": str(count), "OMP_NUM_THREADS": "1"}

    def start(job: Job) -> subprocess.Popen[bytes]:
        with open(job.log, "ab") as log:
            words = [sys.executable, str(tmp_path / "counting.py"), str(job.folder)]
            return subprocess.Popen(words, stdout=log, stderr=log, env=environment)

    started = {job: start(job) for job in jobs(root)}
    for kind in deaths:
        os.kill(builder(root, kind), signal.SIGKILL)
    codes = {job: process.wait(500) for job, process in started.items()}
    killed = [job for job, code in codes.items() if code == -signal.SIGKILL]
    assert len(killed) == len(deaths) and sum(codes.values()) == -signal.SIGKILL * len(deaths)
    again = {job: start(job) for job in killed}
    assert [process.wait(500) for process in again.values()] == [0] * len(killed)
    assert all(job.status.state == "done" for job in started)

    lines = Counter(count.read_text().splitlines())
    ended = {line.split()[1]: times for line, times in lines.items() if line.startswith("ended")}
    begun = {line.split()[1]: times for line, times in lines.items() if line.startswith("begun")}
    assert set(ended.values()) == {1} and set(begun) == set(ended)
    kinds = Counter(piece.split("/")[0] for piece in ended)
    assert {kind: kinds[kind] for kind in SHARED[:3]} == {"data": 2, "mask": 1, "autoencoder": 1}
    assert kinds["model"] == kinds["samples"] == 6
    assert sum(begun.values()) == len(begun) + len(deaths)


def builder(root: Path, kind: str) -> int:
    """The first process that is seen to build an artefact of a kind."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        for owner in root.glob(f"{kind}/*.lock.owner"):
            pid = read_json(owner).get("pid")
            if pid and (owner.parent / owner.name.partition(".")[0]).is_dir():
                return int(pid)
        time.sleep(0.002)
    raise AssertionError(f"nobody builds {kind}")
