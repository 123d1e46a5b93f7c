"""The wheel carries the package, its configuration and the licence, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_module_and_every_yaml(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "cmr_bench").rglob("*.py")}
    yamls = {f"cmr_bench/{p.relative_to(ROOT)}" for p in (ROOT / "conf").rglob("*.yaml")}
    yamls |= {f"cmr_bench/conf/{p.relative_to(ROOT)}" for p in (ROOT / "sweeps").iterdir()}
    assert len(modules) > 20 and len(yamls) > 20
    assert modules <= held and yamls <= held
    rest = {name for name in held - modules - yamls if ".dist-info/" not in name}
    assert not {
        name for name in rest if not name.endswith((".j2", ".html", ".css", ".js", ".typed"))
    }
    assert any(name.endswith("/licenses/LICENSE") for name in held)


def test_the_configuration_is_found_inside_the_wheel(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from cmr_bench.config import conf_path; print(conf_path())"
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(tmp_path / "cmr_bench" / "conf")
