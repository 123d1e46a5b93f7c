"""From a composed configuration to the job that carries it, without the heavy imports."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cmr_bench.config import plain, resolved
from cmr_bench.preparation import FORMAT, source_files
from cmr_bench.store import Job, Store, key_of

COUNT = range(1, sys.maxsize)

KEYS: dict[str, Any] = {
    **dict.fromkeys(
        "data external mask model autoencoder segmenter encoder metric trainer logger protocol size".split()
    ),
    "callbacks": {"every_n_steps": int, "axes": None},
    "seed": int,
    "threads": int,
    "sweep": str,
    "tags": None,
    "checkpoint_minutes": float,
    "dry_run": bool,
    "fit": {"steps": COUNT, "batch": COUNT, "ema": float, "augment": None},
    "synthesis": {"count": COUNT, "batch": COUNT},
    "store": {"root": str},
}
"""What a cell reads, beside what describes itself by `_target_`."""

CHOICES = ("model", "data", "mask", "metric", "protocol")
"""The groups whose options name a cell in tables."""

WHERE = frozenset("store logger sweep tags threads callbacks checkpoint_minutes dry_run".split())
"""Keys that say where and how a cell is made, not what it is."""

FAILED: list[str] = []
"""The names of what failed in this process: the verb ends non-zero and says them."""


def choices_of(hydra: Any) -> dict[str, str]:
    """The chosen options by group, from Hydra's own node, which keeps no choice of several at once."""
    several = dict(word.split("=", 1) for word in hydra.overrides.task if "=" in word)
    return {name: str(hydra.runtime.choices.get(name, several.get(name, ""))) for name in CHOICES}


def job_of(config: Any, choices: Mapping[str, str]) -> Job:
    """The job of a configuration, the same wherever and however it runs; nothing is written.

    Raises:
        ValueError: if a value is missing or a reference leads nowhere.
    """
    what = {key: part for key, part in resolved(config).items() if key not in WHERE}
    files = {
        name: [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in source_files(config[name])]
        for name in ("data", "external")
        if config.get(name)
    }
    inputs = {"format": FORMAT, "config": what, "choices": dict(choices), "files": files}
    return Store(config.store.root).job(choices["model"], key_of(inputs))


def record(job: Job, config: Any, choices: Mapping[str, str], overrides: Sequence[str]) -> None:
    """Keep all that a process needs to work on the job; the overrides of the sweep are its name."""
    job.write(plain(config), choices, " ".join(overrides) or choices["model"])
