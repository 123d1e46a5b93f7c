"""What W&B is told about a cell: who it is, what it scored, and how far the telling has come.

Keys of a W&B run, all stable:

- id: key of the cell; group: sweep; name: `<model>-<data>-s<seed>`; tags: model, data, protocol, further sweeps and the cell's own;
  job type: `cell` (or `comparison` for the one run of a sweep that `cmr_bench.sync` adds)
- history: the names that were logged, with the optimiser step as its step
- summary: `<score>` (as in scores.jsonl, `fidelity/kid`), `<score>_low`, `<score>_high`, `<score>_n`,
  `<score>_reference`; `triangle/<axis>`; `cell/parameters`, `cell/nfe`, `cell/seconds/<stage>`
- media: `<key>/<pool>` images with masks as a layer; `<key>` a table of mask, real and synthetic; `triangle` bars
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from cmr_bench.store import Cell, key_of, read_json, sweeps, write_json
from cmr_bench.tracking.runs import Grey
from cmr_bench.tracking.strips import Strip

LIMITS = ("low", "high", "n", "reference")
COLUMNS = {"test": "real", "matched": "synthetic"}
"""Pools under the names that a table of samples gives them."""


def identity(
    cell: Cell, config: Mapping[str, Any], *, project: str, entity: str | None, job_type: str
) -> dict[str, Any]:
    """The arguments of `wandb.init`; the same for every attempt at a cell and for its replay."""
    about = cell.about
    words = [str(about.get(word) or "") for word in ("model", "data", "protocol")]
    tags = dict.fromkeys([*words, *sweeps(about)[1:], *map(str, about.get("tags") or [])])
    return {
        "id": about.get("key") or cell.folder.name,
        "name": "-".join([word for word in words[:2] if word] + [f"s{about.get('seed', 0)}"]),
        "group": about.get("sweep") or None,
        "tags": [tag[:64] for tag in tags if tag],
        "config": dict(config),
        "project": project,
        "entity": entity,
        "job_type": job_type,
    }


def summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Scores (rows of scores.jsonl) with their limits, counts and references; what is not finite is left out."""
    values: dict[str, float] = {}
    for row in rows:
        if not math.isfinite(row["value"]):
            continue
        values[row["name"]] = row["value"]
        limits = {k: row.get(k, math.nan) for k in LIMITS}
        values |= {f"{row['name']}_{k}": v for k, v in limits.items() if math.isfinite(v)}
    return values


def facts(cell: Cell) -> dict[str, Any]:
    """What the cell is and cost, for the summary."""
    found = {f"cell/{k}": v for k in ("parameters", "nfe") if (v := cell.about.get(k)) is not None}
    seconds = cell.environment.get("seconds") or {}
    return found | {f"cell/seconds/{stage}": spent for stage, spent in seconds.items()}


def tables(strips: Iterable[Strip]) -> dict[tuple[str, int], tuple[Grey, dict[str, Grey]]]:
    """Tables of samples by key and step, where several pools share both: masks, and images by column."""
    found: dict[tuple[str, int], tuple[Grey, dict[str, Grey]]] = {}
    for strip in strips:
        key, _, pool = strip.key.rpartition("/")
        if strip.masks is not None and key:
            _, images = found.setdefault((key, strip.step), (strip.masks, {}))
            images[COLUMNS.get(pool, pool)] = strip.images
    return {at: (m, dict(sorted(by.items()))) for at, (m, by) in found.items() if len(by) > 1}


class Sent:
    """`wandb.json` beside the log: for each target, how far a cell was told.

    A target is where it was told to: "offline", or "entity/project" of an account.
    """

    def __init__(self, cell: Cell) -> None:
        self.path = cell.folder / "wandb.json"

    def read(self, target: str) -> dict[str, Any]:
        """The last step that was told, the images that were, a digest of the summary, and whether the cell tells itself."""
        nothing = {"step": -1, "images": [], "digest": "", "live": False}
        return nothing | dict(read_json(self.path).get(target, {}))

    def write(self, target: str, told: Mapping[str, Any]) -> None:
        write_json(self.path, {**read_json(self.path), target: told})


def told(cell: Cell, steps: Iterable[int], strips: Iterable[Strip]) -> dict[str, Any]:
    """What stands in `wandb.json` when these steps, these images and the summary of the cell were told."""
    return {
        "step": max(steps, default=-1),
        "images": sorted(strip.name for strip in strips),
        "digest": key_of([summary(cell.scores()), facts(cell)]),
    }


def target(mode: str, project: str, entity: str | None) -> str:
    return "offline" if mode == "offline" else f"{entity or 'default'}/{project}"
