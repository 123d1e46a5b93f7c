"""What a comparison says, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from cmr_bench.reporting.axes import Span, origins
from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.tables import AXES, LEGIBLE


def summary(found: Sequence[Entry], models: Mapping[str, Mapping[str, Span]]) -> list[str]:
    """What was run and, for each axis, which model leads and whether the intervals separate it."""
    if not found:
        return ["The store holds no cells yet."]
    data = " and ".join(sorted({str(e.about.get("data", "?")) for e in found}))
    names = list(dict.fromkeys(e.group for e in found))
    seeds = len({e.seed for e in found})
    states = pd.Series([e.status.state for e in found]).value_counts()
    parts = ", ".join(f"{count} {state}" for state, count in states.items())
    controls = list(dict.fromkeys(e.group for e in found if e.is_control))
    models_named = _named("model", [name for name in names if name not in controls])
    who = " and ".join(filter(None, [models_named, _named("control", controls)]))
    lines = [f"{who} on {data}, {_count(seeds, 'seed')}: {_count(len(found), 'cell')}, {parts}."]
    for axis in AXES:
        rivals = {g: s[axis] for g, s in models.items() if axis in s and g not in controls}
        if len(rivals) < 2:
            continue
        first = max(rivals, key=lambda g: rivals[g].value)
        near = [g for g in rivals if g != first and rivals[g].high >= rivals[first].low]
        others = ", ".join(near) if len(near) < 4 else f"{len(near)} others"
        value = f"{rivals[first].value:.2f}"
        lines.append(
            f"{axis.capitalize()}: {first} ({value}) is not separated from {others}."
            if near
            else f"{axis.capitalize()}: {first} leads with {value}, apart from all others."
        )
    return lines


def origin_lines(table: pd.DataFrame) -> list[str]:
    """What sets each axis of whom, and where an axis is open."""
    return [
        f"{axis.capitalize()} is "
        + "; ".join(f"{w} ({', '.join(who)})" for w, who in found.items())
        + "."
        for axis, found in origins(table).items()
        if found
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _named(noun: str, names: Sequence[str]) -> str:
    more = [f"and {len(names) - LEGIBLE} more"] if len(names) > LEGIBLE else []
    words = ", ".join([*names[:LEGIBLE], *more])
    return f"{_count(len(names), noun)} ({words})" if names else ""
