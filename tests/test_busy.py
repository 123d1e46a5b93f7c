"""A cell that another process works on: each verb says so in one line, and it is no failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

CODE = """
import os, sys
import cmr_bench.cells
from cmr_bench import evaluate, run
from cmr_bench.store import Store
from cmr_bench.store.locks import locked

def run_cell(*_):
    cell = Store("runs").cell("fm", "key")
    with locked(cell.folder / ".lock", "cell fm-key"), cell.attempt():
        pass

cmr_bench.cells.run_cell = run_cell
for verb, words in ((run, ["model=fm"]), (run, ["-m", "model=fm", "hydra/launcher=basic"]), (evaluate, ["synthetic=."])):
    sys.argv = [verb.__name__, *words]
    try:
        verb.main()
    except SystemExit as end:
        print(verb.__name__, "ends with", end.code, file=sys.stderr)
    run.FAILED.clear()
    del os.environ["HYDRA_FULL_ERROR"]
"""


def test_each_verb_says_so_in_one_line(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    ends = [line for line in done.stderr.splitlines() if "ends with" in line]
    assert len(ends) == 3
    for line in ends[:2]:
        assert "cmr_bench: 1 of the cells not done: cell fm-key: process" in line
    assert ends[2] == "cmr_bench.evaluate ends with 2"
    assert done.stderr.count("\ncmr_bench: cell fm-key: process") == 1
    assert not (tmp_path / "runs/cells/fm-key/failed.json").exists(), "no failure of the cell"
