"""A cell: one model trained once and judged once, with all that it leaves on disk."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cmr_bench.store.files import (
    append_jsonl,
    atomic,
    read_json,
    read_jsonl,
    sweep_strays,
    sync,
    write_json,
)
from cmr_bench.store.locks import is_held, locked

if TYPE_CHECKING:
    from cmr_bench.types import Score


JUDGED = 4
"""Raised when what scores mean changes, so that cells judged before are judged anew and never compared with new ones."""


def cell_folder(root: Path, model: str, key: str) -> Path:
    return root / "cells" / f"{model.replace('/', '-')}-{key}"


def sweeps(about: Mapping[str, Any]) -> list[str]:
    """The sweeps that asked for a cell, the first of which it was made for."""
    return list(about.get("sweeps") or filter(None, [about.get("sweep")]))


@dataclass(frozen=True)
class Status:
    """Where a cell stands; `detail` is the last line of the error, or the last step of the log."""

    state: Literal["done", "outdated", "failed", "running", "stopped", "new"]
    detail: str = ""
    step: int = 0


@dataclass(frozen=True)
class Cell:
    """The folder of one cell. No reader fails on a file that is absent, torn or being written."""

    folder: Path

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Hold the cell for one attempt at it; an error leaves `failed.json` and is raised on.

        A kill leaves neither marker: the next attempt resumes. Success is `finish`.

        Raises:
            Busy: if another process works on the cell.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / ".lock", f"cell {self.folder.name}", wait=False):
            sweep_strays(self.folder)
            (self.folder / "failed.json").unlink(missing_ok=True)
            try:
                yield
            except Exception as error:
                self.fail(error)
                raise

    def fail(self, error: BaseException, log: str | os.PathLike[str] | None = None) -> None:
        """Record the last line of an error, and all of it in `error.txt` unless a log is named."""
        with suppress(OSError):  # the disk may be what failed
            if log is None:
                log = self.folder / "error.txt"
                with atomic(log) as temporary:
                    temporary.write_text("".join(traceback.format_exception(error)))
            last = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
            write_json(self.folder / "failed.json", {"error": last, "log": str(log)})

    def finish(self) -> None:
        """Mark the cell as done, once all that it wrote is on the disk."""
        for path in self.folder.iterdir():
            if path.is_file() and not path.name.startswith("."):
                sync(path)
        (self.folder / "failed.json").unlink(missing_ok=True)
        write_json(self.folder / "done.json", {"time": time.time(), "judged": JUDGED})

    @property
    def status(self) -> Status:
        if (self.folder / "done.json").exists():
            judged = read_json(self.folder / "done.json").get("judged", 1)
            words = "judged by another version of cmr_bench: type its line again, or delete it"
            return Status("done") if judged == JUDGED else Status("outdated", words)
        step = self.last_step()
        if is_held(self.folder / ".lock"):
            return Status("running", f"at step {step}", step)
        if failed := read_json(self.folder / "failed.json"):
            return Status("failed", str(failed.get("error", "")), step)
        started = self.folder.is_dir() and any(
            not p.name.startswith(".") for p in self.folder.iterdir()
        )
        return Status("stopped", f"at step {step}", step) if started else Status("new")

    @property
    def about(self) -> dict[str, Any]:
        """`cell.json`: key, model, data, mask, metric, protocol, seed, sweep, sweeps, tags, parameters."""
        return read_json(self.folder / "cell.json")

    def join(self, sweep: str | None) -> list[str]:
        """All sweeps that asked for the cell, of which this is one now; `sweep` in `about` is the first of them."""
        about = self.about
        every = list(dict.fromkeys(filter(None, [*sweeps(about), sweep])))
        if about and every != sweeps(about):
            self.write("cell.json", {**about, "sweeps": every})
        return every

    @property
    def environment(self) -> dict[str, Any]:
        return read_json(self.folder / "environment.json")

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one of the cell's JSON files, for example `cell.json` or `environment.json`."""
        write_json(self.folder / name, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = time.time()
        rows = [
            {"step": step, "name": n, "value": float(v), "time": now} for n, v in values.items()
        ]
        append_jsonl(self.folder / "log.jsonl", rows)

    def logged(self) -> list[dict[str, Any]]:
        """One row a (step, name), the last one: a resumed run writes some again."""
        rows = {
            (row.get("step"), row.get("name")): row for row in read_jsonl(self.folder / "log.jsonl")
        }
        return list(rows.values())

    def last_step(self) -> int:
        rows = read_jsonl(self.folder / "log.jsonl", tail=1 << 16)
        return max((int(row.get("step") or 0) for row in rows), default=0)

    def add_scores(self, scores: Iterable[Score], *, metric: str, seconds: float = 0.0) -> None:
        """Append what one metric (its config name) answered; the last row of a name counts."""
        rows = [
            asdict(score) | {"axis": score.axis, "metric": metric, "seconds": seconds}
            for score in scores
        ]
        whole = [row | {"of": len(rows)} for row in rows]
        append_jsonl(self.folder / "scores.jsonl", whole)

    def answered(self) -> set[str]:
        """The metrics (config names) whose scores are all there."""
        rows = read_jsonl(self.folder / "scores.jsonl")
        names: dict[str, set[str]] = {}
        for row in rows:
            names.setdefault(str(row.get("metric")), set()).add(str(row.get("name")))
        wanted = {str(row.get("metric")): row.get("of") for row in rows}
        return {metric for metric, found in names.items() if len(found) == wanted[metric]}

    def scores(self) -> list[dict[str, Any]]:
        """One row a score name; numbers that were not finite are nan again."""
        rows: dict[str, dict[str, Any]] = {}
        for row in read_jsonl(self.folder / "scores.jsonl"):
            if not {"name", "value"} <= row.keys():
                continue
            rows[row["name"]] = {k: float("nan") if v is None else v for k, v in row.items()}
        return list(rows.values())

    @property
    def samples(self) -> Samples:
        from cmr_bench.store.samples import Samples

        return Samples(self.folder / "samples.h5")


if TYPE_CHECKING:
    from cmr_bench.store.samples import Samples
