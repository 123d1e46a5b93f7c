"""A small ACDC folder and the arguments that every preparation needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from layouts import write_acdc


@pytest.fixture
def acdc(tmp_path: Path) -> Callable[..., Path]:
    """Writes that many ACDC subjects into a fresh folder and returns it."""

    def write(number: int = 4) -> Path:
        return write_acdc(tmp_path / "acdc", [f"patient{i:03d}" for i in range(1, number + 1)])

    return write


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "tiny",
        "root": tmp_path,
        "folder": tmp_path / "out",
        "spacing_mm": 5.0,
        "size": 16,
        "crop": "centre",
        "normalise": {"per": "volume", "low": 1.0, "high": 99.5},
        "split": {"train": 0.5, "val": 0.25, "test": 0.25, "seed": 0},
    }
