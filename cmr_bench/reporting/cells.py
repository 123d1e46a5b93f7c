"""The cells of a store as the report sees them: which belong together, what each answered."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path
from typing import Any

import yaml

from cmr_bench.reporting.verdicts import struck
from cmr_bench.store import Cell, Status, Store, key_of, read_json, sweeps

CHOICES = ("data", "mask", "protocol", "metric")
"""What cell.json says about a cell beside its model."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml, where PyYAML was built with it, is ten times faster."""

ELSEWHERE = {
    "store",
    "logger",
    "sweep",
    "tags",
    "threads",
    "trainer",
    "hydra",
    "callbacks",
    "dry_run",
    "checkpoint_minutes",
}
"""Parts of a configuration that say where and how a cell ran, not what it is."""

FILES = "model.synthetic"
"""Images that were made elsewhere: their folder or file is their name, also where there is only one."""

PLACES = (("data", "root"), ("external", "root"), ("synthesis", "batch"))
"""Single keys that do."""


@dataclass(frozen=True)
class Entry:
    """One cell; `group` names the cells that differ in the seed alone."""

    cell: Cell
    about: Mapping[str, Any]
    environment: Mapping[str, Any]
    status: Status
    scores: list[dict[str, Any]]
    settings: Mapping[str, Any] = field(repr=False)
    group: str = ""

    @property
    def model(self) -> str:
        return str(self.about.get("model") or self.cell.folder.name.rpartition("-")[0])

    @property
    def seed(self) -> int:
        return int(self.about.get("seed") or 0)

    @property
    def is_control(self) -> bool:
        return self.model.startswith("control")


def entries(
    root: str | os.PathLike[str], *, waiting: bool = False, sweep: str | None = None
) -> list[Entry]:
    """All cells of a store, or of one sweep, with their groups; models by name, controls last, seeds in order.

    With `waiting` also the jobs that are no cell yet, each as one that lies in the job's folder.
    """
    store = Store(root)
    jobs = store.waiting() if waiting else []
    found = [_entry(Cell(job.folder), job.about, job.status) for job in jobs]
    found += [_entry(cell, cell.about, cell.status) for cell in store.cells()]
    found = [e for e in found if sweep is None or sweep in sweeps(e.about)]
    names = _group_names(found)
    named = [
        Entry(e.cell, e.about, e.environment, e.status, e.scores, e.settings, name)
        for e, name in zip(found, names, strict=True)
    ]
    return sorted(named, key=lambda e: (e.is_control, e.group, e.seed, e.cell.folder.name))


def _entry(cell: Cell, about: Mapping[str, Any], status: Status) -> Entry:
    config = dict(_flat(_config(cell)))
    settings = {word: about.get(word) for word in CHOICES} | config if config else {}
    scores = struck(cell.scores(), read_json(cell.folder / "instruments.json"))
    return Entry(cell, about, cell.environment, status, scores, settings)


def _config(cell: Cell) -> dict[str, Any]:
    try:
        value = yaml.load((cell.folder / "config.yaml").read_text(), Loader=LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(value, dict):
        return {}
    clock = (value.get("callbacks") or {}).get("memorisation") or {}
    stop = {"memorisation": {"stop": True}} if clock.get("stop") else {}
    for part, key in PLACES:
        (value.get(part) or {}).pop(key, None)
    return {k: v for k, v in value.items() if k not in ELSEWHERE} | stop


def _flat(node: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted key; a seed anywhere is a repetition, not another setting."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}{key}.")
        elif key != "seed":
            yield f"{where}{key}", value


def _group_names(found: list[Entry]) -> list[str]:
    """The model's name, and where several settings of it are compared, what sets them apart.

    Settings that would get the same name, as two files of one name, get it in full.
    """
    rivals: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in found:
        if entry.settings:
            rivals.setdefault(entry.model, {})[key_of(entry.settings)] = entry.settings
    names: dict[tuple[str, str], str] = {}
    for model, settings in rivals.items():
        apart = {key: _apart(key, settings) for key in settings}
        short = {key: " ".join(filter(None, starmap(_word, apart[key]))) for key in settings}
        for key, words in short.items():
            alone = list(short.values()).count(words) == 1
            full = " ".join(f"{name}={value}" for name, value in apart[key])
            names[model, key] = f"{model} {words if alone else full}".rstrip()
    every = (names.get((e.model, key_of(e.settings)), e.model) for e in found)
    return [name.removeprefix("control/") for name in every]


def _apart(key: str, rivals: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """What sets one of the settings apart: each leaf on which it still differs from those that agree in the leaves before."""
    mine = rivals[key]
    words: list[tuple[str, Any]] = []
    for leaf in _leaves(list(rivals.values())):
        agree = {k: one for k, one in rivals.items() if repr(one.get(leaf)) == repr(mine.get(leaf))}
        if len(agree) < len(rivals) or leaf == FILES:
            words.append((leaf, mine.get(leaf)))
        rivals = agree
    return words


def _leaves(settings: list[Mapping[str, Any]]) -> list[str]:
    """Those whose values differ: files made elsewhere, choices, what all have a value or a class for, and the rest."""
    leaves = dict.fromkeys(leaf for one in settings for leaf in one)
    differ = [k for k in leaves if k == FILES or len({repr(one.get(k)) for one in settings}) > 1]

    def place(leaf: str) -> tuple[bool, ...]:
        of_class = leaf.endswith("_target_")
        of_some = any(leaf not in one for one in settings) and not of_class
        return leaf != FILES, leaf not in CHOICES, of_some, of_class

    return sorted(differ, key=place)


def _word(leaf: str, value: Any) -> str:
    """`steps=20`, `sampler=Heun`; a path by its last part; nothing for what is not set."""
    *_, parent, last = ["", *leaf.split(".")]
    if value is None:
        return ""
    if last == "_target_":
        return f"{parent}={str(value).rpartition('.')[-1]}"
    return Path(value).name if "/" in str(value) else f"{last}={value}"
