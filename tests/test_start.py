"""What a user meets first: help and configuration come at once, from any folder, without the heavy packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
