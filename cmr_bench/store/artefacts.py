"""Artefacts: pieces of work stored under a hash of what determines them, built once and shared."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cmr_bench.store.cell import Cell, cell_folder
from cmr_bench.store.files import key_of, read_json, sweep_strays, sync, write_json
from cmr_bench.store.job import Job
from cmr_bench.store.locks import locked

DONE = "done.json"


class Store:
    """All that was ever made: `<root>/<kind>/<key>/` and `<root>/cells/<model>-<key>/`."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).expanduser().absolute()

    def artefact(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def build(self, kind: str, inputs: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """The folder of what `inputs` determine; made by `make(folder)` unless it is done.

        `done.json`, written last, is the only sign of success. A folder without it is handed to
        `make` again, which may resume what lies there. Processes that ask at the same time wait
        for one builder, and go on in its place if it dies. `seconds` in `done.json` counts all
        attempts but those that were killed.
        """
        key = key_of(inputs)
        folder = self.artefact(kind, key)
        if (folder / DONE).exists():
            return folder
        with locked(folder.with_name(f"{key}.lock"), f"{kind} {key}"):
            if not (folder / DONE).exists():
                folder.mkdir(parents=True, exist_ok=True)
                sweep_strays(folder)
                spent, start = folder.with_name(f"{key}.spent"), time.time()
                before = float(read_json(spent).get("seconds", 0.0))
                try:
                    make(folder)
                except BaseException:
                    with suppress(OSError):  # the disk may be what failed
                        write_json(spent, {"seconds": before + time.time() - start})
                    raise
                sync_tree(folder)
                write_json(folder / "inputs.json", inputs)
                record = {
                    "seconds": before + time.time() - start,
                    "host": platform.node(),
                    "time": time.time(),
                }
                write_json(folder / DONE, record)
                spent.unlink(missing_ok=True)
        return folder

    def cell(self, model: str, key: str) -> Cell:
        return Cell(cell_folder(self.root, model, key))

    def job(self, model: str, key: str) -> Job:
        return Job(self.root / "jobs" / f"{model.replace('/', '-')}-{key}")

    def waiting(self) -> list[Job]:
        """Jobs whose cell is not known yet: not started, at their data, or failed over them."""
        folders = (path.parent for path in sorted((self.root / "jobs").glob("*/job.json")))
        return [job for job in map(Job, folders) if job.cell is None]

    def cells(self) -> list[Cell]:
        """All cells, in the order of their names; an absent store has none."""
        folder = self.root / "cells"
        return (
            [Cell(path) for path in sorted(folder.iterdir()) if path.is_dir()]
            if folder.is_dir()
            else []
        )


def sync_tree(folder: Path) -> None:
    """Bring all files below the folder to the disk: a marker written next tells the truth."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            sync(path)
