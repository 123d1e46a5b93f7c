from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import offline
import pandas as pd
import pytest
import torch

from cmr_bench.store import Cell, Store, append_jsonl
from cmr_bench.tracking.curve import Curve
from cmr_bench.tracking.mirror import effective_mode
from cmr_bench.tracking.strips import read_strips
from cmr_bench.tracking.tracker import Tracker
from cmr_bench.types import Pool, Score

ABOUT = {
    "key": "0123456789ab",
    "model": "fm",
    "data": "phantom",
    "protocol": "strict",
    "seed": 3,
    "sweep": "families",
    "tags": ["demo"],
}


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    cell = Store(tmp_path).cell("fm", "0123456789ab")
    cell.write("cell.json", ABOUT)
    return cell


def test_an_offline_run_is_written_whole_and_names_the_cell(cell: Cell) -> None:
    tracker = Tracker(cell, config={"model": {"steps": 20}, "seed": 3}, mode="offline")
    tracker.log_metrics({"train/loss": 0.5, "epoch": 0}, step=10)
    tracker.log_metrics({"train/loss": torch.tensor(0.25)}, step=20)
    masks = np.zeros((2, 1, 16, 16), dtype=int)
    masks[0, :, 4:8, 4:8], masks[1, :, 6:9, 2:8] = 1, 3
    images = torch.linspace(-1, 1, 512).reshape(2, 1, 16, 16)
    tracker.log_image("samples", images, 20, masks)
    table = pd.DataFrame({"subject": ["a", "b"]})
    tracker.log_grid("grid", Pool("matched", images, torch.tensor(masks), table, 2.0))
    tracker.log_metrics({"segmenter/loss": 1.0}, step=5)  # another stage
    kid = Score("fidelity/kid", 0.125, 0.0625, 0.25, n=12, better="lower")
    skipped = Score("privacy/mia_auc", float("nan"), reason="no losses")
    tracker.summarise([kid, skipped], nfe=50)
    tracker.finalize("success")
    tracker.finish(0)

    (path,) = cell.folder.glob("wandb/offline-run-*/run-0123456789ab.wandb")
    found = offline.read(path)
    run = found["run"][0]
    assert (run.run_id, run.run_group, run.job_type) == ("0123456789ab", "families", "cell")
    assert run.display_name == "fm-phantom-s3" and run.project == "cmr_bench"
    assert set(run.tags) == {"fm", "phantom", "strict", "demo"}
    config = offline.config(found)
    assert config["model"] == {"steps": 20} and config["seed"] == 3

    history = offline.history(found)
    assert [row["_step"] for row in history] == [10, 20]
    assert [row["train/loss"] for row in history] == [0.5, 0.25]
    assert history[1]["segmenter/loss"] == 1.0, history
    assert history[1]["samples.count"] == 2
    assert "structures" in history[1]["samples.all_masks"][0]
    assert history[1]["grid/matched.count"] == 2
    assert len(list(path.parent.glob("files/media/images/samples*.png"))) == 2
    assert len(list(path.parent.glob("files/media/images/mask/samples*.png"))) == 2

    summary = offline.summary(found)
    assert summary["fidelity/kid"] == 0.125 and summary["fidelity/kid_high"] == 0.25
    assert summary["fidelity/kid_n"] == 12 and summary["nfe"] == 50
    assert not any(key.startswith("privacy") for key in summary)
    assert found["exit"][-1].exit_code == 0

    rows = [(row["step"], row["name"], row["value"]) for row in cell.logged()]
    assert (20, "train/loss", 0.25) in rows and (5, "segmenter/loss", 1.0) in rows
    (strip,) = [s for s in read_strips(cell.folder / "images") if s.key == "samples"]
    assert strip.step == 20 and (strip.masks == masks[:, 0]).all()
    assert strip.images[0].min() == 0 and strip.images[1].max() == 255


