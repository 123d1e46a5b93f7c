"""A cell that was stopped, stopped again and killed: one W&B run in several files, and one curve when it is told anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import offline
from slurm_support import TINY, until

from cmr_bench.interruption import EXIT_CODE
from cmr_bench.store import Cell, Store

STEPS = 400
MIRRORED = [f"fit.steps={STEPS}", "model=fm", "logger=wandb", "logger.mode=offline"]


def segments(folder: Path, key: str) -> list[dict[str, list[Any]]]:
    """The runs of a cell as W&B left them, in their order; one that a kill tore before its first record is left out."""
    paths = sorted(folder.glob(f"wandb/offline-run-*-{key}/*.wandb"), key=lambda p: p.parent.name)
    found = [offline.read(path, patience=3) for path in paths]
    return [one for one in found if "run" in one]


def curve(found: list[dict[str, list[Any]]]) -> list[int]:
    rows = [row for one in found for row in offline.history(one)]
    return [row["_step"] for row in rows if "model/loss" in row]


def test_three_resumes_are_one_run_and_the_replay_has_each_step_once(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}

    def start() -> subprocess.Popen[bytes]:
        """The cell in one process, its launcher being the test."""
        words = [word for word in TINY if word != "logger=csv"] + MIRRORED
        return subprocess.Popen(
            [sys.executable, "-m", "cmr_bench.run", *words],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    def cell() -> Cell:
        until(lambda: Store(tmp_path / "runs").cells(), "a cell")
        (one,) = Store(tmp_path / "runs").cells()
        return one

    for at, how in ((80, signal.SIGTERM), (160, signal.SIGUSR1), (240, signal.SIGKILL)):
        process = start()
        until(lambda at=at: cell().last_step() >= at, f"step {at}")
        if how is signal.SIGKILL:
            time.sleep(1)
        process.send_signal(how)
        code = process.wait(120)
        assert code == (-how if how is signal.SIGKILL else EXIT_CODE)
    assert start().wait(400) == 0

    key = cell().about["key"]
    parts = segments(cell().folder, key)
    assert len(parts) >= 3 and len(list(cell().folder.glob("wandb/offline-run-*"))) == 4
    assert {part["run"][0].run_id for part in parts} == {key}
    assert {part["run"][0].run_group for part in parts} == {"phantom"}
    last = parts[-1]
    assert offline.config(last)["fit"]["steps"] == STEPS
    assert offline.summary(last)["fidelity/kid"] == next(
        row["value"] for row in cell().scores() if row["name"] == "fidelity/kid"
    )
    assert list(cell().folder.glob("wandb/offline-run-*/files/media/images/**/*.png"))
    assert curve(parts)[-1] == max(curve(parts)) > 240

    sync = [sys.executable, "-m", "cmr_bench.sync", "logger.mode=offline"]
    for _ in range(2):
        subprocess.run(sync, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    told = segments(tmp_path / "runs", key)
    assert len(told) == 1 and told[0]["run"][0].run_id == key
    want = sorted({row["step"] for row in cell().logged() if row["name"] == "model/loss"})
    assert curve(told) == want and len(want) == STEPS // 10
