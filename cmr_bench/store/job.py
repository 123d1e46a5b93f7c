"""A job: one resolved configuration to be brought to its end, by whichever process and however often it is started."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cmr_bench.store.cell import Cell, Status
from cmr_bench.store.files import atomic, read_json, write_json


@dataclass(frozen=True)
class Job:
    """`<root>/jobs/<model>-<key>/`: configuration, log, and which cell it is once that is known."""

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def write(self, config: Mapping[str, Any], choices: Mapping[str, str], name: str) -> None:
        """Keep what is needed to start it; `name` is what a person calls it."""
        with atomic(self.folder / "config.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        about = {key: config.get(key) for key in ("seed", "sweep")}
        write_json(self.folder / "job.json", {"choices": dict(choices), "name": name, **about})
        for old in ("failed.json", "stopped.json"):
            (self.folder / old).unlink(missing_ok=True)

    @property
    def config(self) -> dict[str, Any]:
        """As `write` was given it.

        Raises:
            ValueError: if there is none.
        """
        try:
            return dict(yaml.safe_load((self.folder / "config.yaml").read_text()))
        except OSError as error:
            raise ValueError(f"{self.folder} is not a job: {error.strerror}") from error

    @property
    def choices(self) -> dict[str, str]:
        return dict(read_json(self.folder / "job.json").get("choices", {}))

    @property
    def about(self) -> dict[str, Any]:
        """What is known of its cell beforehand: choices, seed, sweep."""
        written = read_json(self.folder / "job.json")
        return self.choices | {key: written.get(key) for key in ("seed", "sweep")}

    @property
    def name(self) -> str:
        return str(read_json(self.folder / "job.json").get("name", self.folder.name))

    def belongs_to(self, cell: Cell) -> None:
        if self.cell != cell:
            write_json(self.folder / "cell.json", {"cell": cell.folder.name})

    @property
    def cell(self) -> Cell | None:
        name = read_json(self.folder / "cell.json").get("cell")
        return Cell(self.folder.parents[1] / "cells" / str(name)) if name else None

    @property
    def status(self) -> Status:
        """That of its cell; before the cell is known, whether it was started and failed."""
        if self.cell is not None:
            return self.cell.status
        if failed := read_json(self.folder / "failed.json"):
            return Status("failed", str(failed.get("error", "")))
        return Status("new")

    def fail(self, error: BaseException) -> None:
        """Record how an attempt at it ended, with the path of its log."""
        if self.cell is not None:
            self.cell.fail(error, self.log)
        else:
            record = {"error": f"{type(error).__name__}: {error}", "log": str(self.log)}
            with suppress(OSError):  # the disk may be what failed
                write_json(self.folder / "failed.json", record)

    def stopped(self, pieces: int) -> int:
        """Count a start that was stopped after `pieces` of work; returns how many in a row did none."""
        path = self.folder / "stopped.json"
        fruitless = 0 if pieces else int(read_json(path).get("fruitless", 0)) + 1
        write_json(path, {"fruitless": fruitless})
        return fruitless
