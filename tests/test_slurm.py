"""The launcher on SLURM, without a cluster: what it makes of what the commands answer."""

from __future__ import annotations

import os
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from cmr_bench.config import conf_path
from cmr_bench.interruption import BUSY
from cmr_bench.launchers import slurm
from cmr_bench.store import Store


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands; a script that sbatch takes stands in the queue, whatever sbatch says afterwards."""
    commands = {
        "sbatch": 'echo "${@: -1}" >>queue; exec bash -c "$(cat sbatch.says 2>/dev/null || echo echo 7)"',
        "squeue": "nl -v7 -w1 -s'_0 ' queue 2>/dev/null; echo '9 (null)'; echo 3_0 /another/array.sbatch",
    }
    (bin := tmp_path / "bin").mkdir()
    for name, code in commands.items():
        (bin / name).write_text(f"#!/bin/bash\ncd {tmp_path}\n{code}\n")
        (bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm.time, "sleep", lambda _: None)
    return tmp_path


def launcher() -> slurm.Slurm:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        words = ["hydra/launcher=slurm", "hydra.launcher.wait=false"]
        node = hydra.compose("run", words, return_hydra_config=True).hydra.launcher
    options = OmegaConf.to_container(node)
    assert isinstance(options, dict) and options.pop("_target_")
    return slurm.Slurm(**options)


def test_what_was_submitted_is_known_though_nobody_heard_of_it(
    cluster: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first, second = (Store(cluster / "runs").job("fm", key) for key in ("first", "second"))
    (cluster / "sbatch.says").write_text("echo 'sbatch: error: Socket timed out' >&2; exit 1")
    with pytest.raises(ValueError, match=r"^sbatch: sbatch: error: Socket timed out$"):
        launcher().start([first])
    (cluster / "sbatch.says").unlink()
    launcher().start([first, second])
    assert "fm-first: queued as 7_0" in caplog.text and "fm-second: submitted as" in caplog.text
    scripts = (cluster / "queue").read_text().splitlines()
    assert len(scripts) == 2, "the refused one is not asked for again"
    assert slurm.queued(first.folder.parent) == {first: "7_0", second: "8_0"}


@pytest.mark.parametrize(
    ("says", "asked"),
    [("Socket timed out on send/recv", 3), ("Unable to contact", 3), ("Invalid job id", 1)],
)
def test_slurm_is_asked_again_unless_it_knows_no_better(
    cluster: Path, says: str, asked: int
) -> None:
    (cluster / "bin" / "scontrol").write_text(
        f"#!/bin/bash\ncd {cluster}\necho >>asked\n[ $(wc -l <asked) = 3 ] && exec echo there\n"
        f"echo 'error: {says}' >&2; exit 1\n"
    )
    (cluster / "bin" / "scontrol").chmod(0o755)
    if asked == 3:
        assert slurm.ask("scontrol", "show", "job", "1") == "there\n"
    else:
        with pytest.raises(ValueError, match=f"^scontrol: error: {says}$"):
            slurm.ask("scontrol", "show", "job", "1")
    assert len((cluster / "asked").read_text().splitlines()) == asked


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("JobState=FAILED Reason=x\n ExitCode=137:0 ", "killed by SIGKILL: out of memory?"),
        ("JobState=OUT_OF_MEMORY Reason=x\n ExitCode=1:0 ", "ended with code 1: the last word"),
        ("JobState=FAILED Reason=x\n ExitCode=74:0 ", "No space left on device: free some space"),
        ("JobState=CANCELLED Reason=x\n ExitCode=0:15 ", ""),
        (f"JobState=FAILED Reason=x\n ExitCode={BUSY}:0 ", ""),
    ],
)
def test_slurm_is_asked_how_a_job_ended_that_said_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, words: str
) -> None:
    monkeypatch.setattr(slurm, "ask", lambda *_: answer)
    (log := tmp_path / "log.txt").write_text("a word\nthe last word\n")
    found = slurm.end_of("7_0", log)
    assert words in found and bool(words) == bool(found)
