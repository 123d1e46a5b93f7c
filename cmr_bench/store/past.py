"""What the work in a store took: the measure of what is still to come."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from cmr_bench.store.artefacts import DONE, Store
from cmr_bench.store.cell import Cell
from cmr_bench.store.files import read_json

BUDGET = ("fit.steps", "fit.batch", "config.fit.steps", "config.fit.batch", "count", "sampling.steps")  # fmt: skip
"""Inputs that the time of an artefact is taken to be proportional to."""


class Past:
    """Seconds of finished work, read once however many cells are planned."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._made: dict[str, list[tuple[dict[str, Any], float]]] = {}

    def made(self, kind: str) -> list[tuple[dict[str, Any], float]]:
        """(inputs with dotted keys, seconds) of each finished artefact of a kind."""
        if kind not in self._made:
            self._made[kind] = [
                (
                    dict(flat(read_json(done.with_name("inputs.json")))),
                    float(read_json(done).get("seconds", math.nan)),
                )
                for done in sorted((self.store.root / kind).glob(f"*/{DONE}"))
            ]
        return self._made[kind]

    def seconds(self, kind: str, inputs: Mapping[str, Any]) -> float:
        """Of the finished artefact whose inputs agree most with these, scaled by the budget; nan if there is none."""
        wanted = dict(flat(inputs))
        agree = [sum(o.get(k) == v for k, v in wanted.items()) for o, _ in self.made(kind)]
        if not agree:
            return math.nan
        other, seconds = self.made(kind)[agree.index(max(agree))]
        return seconds * _budget(wanted) / _budget(other)

    @cached_property
    def judged(self) -> list[tuple[dict[str, Any], Cell]]:
        """(cell.json, cell) of each finished cell."""
        cells = [cell for cell in self.store.cells() if (cell.folder / DONE).exists()]
        return [(cell.about, cell) for cell in cells]

    def judging(self, about: Mapping[str, Any]) -> float:
        """Of the metrics of the finished cell most like this one, less those of its segmenters; nan if there is none."""
        agree = [sum(o.get(k) == v for k, v in about.items()) for o, _ in self.judged]
        if not agree:
            return math.nan
        cell = self.judged[agree.index(max(agree))][1]
        metrics = {row.get("metric"): float(row.get("seconds") or 0) for row in cell.scores()}
        segmenters = (cell.environment.get("seconds") or {}).get("segmenters", 0.0)
        return max(0.0, sum(metrics.values()) - segmenters)


def flat(node: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted key."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", list(value) if isinstance(value, tuple) else value


def _budget(inputs: Mapping[str, Any]) -> float:
    return math.prod(float(inputs[key]) for key in BUDGET if inputs.get(key))
