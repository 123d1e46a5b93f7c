"""What a user meets first: help and configuration come at once, from any folder, without the heavy packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cmr_bench.__main__ import VERBS
from cmr_bench.config import conf_path

HEAVY = [
    "torch",
    "lightning",
    "monai",
    "torchio",
    "torchmetrics",
    "torchvision",
    "matplotlib",
    "pandas",
    "wandb",
]
RUN = """
import runpy, sys
sys.argv = ["cmr_bench.run", *{arguments!r}]
try:
    runpy.run_module("cmr_bench.run", run_name="__main__")
finally:
    loaded = [name for name in {heavy!r} if name in sys.modules]
    print("HEAVY", loaded, file=sys.stderr)
"""


def test_every_verb_has_a_help_of_its_own():
    for name in VERBS:
        tree = yaml.safe_load(Path(conf_path(), f"{name}.yaml").read_text())
        words = tree["hydra"]["help"]["template"].lower()
        assert f"python -m cmr_bench.{name}" in words and "hydra" not in words


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job"], ["--cfg", "job", "model=fm", "model/space=latent"]]
)
def test_run_answers_without_heavy_imports_from_any_folder(arguments, tmp_path):
    code = RUN.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stderr
    assert "model" in done.stdout
    assert not list(tmp_path.iterdir()), "asking leaves nothing behind"


def test_a_path_in_the_home_folder_is_understood_behind_a_key(tmp_path):
    line = [sys.executable, "-m", "cmr_bench.run", "--cfg", "job", "store.root=~/runs"]
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(line, cwd=tmp_path, env=home, capture_output=True, text=True, check=True)
    assert f"root: {tmp_path}/runs" in done.stdout