def test_lightning_writes_the_log_with_the_optimiser_step(cell: Cell) -> None:
    from lightning.pytorch import LightningModule, Trainer

    class Line(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any) -> Any:
            loss = self.layer(batch).square().mean()
            self.log("train/loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    tracker = Tracker(cell, mode="disabled")
    trainer = Trainer(
        max_steps=6,
        log_every_n_steps=2,
        logger=tracker,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Line(), torch.ones(8, 1, 1))
    rows = [row for row in cell.logged() if row["name"] == "train/loss"]
    assert [row["step"] for row in rows] == [1, 3, 5]
    assert rows[0]["value"] > rows[-1]["value"]
    assert not (cell.folder / "wandb").exists()


def test_a_disabled_mirror_does_not_even_import_wandb(tmp_path: Path) -> None:
    code = """
    import sys
    from pathlib import Path
    from cmr_bench.tracking.mirror import Mirror
    mirror = Mirror(Path(sys.argv[1]), mode="disabled", arguments={})
    mirror.log({"x": 1.0}, step=1)
    mirror.finish(1)
    print("wandb" in sys.modules)
    """
    done = subprocess.run(script(code, tmp_path), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False" and not list(tmp_path.glob("*"))


def script(code: str, *args: object) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]


# Each breaks W&B in another place; what it then does as the process ends counts too.
FAULTS = {
    "unwritable folder": "(folder / 'wandb').symlink_to('/proc/none')",
    "raises at the start": "wandb.init = lambda **kw: (_ for _ in ()).throw(RuntimeError('boom'))",
    "service killed": "kill = True",
    "service missing": "service_process.get_core_path = lambda: '/nowhere'",
    "hangs": "wandb.init = lambda **kw: time.sleep(600)",
    "not installed": "sys.modules['wandb'] = None",
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_in_wandb_is_one_warning(tmp_path: Path, fault: str) -> None:
    code = f"""
    import logging, os, signal, sys, time
    from pathlib import Path
    import wandb
    from wandb.sdk.lib.service import service_process
    from cmr_bench.tracking.mirror import Mirror
    logging.basicConfig(format="LOGGED %(levelname)s %(message)s")
    folder, kill = Path(sys.argv[1]), False
    {FAULTS[fault]}
    mirror = Mirror(folder, mode="offline", arguments={{"id": "abc"}}, patience=3)
    mirror.log({{"x": 0.0}}, step=0)
    if kill:
        time.sleep(2)
        children = Path(f"/proc/{{os.getpid()}}/task/{{os.getpid()}}/children").read_text().split()
        children += [
            child
            for task in Path("/proc/self/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
        assert children
        for child in set(children):
            os.kill(int(child), signal.SIGKILL)
        time.sleep(0.5)
    for step in range(1, 5):
        mirror.log({{"x": float(step)}}, step=step)
    mirror.summarise({{"nfe": 1}})
    mirror.finish(0)
    print("trained")
    """
    done = subprocess.run(script(code, tmp_path), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stdout.strip() == "trained", done.stderr
    warnings = [text for text in done.stderr.splitlines() if text.startswith("LOGGED")]
    assert len(warnings) == 1 and "W&B is off" in warnings[0], done.stderr


def test_a_run_says_nothing_on_the_console(tmp_path: Path) -> None:
    code = """
    import sys
    from pathlib import Path
    from cmr_bench.tracking.mirror import Mirror
    mirror = Mirror(Path(sys.argv[1]), mode="auto", arguments={"id": "abc"})
    mirror.log({"x": 1.0}, step=1)
    mirror.finish(0)
    """
    done = subprocess.run(script(code, tmp_path), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert len(list(tmp_path.glob("wandb/offline-run-*-abc/*.wandb"))) == 1


def test_the_mode_follows_the_account_and_never_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert effective_mode("auto") == "offline"
    with caplog.at_level(logging.WARNING):
        assert effective_mode("online") == "offline"
    assert "wandb login" in caplog.text
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert effective_mode("auto") == "disabled"
    monkeypatch.delenv("WANDB_MODE")
    netrc = tmp_path / "home" / ".netrc"
    netrc.parent.mkdir()
    netrc.write_text("machine api.wandb.ai\n login user\n password not-a-key\n")
    netrc.chmod(0o600)
    assert effective_mode("auto") == effective_mode("online") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert effective_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "not-a-key")
    assert effective_mode("auto") == "online" and effective_mode("offline") == "offline"
    with pytest.raises(ValueError, match=r"logger\.mode=on: choose one of"):
        effective_mode("on")


def test_a_curve_that_two_cells_drew_is_whole_in_both(tmp_path: Path) -> None:
    """One is killed after it logged step 3, the other goes on from the checkpoint at step 2."""
    first, second, whole = (Cell(tmp_path / name) for name in ("first", "second", "whole"))
    for cell, steps in ((first, (1, 2, 3)), (second, (3, 4)), (whole, (1, 2, 3, 4))):
        folder = tmp_path / ("alone" if cell is whole else "model")
        for step in steps:
            cell.log(step, {"loss": 1 / step})
            Curve(folder).log_metrics({"loss": 1 / step, "epoch": 0}, step)
    for cell in (first, second, whole):
        curve = Curve(tmp_path / ("alone" if cell is whole else "model"))
        append_jsonl(cell.folder / "log.jsonl", curve.missing(cell))
        assert curve.missing(cell) == []
        found = sorted((row["step"], row["name"], row["value"]) for row in cell.logged())
        assert found == [(step, "loss", 1 / step) for step in (1, 2, 3, 4)]
