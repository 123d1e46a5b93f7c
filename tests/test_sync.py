"""`python -m cmr_bench.sync`: a whole sweep from its local logs into offline files, which are read back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import offline
import pandas as pd
import pytest
import torch
import yaml

from cmr_bench import sync
from cmr_bench.config import conf_path
from cmr_bench.store import Cell, Store
from cmr_bench.tracking.record import Sent
from cmr_bench.tracking.strips import read_strips
from cmr_bench.tracking.tracker import Tracker
from cmr_bench.types import Pool, Score

KEYS = {"ddpm": "aaaaaaaaaaaa", "fm": "bbbbbbbbbbbb"}


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_API_KEY", "NETRC", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)


def told(root: Path, *overrides: str) -> None:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        config = hydra.compose("sync", [f"store.root={root}", "logger.mode=offline", *overrides])
    sync.task(config)


def begun(root: Path, model: str, sweep: str = "families") -> Cell:
    """A cell as it stands after a kill at step 4: no marker, a torn log, a torn file of W&B."""
    cell = Store(root).cell(model, KEYS[model])
    about = {"key": KEYS[model], "model": model, "data": "phantom", "protocol": "strict"}
    cell.write("cell.json", about | {"seed": 0, "sweep": sweep, "tags": ["demo"]})
    (cell.folder / "config.yaml").write_text(yaml.safe_dump({"model": {"steps": 20}, "seed": 0}))
    for step in range(1, 5):
        cell.log(step, {"train/loss": 1 / step})
    with (cell.folder / "log.jsonl").open("a") as stream:
        stream.write('{"step": 5, "na')
    torn = cell.folder / "wandb" / "offline-run-1" / f"run-{KEYS[model]}.wandb"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b":W&B\xe1\xbe\x00")
    return cell


def ended(cell: Cell) -> None:
    """The same cell resumed at step 2: some steps are logged again, then it is done."""
    tracker = Tracker(cell, mode="disabled")
    for step in range(3, 9):
        tracker.log_metrics({"train/loss": 1 / step}, step)
    masks = torch.arange(4).repeat(2, 1, 16, 4)
    images = torch.linspace(-1, 1, 512).reshape(2, 1, 16, 16)
    table = pd.DataFrame({"subject": ["a", "b"]})
    pools = [Pool(name, images, masks, table, 2.0) for name in ("test", "matched")]
    tracker.log_grid("real and synthetic", *pools)
    scores = [
        Score("fidelity/adherence", 0.5, 0.4, 0.6, n=9, reference=1.0),
        Score("utility/dice_ratio", 0.75, 0.7, 0.8, n=9),
        Score("privacy/mia_auc", float("nan"), reason="no losses"),
    ]
    cell.add_scores(scores, metric="adherence")
    cell.write("environment.json", {"seconds": {"fit": 12.5}})
    tracker.finish(0)
    cell.finish()


def segments(root: Path, key: str) -> list[dict[str, list[Any]]]:
    paths = sorted(root.glob(f"wandb/offline-run-*-{key}/*.wandb"), key=lambda p: p.stat().st_mtime)
    return [offline.read(path) for path in paths]


def test_a_killed_and_resumed_sweep_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell, other = begun(tmp_path, "fm"), begun(tmp_path, "ddpm")
    told(tmp_path)
    (first,) = segments(tmp_path, KEYS["fm"])
    assert [row["_step"] for row in offline.history(first)][:3] == [1, 2, 3]  # the last one waits
    assert Sent(cell).read("offline")["step"] == 3
    ended(cell)
    time.sleep(1.1)  # W&B names its folders by the second
    told(tmp_path)
    told(tmp_path)
    assert "nothing new" in capsys.readouterr().out.splitlines()[-3]

    parts = segments(tmp_path, KEYS["fm"])
    assert len(parts) == 2 and len(segments(tmp_path, KEYS["ddpm"])) == 1
    runs = [part["run"][0] for part in parts]
    assert {run.run_id for run in runs} == {KEYS["fm"]}
    assert {(run.run_group, run.job_type) for run in runs} == {("families", "cell")}
    assert set(runs[1].tags) == {"fm", "phantom", "strict", "demo"}
    assert offline.config(parts[1])["model"] == {"steps": 20}

    curve = [row for part in parts for row in offline.history(part) if "train/loss" in row]
    assert [row["_step"] for row in curve] == list(range(1, 9))
    assert [row["train/loss"] for row in curve] == [1 / step for step in range(1, 9)]

    rows = {k: v for row in offline.history(parts[1]) for k, v in row.items()}
    assert rows["real and synthetic/matched.count"] == 2
    assert "structures" in rows["real and synthetic/matched.all_masks"][0]
    assert rows["real and synthetic._type"] == "table-file"
    folder = next(tmp_path.glob(f"wandb/offline-run-*-{KEYS['fm']}/files/media"), None)
    tables = list(tmp_path.glob("wandb/**/media/table/real and synthetic*.json"))
    assert folder and [json.loads(t.read_text())["columns"] for t in tables] == [
        ["mask", "real", "synthetic"]
    ]

    summary = offline.summary(parts[1])
    assert summary["fidelity/adherence"] == 0.5 and summary["fidelity/adherence_reference"] == 1
    assert summary["triangle/utility"] == 0.75 and summary["cell/seconds/fit"] == 12.5
    assert not any(key.startswith("privacy") for key in summary)
    assert [part["exit"][-1].exit_code for part in parts] == [1, 0]
    assert other.status.state == "stopped"


def test_the_comparison_of_a_sweep_is_one_run_with_table_triangle_and_bars(tmp_path: Path) -> None:
    ended(begun(tmp_path, "fm"))
    ended(begun(tmp_path, "ddpm", sweep="another"))
    told(tmp_path, "sweep=families")
    assert not segments(tmp_path, KEYS["ddpm"])
    (path,) = [
        path for path in tmp_path.glob("wandb/offline-run-*/*.wandb") if KEYS["fm"] not in path.name
    ]
    found = offline.read(path)
    assert found["run"][0].job_type == "comparison" and found["run"][0].run_group == "families"
    media = path.parent / "files" / "media"
    (table,) = media.glob("table/comparison*.json")
    content = json.loads(table.read_text())
    group, name, value = (content["columns"].index(k) for k in ("group", "name", "value"))
    assert ["fm", "utility/dice_ratio", 0.75] in [
        [row[group], row[name], row[value]] for row in content["data"]
    ]
    assert len(list(media.glob("images/triangle of models*.png"))) == 1
    assert list(media.glob("table/utility/dice_ratio*.json"))


def test_images_of_the_log_come_back_as_they_were_written(tmp_path: Path) -> None:
    cell = begun(tmp_path, "fm")
    ended(cell)
    strips = {strip.key: strip for strip in read_strips(cell.folder / "images")}
    assert set(strips) == {"real and synthetic/test", "real and synthetic/matched"}
    strip = strips["real and synthetic/test"]
    assert strip.images.shape == (2, 16, 16) and strip.masks is not None
    np.testing.assert_array_equal(strip.masks, np.tile(np.arange(4), (2, 16, 4)))
    (cell.folder / "images" / "real and synthetic" / "test" / "0000008.png").write_bytes(b"\x89PNG")
    assert len(list(read_strips(cell.folder / "images"))) == 1


def test_one_cell_that_wandb_refuses_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    begun(tmp_path, "ddpm")
    ended(begun(tmp_path, "fm"))
    init = wandb.init

    def refuse(**words: Any) -> Any:
        if words["id"] == KEYS["ddpm"]:
            raise RuntimeError("not today")
        return init(**words)

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(SystemExit, match=r"1 cells were not told: ddpm-a{12}"):
        told(tmp_path)
    assert "not today" in capsys.readouterr().out and len(segments(tmp_path, KEYS["fm"])) == 1


def test_an_empty_store_and_a_mode_that_tells_nobody_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no cells of sweep=steps"):
        told(tmp_path, "sweep=steps")
    with pytest.raises(ValueError, match=r"logger\.mode=disabled"):
        told(tmp_path, "logger.mode=disabled")
    with pytest.raises(ValueError, match=r"wandb login"):
        told(tmp_path, "workspace=true")


def test_the_dashboard_is_specified_without_an_account() -> None:
    pytest.importorskip("wandb_workspaces", reason="extra dashboards is not installed")
    from cmr_bench.reporting.tables import HEADLINES
    from cmr_bench.tracking.workspace import specification, workspace

    text = json.dumps(specification(workspace("group", "cmr_bench", HEADLINES)))
    for axis in ("fidelity", "utility", "privacy"):
        assert f"triangle/{axis}" in text
    assert all(name in text and f"train/{name}" in text for name in HEADLINES)
    assert "real and synthetic/matched" in text and "Parallel Coordinates" in text
