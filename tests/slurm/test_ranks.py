"""One cell on two processes, and killed among them: the training is that of a single one, up to rounding."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_support import TINY, scores_of, until

from cmr_bench.store import Cell, Store

LDM = ["model=ldm", "fit.steps=40", "callbacks=axes", "callbacks.every_n_steps=20", "callbacks.axes.utility.segmenter_steps=2"]  # fmt: skip
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
LOSS = 1e-4
"""Relative; sums over a batch are added in another order."""

SCORES = {"fidelity": 1e-3, "privacy": 1e-3, "utility": 0.05}
"""Relative, or absolute below one; utility trains networks anew on images that differ in the last digits."""


def start(place: Path, *overrides: str) -> subprocess.Popen[bytes]:
    place.mkdir(exist_ok=True)
    words = [w for w in TINY if w.partition("=")[0] not in ("trainer", "callbacks")]
    words += [*LDM, *overrides]
    line = [sys.executable, "-m", "cmr_bench.run", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(place / "log.txt", "ab") as log:
        return subprocess.Popen(line, cwd=place, env=environment, stdout=log, stderr=log)


def cell(place: Path) -> Cell:
    (one,) = Store(place / "runs").cells()
    return one


def curves(place: Path) -> dict[tuple[int, str], float]:
    rows = cell(place).logged()
    return {(row["step"], row["name"]): row["value"] for row in rows}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ranks") / "one"
    assert start(place, "trainer=cpu").wait(400) == 0, (place / "log.txt").read_text()
    return place


def test_two_processes_have_the_losses_and_the_scores_of_one(one: Path, tmp_path: Path) -> None:
    two = tmp_path / "two"
    assert start(two, *TWO).wait(400) == 0, (two / "log.txt").read_text()
    assert cell(one).folder.name == cell(two).folder.name, "the number of devices names no cell"
    assert cell(two).about["devices"] == 2 and "devices" not in cell(one).about
    alike(one, two)


def test_a_death_among_them_fails_the_cell_and_one_process_finishes_it(
    one: Path, tmp_path: Path
) -> None:
    process = start(two := tmp_path / "two", *TWO, "fit.steps=40")
    until(lambda: Store(two / "runs").cells() and cell(two).last_step() >= 9, "step 9")
    (helper,) = helpers(process.pid)
    os.kill(helper, signal.SIGKILL)
    assert process.wait(100) == 1 and cell(two).status.state == "failed"
    process = start(two, *TWO)
    until(lambda: helpers(process.pid), "another helper")
    (helper,) = helpers(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not alive(helper), "no orphan", 20)
    assert start(two, "trainer=cpu").wait(400) == 0, (two / "log.txt").read_text()
    alike(one, two)


def alike(one: Path, two: Path) -> None:
    here, there = curves(one), curves(two)
    assert here.keys() == there.keys()
    losses = {key for key in here if key[1].endswith("loss")}
    assert len(losses) >= 6
    apart = {key: abs(there[key] / here[key] - 1) for key in losses}
    print(f"losses differ by at most {max(apart.values()):.1e}")
    assert max(apart.values()) < LOSS
    pairs = {
        name: (value[0], scores_of(cell(two))[name][0])
        for name, value in scores_of(cell(one)).items()
    }
    assert {name for name, (a, _) in pairs.items() if a is None} == {
        name for name, (_, b) in pairs.items() if b is None
    }
    for name, (a, b) in pairs.items():
        within = SCORES[name.split("/")[0]]
        assert a is None or a == pytest.approx(b, rel=within, abs=within), name


def alive(pid: int) -> bool:
    try:
        return bool(
            Path(f"/proc/{pid}/cmdline").read_bytes()
        )  # empty for one that only waits to be reaped
    except OSError:
        return False


def helpers(parent: int) -> list[int]:
    """The processes that help a process to train."""
    time.sleep(0.1)
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat, line = (path / "stat").read_text(), (path / "cmdline").read_bytes()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == parent and b"launchers.helper" in line:
            found.append(int(path.name))
    return found
