"""A cell told to W&B from its local log: what was told before is not told again.

Nothing that W&B left on the disk is read, so what a kill tore there does no harm; and a cell that was killed and
resumed has each step once, since its log does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cmr_bench.store import Cell
from cmr_bench.tracking import runs
from cmr_bench.tracking.record import (
    Sent,
    facts,
    identity,
    summary,
    tables,
    target,
    told,
)
from cmr_bench.tracking.strips import Strip, read_strips


@dataclass(frozen=True)
class Account:
    """Where runs go: `mode` is "online" or "offline", whose files lie in `<folder>/wandb`."""

    folder: Path
    mode: str
    project: str
    entity: str | None
    patience: float = 120.0

    @property
    def target(self) -> str:
        return target(self.mode, self.project, self.entity)


def replay(cell: Cell, account: Account, triangle: Mapping[str, float]) -> str:
    """Tell W&B what it does not know of a cell; returns what was told in words, "" if nothing.

    The last step of a cell that is not done waits, since more may be logged at it.
    """
    state = cell.status.state
    sent = Sent(cell)
    before = sent.read(account.target)
    if state == "new" or (state == "running" and before["live"]):
        return ""
    rows, strips = logged(cell, whole=state == "done")
    after = told(cell, rows, strips)
    after["step"] = max(after["step"], before["step"])
    if after.items() <= before.items():
        return ""
    fresh = {step: values for step, values in rows.items() if step > before["step"]}
    seen = set(before["images"])
    pictures = [strip for strip in strips if strip.name not in seen]
    words = identity(
        cell, config(cell), project=account.project, entity=account.entity, job_type="cell"
    )
    run = runs.open_run(account.folder, account.mode, words, account.patience)
    known = int(getattr(run, "starting_step", 0) or 0) if account.mode == "online" else 0
    tell(run, fresh, pictures, floor=max(before["step"] + 1, known))
    if triangle:
        runs.log_bars(run, "triangle", dict(triangle))
    axes = {f"triangle/{axis}": value for axis, value in triangle.items()}
    run.summary.update(summary(cell.scores()) | axes | facts(cell))
    run.finish(exit_code=0 if state == "done" else 1)
    sent.write(account.target, after)
    return f"{len(fresh)} steps, {len(pictures)} rows of images, summary"


def logged(cell: Cell, *, whole: bool) -> tuple[dict[int, dict[str, float]], list[Strip]]:
    """Values by step, and images; without what belongs to the last step unless the log is whole."""
    rows: dict[int, dict[str, float]] = {}
    for row in cell.logged():
        if row.get("value") is not None and row.get("name") is not None:
            rows.setdefault(int(row["step"]), {})[str(row["name"])] = float(row["value"])
    strips = list(read_strips(cell.folder / "images"))
    last = max([*rows, *(strip.step for strip in strips)], default=0)
    if not whole:
        rows.pop(last, None)
        strips = [strip for strip in strips if strip.step < last]
    return rows, strips


def tell(run: Any, rows: Mapping[int, dict[str, float]], strips: list[Strip], floor: int) -> None:
    """Everything in the order of its steps. W&B takes no step below `floor`: rows there it has, images come late."""
    shared = tables(strips)
    for step in sorted({*rows, *(strip.step for strip in strips)}):
        at = max(step, floor)
        if step in rows and step >= floor:
            run.log(rows[step], step=at)
        for strip in strips:
            if strip.step == step:
                runs.log_images(run, strip.key, strip.images, strip.masks, at)
        for (key, when), (masks, images) in shared.items():
            if when == step:
                runs.log_table(run, key, masks, images, at)


def config(cell: Cell) -> dict[str, Any]:
    """The resolved configuration of the cell; empty if it cannot be read."""
    try:
        value = yaml.safe_load((cell.folder / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}
