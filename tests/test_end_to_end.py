"""The whole chain on a tiny phantom, as a user starts it: with a model and a metric of the user's own beside ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = [
    "data.size=32", "data.spacing_mm=5", "data.subjects=12", "data.split={train: 0.5, val: 0.25, test: 0.25, seed: 0}",
    "external.size=32", "external.spacing_mm=5", "external.subjects=4",
    "size.widths=[32,32]", "size.attention=[false,true]", "size.inner=32",
    "mask=learned", "fit.steps=4", "mask.fit.steps=2", "autoencoder.fit.steps=2", "segmenter.fit.steps=2",
    "mask.module.steps=2", "callbacks.every_n_steps=2", "callbacks.axes.utility.segmenter_steps=2",
    "synthesis.count=12", "encoder.size=32", "metric=fast", "metric.segmentation.seeds=[0]", "trainer=cpu", "threads=1",
]  # fmt: skip

MODEL = '''
"""The mean image of the training set, whatever the mask."""
import torch

class Mean:
    def __init__(self, *, pools):
        self.image = pools["train"].images.mean(0, keepdim=True)

    def sample(self, masks, *, seeds, steps=None):
        return self.image.expand(len(masks), -1, -1, -1).clone()
'''

BROKEN = '''
"""A model that cannot draw."""

class Broken:
    def __init__(self, *, pools):
        pass

    def sample(self, masks, *, seeds, steps=None):
        raise RuntimeError("out of paint")
'''

METRIC = '''
"""How bright synthetic images are."""
from cmr_bench.metrics.base import Metric
from cmr_bench.types import Score

class Brightness(Metric):
    axis = "fidelity"
    names = ("fidelity/brightness",)
    pools = ("synthetic", "test")
    higher_is_better = True

    def compute(self, evidence):
        synthetic, real = (evidence.pools[name].images.mean().item() for name in ("synthetic", "test"))
        return [Score("fidelity/brightness", synthetic, n=len(evidence.pools["synthetic"]), unit="images", reference=real)]
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: one Python file and one YAML for a model, and the same for a metric."""
    place = tmp_path_factory.mktemp("user")
    (place / "my_model.py").write_text(MODEL)
    (place / "my_broken.py").write_text(BROKEN)
    (place / "my_metric.py").write_text(METRIC)
    for name, target in (
        ("model/mean", "my_model.Mean"),
        ("model/broken", "my_broken.Broken"),
        ("metric/fidelity/brightness", "my_metric.Brightness"),
    ):
        path = place / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"_target_: {target}\n")
    return place


def command(place: Path, *more: str) -> list[str]:
    flags, overrides = (
        [w for w in more if w.startswith("-")],
        [w for w in more if not w.startswith("-")],
    )
    return [
        sys.executable,
        "-m",
        "cmr_bench.run",
        *flags,
        "--config-dir",
        str(place / "conf"),
        *TINY,
        *overrides,
    ]


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(place), "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}


def run(place: Path, *more: str) -> subprocess.CompletedProcess:
    line = command(place, *more)
    return subprocess.run(
        line, capture_output=True, text=True, cwd=place, env=environment(place), timeout=280
    )


def scores(place: Path, model: str) -> dict[str, dict]:
    (path,) = place.glob(f"runs/cells/{model}-*/scores.jsonl")
    return {row["name"]: row for row in map(json.loads, path.read_text().splitlines())}


@pytest.fixture(scope="module")
def sweep(place: Path) -> subprocess.CompletedProcess:
    return run(place, "-m", "model=ldm,mean", "+metric/fidelity@metric.brightness=brightness")


