from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from cmr_bench.report import task
from cmr_bench.reporting import report
from cmr_bench.reporting.cells import entries
from cmr_bench.reporting.page import _grids
from cmr_bench.store import Store, append_jsonl, write_json
from cmr_bench.types import Score

PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """Text and every attribute that could make a browser fetch something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        fetching = ("src", "href", "srcset", "data", "action", "poster", "background")
        self.links += [value or "" for name, value in attrs if name in fetching]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_whole_and_fetches_nothing(root: Path, tmp_path: Path) -> None:
    report(root, tmp_path)
    text = (tmp_path / "index.html").read_text()
    page = Page(text)
    assert not page.open
    assert page.links and all(link.startswith("data:image/png;base64,") for link in page.links)
    assert all(base64.b64decode(link.split(",")[1]).startswith(PNG) for link in page.links)
    assert not page.tags & {"script", "link", "iframe", "object", "embed"}
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert "@media print" in style and 'name="viewport"' in text
    words = " ".join(page.words)
    for path in root.glob("cells/*/scores.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            assert row["name"].split("/")[1] in words
            assert row["reason"] in words
    for fact in (
        "3 models (ddpm, fm, ldm) on phantom",
        "2 seeds",
        "1.93",
        "5eed",
        "0.027 to 0.035",
    ):
        assert fact in words


def test_a_torn_picture_is_left_out_and_another_seed_shows_its_own(
    root: Path, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    shutil.copytree(root, store)
    found = entries(store)
    whole, other = (e.cell.folder / "grid.png" for e in found if e.group == "ddpm")
    whole.write_bytes(other.read_bytes()[:5000])
    for entry in found:
        if entry.group == "fm":
            (entry.cell.folder / "grid.png").write_bytes(b"no picture")
    shown = {group: caption for group, _, caption in _grids(found, "grid.png")}
    assert shown == dict.fromkeys(("ddpm", "ldm"), "mask, real, synthetic, with outline")
    report(store, tmp_path)


def test_no_model_leads_where_intervals_overlap(root: Path, tmp_path: Path) -> None:
    report(root, tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert text.count("leads") == 1 and "Fidelity: fm leads" in text
    assert "Privacy: ldm (0.97) is not separated from ddpm, fm." in text
    assert 'title="fidelity/kid: squared distance' in text
    assert "Privacy is set by mia_auc (ddpm, fm, ldm)." in text


def test_the_files_agree_with_each_other(root: Path, tmp_path: Path) -> None:
    report(root, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["table.csv", "scores.csv", "pairs.csv", "table.json", "triangle.png", "index.html"]
    )
    csv = pd.read_csv(tmp_path / "table.csv")
    scores = pd.DataFrame(json.loads((tmp_path / "table.json").read_text())["scores"])
    for column in ("name", "group", "value", "low", "high", "n", "best"):
        pd.testing.assert_series_equal(csv[column], scores[column], check_dtype=False)
    whole = json.loads((tmp_path / "table.json").read_text())
    assert whole["triangle"]["fm"]["privacy"]["value"] == pytest.approx(2 * (1 - 0.6235))
    assert len(whole["cells"]) == 6
    assert (tmp_path / "triangle.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("state", ["absent", "empty", "cell without files"])
def test_a_store_with_nothing_in_it(tmp_path: Path, state: str) -> None:
    root = tmp_path / "runs"
    if state != "absent":
        (root / "cells").mkdir(parents=True)
    if state == "cell without files":
        (root / "cells" / "fm-0123").mkdir()
        assert "0 of 1 cells done" in report(root)
    else:
        assert report(root) == "no cells yet\n"
        assert "holds no cells yet" in (root / "report" / "index.html").read_text()


def test_failed_torn_and_running_cells_stand_in_the_report(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "runs")
    store = Store(tmp_path / "runs")
    failed, torn, wild = (store.cell("fm", key) for key in ("aaaa", "bbbb", "cccc"))
    for seed, cell in enumerate((failed, torn, wild), start=2):
        cell.write("cell.json", {"model": "fm", "data": "phantom", "seed": seed})
    with pytest.raises(RuntimeError), failed.attempt():
        raise RuntimeError("first line\n<b>out of memory</b>")
    torn.add_scores([Score("fidelity/kid", 0.5)], metric="kid")
    append_jsonl(torn.folder / "log.jsonl", [{"step": 7, "name": "train/loss", "value": None}])
    with open(torn.folder / "scores.jsonl", "a") as stream:
        stream.write('{"name": "fidelity/fid", "val')
    for name in ("config.yaml", "cell.json", "environment.json"):
        (wild.folder / name).write_bytes(b"{\xff\x00: [")
    (wild.folder / "scores.jsonl").write_text('[1]\n"x"\n{"no": "name"}\n')
    with wild.attempt():
        text = report(store.root)
    assert "6 of 9 cells done" in text
    assert "fm seed 2: failed" in text and "out of memory" in text and "error.txt" in text
    assert "fm seed 3: stopped at step 7" in text
    assert "running" in text
    page = (store.root / "report" / "index.html").read_text()
    assert "&lt;b&gt;out of memory" in page and "<b>out of memory" not in page


def test_the_verb_prints_the_table_and_the_page(root: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "cmr_bench.report", f"store.root={root}", f"out={tmp_path}/page"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "6 of 6 cells done" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == str(tmp_path / "page" / "index.html")
    assert os.listdir(tmp_path) == ["page"]
    for folder in root.glob("cells/*"):
        assert re.search(rf"^{folder.name} .* seed \d +done$", done.stdout, re.MULTILINE)


def test_the_exit_code_says_whether_every_cell_is_done(root: Path, tmp_path: Path) -> None:
    def ask(store: Path) -> None:
        task(
            OmegaConf.create(
                {"store": {"root": str(store)}, "sweep": None, "out": None, "all_done": True}
            )
        )

    shutil.copytree(root, tmp_path / "runs")
    ask(tmp_path / "runs")
    next((tmp_path / "runs").glob("cells/*/done.json")).unlink()
    with pytest.raises(SystemExit, match="5 of 6 cells are done"):
        ask(tmp_path / "runs")
    with pytest.raises(SystemExit, match="0 of 0 cells are done"):
        ask(tmp_path / "nothing")


def test_what_is_no_cell_yet_is_listed_and_not_done(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root, tmp_path / "runs")
    store = Store(tmp_path / "runs")
    (store.root / "jobs" / "arrays").mkdir(parents=True)
    queued, failed, known = (store.job("fm", key) for key in ("aaaa", "bbbb", "cccc"))
    config = OmegaConf.to_container(OmegaConf.load(next(root.glob("cells/fm-*/config.yaml"))))
    for seed, job in enumerate((queued, failed, known), start=7):
        job.write(config | {"seed": seed}, {"model": "fm", "data": "phantom"}, f"seed={seed}")
    failed.fail(ValueError("data.root=/x: 3 faults"))
    known.belongs_to(store.cells()[0])
    with pytest.raises(SystemExit, match="6 of 8 cells are done"):
        task(
            OmegaConf.create(
                {"store": {"root": str(store.root)}, "sweep": None, "out": None, "all_done": True}
            )
        )
    text = capsys.readouterr().out
    assert "6 of 8 cells done" in text and re.search(r"fm .*seed 7: new", text)
    assert re.search(r"fm .*seed 8: failed ValueError: data.root=/x: 3 faults \(.*/log.txt", text)
    assert "3 faults" in (store.root / "report" / "index.html").read_text()
    assert len(entries(store.root)) == 6, "W&B hears of cells alone"


def test_the_report_of_a_sweep_holds_every_cell_that_it_asked_for(
    root: Path, tmp_path: Path
) -> None:
    shutil.copytree(root, tmp_path / "runs")
    store = Store(tmp_path / "runs")
    for cell in store.cells()[:2]:
        cell.join("latent")
    assert (
        len(entries(store.root, sweep="latent")) == 2
        and len(entries(store.root, sweep="demo")) == 6
    )
    assert "2 of 2 cells done" in report(store.root, sweep="latent")


def test_cells_that_another_version_judged_are_named_and_not_compared(
    root: Path, tmp_path: Path
) -> None:
    shutil.copytree(root, tmp_path / "runs")
    old = next((tmp_path / "runs").glob("cells/*/done.json"))
    write_json(old, {"time": 0.0})
    words = report(tmp_path / "runs", every_cell=True)
    (line,) = [line for line in words.splitlines() if line.startswith(old.parent.name)]
    assert "outdated" in line and "5 of 6 cells done" in words and "type its line again" in words
    scores = pd.read_csv(tmp_path / "runs" / "report" / "scores.csv")
    assert old.parent.name not in set(scores["cell"])


def test_more_models_than_columns_are_shown_by_their_headlines(root: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for k in range(14):
        cell = store.cell("fm", f"{k:012d}")
        cell.write("cell.json", {"model": "fm", "data": "phantom", "seed": 0})
        (cell.folder / "config.yaml").write_text(f"data: {{limit: {k}}}")
        values = {"fidelity/adherence": 0.5 + 0.03 * k, "utility/dice": 0.7}
        words = {"better": "higher", "reference": 0.917, "n": 9}
        cell.add_scores(
            [Score(n, v, v - 0.02, v + 0.02, **words) for n, v in values.items()], metric="a"
        )
        cell.finish()
    text = report(tmp_path)
    assert "fm limit=13" in text and "0.89" in text and "14 of 14 cells done" in text
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<td>real</td><td>0.92</td>" in page and "<small>0.87 to 0.91</small>" in page
    assert re.search("real +0.92 +0.92", text)
    assert "The plots hold the first models; 2 more" in page and "<td>fm limit=13</td>" in page


def test_a_killed_report_leaves_the_old_page_whole(root: Path, tmp_path: Path) -> None:
    report(root, tmp_path)
    old = (tmp_path / "table.json").read_bytes()
    code = f"""
from cmr_bench import reporting
import time
reporting.page = lambda *words: time.sleep(600)
print("ready", flush=True)
reporting.report({str(root)!r}, {str(tmp_path)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(1.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    Page((tmp_path / "index.html").read_text())
    assert (tmp_path / "table.json").read_bytes() == old
