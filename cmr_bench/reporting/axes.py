"""The three axes as single numbers in [0, 1], 1 being as good as real data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from cmr_bench.reporting.tables import AXES, said, turned

Rows = Mapping[str, Mapping[str, Any]]
"""Scores of one model by name."""

ATTACKS = (
    *(f"privacy/{attack}_auc" for attack in (
        "mia", "sima", "pia", "secmi", "frequency", "calibrated", "autoencoder", "proxy", "extraction",
    )),
    "privacy/fcre_auc_subjects",
)  # fmt: skip
"""AUC of what asks whether a patient was trained on; `fcre_auc` shares subjects between its sides and does not count."""


NO_EVIDENCE = ("void", "unchecked")


class Span(NamedTuple):
    """A number with the limits of its interval."""

    value: float
    low: float
    high: float


def headlines(rows: Rows) -> dict[str, dict[str, Span]]:
    """The headline scores of each axis, each as a share of what real data reach; nan where one is not there.

    - fidelity: adherence and coverage over those of real data, at most 1
    - utility: Dice of the segmenter trained on synthetic images over that of the one trained on
      real images, at most 1
    - privacy: 2 (1 - max(AUC, 1/2)) of one of ATTACKS (1: no better than a coin, 0: every patient
      found; 1 - AUC in the place of an AUC that lies below 1/2 for certain), and 1 minus the copies in excess of real held-out data. Of several attacks the one
      counts whose lower limit is highest: the luckiest of many would lie above 1/2 by chance.

    Scores that are unfit on the data, void because an attack blind to the model succeeds too, or unchecked because
    there were too few subjects to ask that, are not there.
    """
    rows = {
        name: row
        for name, row in rows.items()
        if not (
            row.get("unfit") or any(row.get(m) or said(row.get("extra"), m) for m in NO_EVIDENCE)
        )
    }
    there = [name for name in ATTACKS if math.isfinite(_limits(rows, name).value)]
    attack = max(there, key=lambda name: _told(rows, name).low, default="privacy/an attack")
    ratio = {"utility/dice_ratio": _share(rows, "utility/dice_ratio", of=1.0)}
    dice = {"utility/dice": _share(rows, "utility/dice")}
    return {
        "fidelity": {
            f"fidelity/{k}": _share(rows, f"fidelity/{k}") for k in ("adherence", "coverage")
        },
        "utility": dice if _missing(ratio) else ratio,
        "privacy": {attack: _safety(rows, attack), "privacy/copy_rate": _originality(rows)},
    }


def triangle(rows: Rows) -> dict[str, Span]:
    """Fidelity, utility and privacy of one model from its headline scores (name -> score).

    An axis is as strong as its weakest headline, limit for limit; where one is missing it is left
    open. This is a view of the table, not a ranking: equal values may stand for different faults.
    """
    return {
        axis: Span(*(min(span[k] for span in spans.values()) for k in range(3)))
        for axis, spans in headlines(rows).items()
        if not _missing(spans)
    }


def triangles(table: pd.DataFrame) -> dict[str, dict[str, Span]]:
    """The triangle of each group of a comparison that has at least one axis."""
    found = {group: triangle(rows) for group, rows in _groups(table)}
    return {group: spans for group, spans in found.items() if spans}


def origins(table: pd.DataFrame) -> dict[str, dict[str, list[str]]]:
    """{axis: {words: groups}}: which headline sets the axis, or which is missing so that it is open."""
    found: dict[str, dict[str, list[str]]] = {axis: {} for axis in AXES}
    for group, rows in _groups(table):
        for axis, spans in headlines(rows).items():
            lacks = " and ".join(name.split("/")[1] for name in _missing(spans))
            weakest = min(spans, key=lambda name: spans[name].value).split("/")[1]
            words = f"open for want of {lacks}" if lacks else f"set by {weakest}"
            found[axis].setdefault(words, []).append(group)
    return found


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, Rows]]:
    for group, part in table.groupby("group", sort=False):
        yield str(group), {row["name"]: row for _, row in part.iterrows()}


def _missing(spans: Mapping[str, Span]) -> list[str]:
    return [name for name, span in spans.items() if not math.isfinite(span.value)]


def complete(spans: Mapping[str, Span]) -> bool:
    return all(axis in spans for axis in AXES)


def _limits(rows: Rows, name: str) -> Span:
    row = rows.get(name, {})
    value = float(row.get("value", math.nan))
    low, high = (float(row.get(k, math.nan)) for k in ("low", "high"))
    return Span(value, low if math.isfinite(low) else value, high if math.isfinite(high) else value)


def _through(span: Span, rule: Callable[[float], float]) -> Span:
    """A monotone rule at the value and at both limits; nan stays nan."""
    value, *limits = (rule(x) if math.isfinite(x) else math.nan for x in span)
    return Span(value, *sorted(limits))


def _share(rows: Rows, name: str, of: float | None = None) -> Span:
    real = float(rows.get(name, {}).get("reference", math.nan)) if of is None else of
    scale = real if math.isfinite(real) and real > 0 else 1.0
    return _through(_limits(rows, name), lambda x: min(1.0, max(0.0, x / scale)))


def _told(rows: Rows, name: str) -> Span:
    """The AUC of an attack, turned round where it tells members the wrong way round for certain."""
    value, low, high = _limits(rows, name)
    certain = turned(name, float(rows.get(name, {}).get("high", math.nan)))
    return Span(1 - value, 1 - high, 1 - low) if certain else Span(value, low, high)


def _safety(rows: Rows, name: str) -> Span:
    return _through(_told(rows, name), lambda auc: 2 * (1 - min(1.0, max(auc, 0.5))))


def _originality(rows: Rows) -> Span:
    real = float(rows.get("privacy/copy_rate", {}).get("reference", math.nan))
    usual = real if math.isfinite(real) else 0.0
    return _through(_limits(rows, "privacy/copy_rate"), lambda rate: 1 - max(0.0, rate - usual))
