"""Cells that end badly: the others finish, the table says who ended how, and the same line repairs them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_support import ON_SLURM, Cluster, typed

from cmr_bench.store import Store

FATED = '''
"""The mean training image whatever the mask, unless something is fated to happen on the way."""
import os
import resource
import signal
import tempfile
from pathlib import Path

import torch


class Fated:
    def __init__(self, *, pools, fate, place):
        self.image = pools["train"].images.mean(0, keepdim=True)
        self.place = Path(place)
        self.fate = "fine" if (self.place / "mended").exists() else fate

    def sample(self, masks, *, seeds, steps=None):
        getattr(self, self.fate)()
        return self.image.expand(len(masks), -1, -1, -1).clone()

    def fine(self):
        pass

    def raises(self):
        raise RuntimeError("out of paint")

    def memory(self):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        torch.ones(1 << 30)

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def disk(self):
        self.ballast = tempfile.TemporaryFile(dir=self.place / "runs", buffering=0)  # gone with this process
        size = 1 << 20
        while size:
            try:
                self.ballast.write(bytes(size))
            except OSError:
                size //= 2
'''
FATES = ("raises", "memory", "killed", "disk", "fine")
ENDS = {
    "raises": "out of paint",
    "memory": "memory",
    "killed": "SIGKILL",
    "disk": "No space left on device",
}
GRID = ["model=fated", f"model.fate={','.join(FATES)}", "--config-dir", "conf"]
ONE_BY_ONE = [*ON_SLURM, "hydra.launcher.wait=true", "hydra.launcher.poll_seconds=1", "hydra.launcher.parallel=1"]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder whose store lies on a small disk of its own, with a model of the user's."""
    (tmp_path / "fated.py").write_text(FATED)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "fated.yaml").write_text(
        f"_target_: fated.Fated\nfate: fine\nplace: {tmp_path}\n"
    )
    (runs := tmp_path / "runs").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", runs], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", runs], check=True)


@pytest.mark.parametrize(
    "launcher", [["hydra.launcher.jobs=1"], ONE_BY_ONE], ids=["local", "slurm"]
)
def test_the_rest_finish_the_table_names_them_and_the_same_line_repairs(
    cluster: Cluster, place: Path, launcher: list[str]
) -> None:
    first = typed(place, *launcher, *GRID, PYTHONPATH=str(place))
    assert first.returncode == 1 and "4 of the cells not done" in first.stderr, first.stderr
    assert "1 of 5 cells done" in first.stdout
    lines = [line for line in first.stdout.splitlines() if line.startswith("fated fate=")]
    ends = {line.split()[1].partition("=")[2]: line for line in lines}
    for fate, words in ENDS.items():
        assert " failed " in ends[fate] and words in ends[fate] and ".txt)" in ends[fate], ends

    (place / "mended").touch()
    second = typed(place, *launcher, *GRID, PYTHONPATH=str(place))
    assert second.returncode == 0, second.stdout + second.stderr
    assert "5 of 5 cells done" in second.stdout
    kept = [cell.status.state for cell in Store(place / "runs").cells()]
    assert kept == ["done"] * 5