def test_a_sweep_ends_with_scores_on_three_axes_and_a_page(
    sweep: subprocess.CompletedProcess, place: Path
) -> None:
    assert sweep.returncode == 0, sweep.stderr[-3000:]
    for name in ("FIDELITY", "UTILITY", "PRIVACY", "2 of 2 cells done"):
        assert name in sweep.stdout
    found = scores(place, "ldm")
    for name in (
        "fidelity/kid",
        "fidelity/adherence",
        "utility/dice",
        "utility/external_dice",
        "privacy/mia_auc",
    ):
        assert found[name]["value"] is not None, found[name]
    (cell,) = place.glob("runs/cells/ldm-*")
    about = json.loads((cell / "cell.json").read_text())
    assert about["parameters"] > 0 and about["autoencoder_parameters"] > 0 and about["nfe"] == 20
    record = json.loads((cell / "environment.json").read_text())
    assert record["data_hash"] and record["seconds"]["fit"] > 0
    assert (cell / "grid.png").stat().st_size > 1000 and list(cell.glob("wandb/offline-run-*"))
    logged = {json.loads(line)["name"] for line in (cell / "log.jsonl").read_text().splitlines()}
    assert {
        "model/loss",
        "model/held_out_loss",
        "train/fidelity/kid",
        "train/utility/dice",
        "train/privacy/mia_auc",
    } <= logged
    assert "fidelity/brightness" in (place / "runs/report/index.html").read_text()


def test_a_model_and_a_metric_are_one_file_and_one_yaml(
    sweep: subprocess.CompletedProcess, place: Path
) -> None:
    assert sweep.returncode == 0
    mean = scores(place, "mean")
    assert mean["fidelity/brightness"]["value"] == pytest.approx(
        mean["fidelity/brightness"]["reference"], abs=0.2
    )
    assert mean["privacy/mia_auc"]["value"] is None
    assert "does not tell its losses" in mean["privacy/mia_auc"]["reason"]


def test_the_same_line_again_does_nothing(sweep: subprocess.CompletedProcess, place: Path) -> None:
    assert sweep.returncode == 0
    before = {path: path.stat().st_mtime_ns for path in place.glob("runs/*/*/done.json")}
    again = run(place, "-m", "model=ldm,mean", "+metric/fidelity@metric.brightness=brightness")
    assert again.returncode == 0 and "2 of 2 cells done" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in place.glob("runs/*/*/done.json")} == before


def test_a_dry_run_knows_the_cells_that_are_done(
    sweep: subprocess.CompletedProcess, place: Path
) -> None:
    more = ["-m", "model=ldm,mean,fm", "+metric/fidelity@metric.brightness=brightness"]
    before = set(place.glob("runs/*/*"))
    plan = run(place, *more, "dry_run=true")
    assert plan.returncode == 0 and "2 of 3 cells done" in plan.stdout, plan.stdout + plan.stderr
    made = {path for path in set(place.glob("runs/*/*")) - before if path.parent.name != "hydra"}
    assert not made


def test_a_killed_run_goes_on_and_a_failed_cell_does_not_stop_the_others(place: Path) -> None:
    store = "store.root=killed"
    more = [store, "fit.steps=60", "callbacks.every_n_steps=20"]
    line = [*command(place, "model=fm", *more)]
    with subprocess.Popen(
        line,
        cwd=place,
        env=environment(place),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        logs = []
        for _ in range(600):
            logs = list(place.glob("killed/cells/fm-*/log.jsonl"))
            if logs or process.poll() is not None:
                break
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    assert logs, "training never began"
    assert not list(place.glob("killed/model/*/done.json")), (
        "a killed training must not look finished"
    )
    report = [sys.executable, "-m", "cmr_bench.report", "store.root=killed"]
    shown = subprocess.run(
        report, capture_output=True, text=True, cwd=place, env=environment(place), timeout=120
    )
    assert shown.returncode == 0 and "stopped at step" in shown.stdout
    after = run(place, "-m", "model=broken,fm", *more)
    assert after.returncode != 0 and "1 of the cells not done: model=broken" in after.stderr
    (broken,) = place.glob("killed/cells/broken-*")
    assert "out of paint" in json.loads((broken / "failed.json").read_text())["error"]
    (cell,) = place.glob("killed/cells/fm-*")
    assert (cell / "done.json").exists()
