"""From a composed configuration to the job that carries it, without the heavy imports."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf

from cmr_bench.config import plain, resolved, stopping
from cmr_bench.preparation import FORMAT, source_files, without
from cmr_bench.store import JUDGED, Job, Store, key_of

COUNT = Annotated[int, range(1, sys.maxsize)]

KEYS: dict[str, Any] = {
    **dict.fromkeys(
        "data external mask model autoencoder segmenter encoder metric trainer logger protocol size".split()
    ),
    "callbacks": {
        "every_n_steps": int,
        "axes": None,
        "memorisation": {
            **dict.fromkeys(("count", "steps", "patience", "repeats"), COUNT),
            **{"signs": None, "stop": bool, "times": None, "metrics": None},
        },
    },
    "seed": int,
    "threads": COUNT,
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

SPARE = {
    "data": ("root",),
    "external": ("root",),
    "model": ("synthetic",),
    "trainer": ("devices", "num_nodes"),
    "synthesis": ("batch",),
}
"""Keys of the other parts that say so too: files are known by name, size and date, and devices share a batch."""

PLACES = ("data.root", "external.root", "model.synthetic")
"""Paths as they were typed: relative to where."""

FAILED: list[str] = []
"""The names of what failed in this process: the verb ends non-zero and says them."""

PLANNED: list[Any] = []
"""The plans that were made in this process: the verb shows them."""


def choices_of(hydra: Any) -> dict[str, str]:
    """The chosen options by group, from Hydra's own node; of `metric=[standard,paper]` Hydra knows no choice."""
    chosen = hydra.runtime.choices
    typed = dict(word.partition("=")[::2] for word in hydra.overrides.task)
    lists = {name: "+".join(words.strip("[]").split(",")) for name, words in typed.items()}
    return {name: str(chosen[name] if name in chosen else lists[name]) for name in CHOICES}


def job_of(config: Any, choices: Mapping[str, str]) -> Job:
    """The job of a configuration, the same wherever and however it runs; nothing is written.

    Raises:
        ValueError: if a value is missing or a reference leads nowhere.
    """
    what = {
        key: without(part, *SPARE.get(key, ()))
        for key, part in resolved(config).items()
        if key not in WHERE
    }
    read = ["model"] if "synthetic" in (config.get("model") or {}) else []
    files = {
        name: [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in source_files(config[name])]
        for name in ("data", "external", *read)
        if config.get(name)
    }
    what |= stopping(config)
    inputs = {"format": [FORMAT, JUDGED], "config": what, "choices": dict(choices), "files": files}
    return Store(config.store.root).job(choices["model"], key_of(inputs))


def record(
    job: Job, config: DictConfig, choices: Mapping[str, str], overrides: Sequence[str]
) -> None:
    """Keep all that a process anywhere needs to work on the job; the overrides of the sweep are its name."""
    for key in PLACES:
        if typed := OmegaConf.select(config, key):
            OmegaConf.update(config, key, str(Path(typed).expanduser().absolute()))
    job.write(plain(config), choices, " ".join(overrides) or choices["model"])
