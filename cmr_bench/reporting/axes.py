"""The three axes as single numbers in [0, 1], 1 being as good as real data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from cmr_bench.reporting.tables import AXES, void

Rows = Mapping[str, Mapping[str, Any]]
"""Scores of one model by name."""


class Span(NamedTuple):
    """A number with the limits of its interval."""

    value: float
    low: float
    high: float


def triangle(rows: Rows) -> dict[str, Span]:
    """Fidelity, utility and privacy of one model from its headline scores (name -> score).

    An axis is as strong as its weakest headline; one that was not computed is left out:

    - fidelity: min of adherence and coverage, each as share of what real data score, at most 1
    - utility: Dice of the segmenter trained on synthetic images over that of the one trained on
      real images, at most 1
    - privacy: min of 2 (1 - max(AUC, 1/2)) over the membership and extraction attacks (1: no better
      than a coin, 0: every patient found), and of 1 minus the copies in excess of real held-out
      data

    Limits are those of the same expression at the limits of the scores. This is a view of the
    table, not a ranking: equal values may stand for different faults. Scores that are unfit on the
    data, or void because an attack blind to the model succeeds too, count as not computed.
    """
    rows = {
        name: row
        for name, row in rows.items()
        if not (row.get("unfit") or row.get("void") or void(row.get("extra")))
    }
    candidates: dict[str, list[Span]] = {
        "fidelity": [_share(rows, "fidelity/adherence"), _share(rows, "fidelity/coverage")],
        "utility": [_share(rows, "utility/dice_ratio", of=1.0)],
        "privacy": [
            _safety(rows, "privacy/mia_auc"),
            _safety(rows, "privacy/fcre_auc"),
            _originality(rows),
        ],
    }
    if not _there(candidates["utility"]):
        candidates["utility"] = [_share(rows, "utility/dice")]
    spans = {axis: _there(found) for axis, found in candidates.items()}
    return {
        axis: Span(*(min(span[k] for span in found) for k in range(3)))
        for axis, found in spans.items()
        if found
    }


def triangles(table: pd.DataFrame) -> dict[str, dict[str, Span]]:
    """The triangle of each group of a comparison that has at least one axis."""
    found = {
        str(group): triangle({row["name"]: row for _, row in part.iterrows()})
        for group, part in table.groupby("group", sort=False)
    }
    return {group: spans for group, spans in found.items() if spans}


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


def _safety(rows: Rows, name: str) -> Span:
    return _through(_limits(rows, name), lambda auc: 2 * (1 - min(1.0, max(auc, 0.5))))


def _originality(rows: Rows) -> Span:
    real = float(rows.get("privacy/copy_rate", {}).get("reference", math.nan))
    usual = real if math.isfinite(real) else 0.0
    return _through(_limits(rows, "privacy/copy_rate"), lambda rate: 1 - max(0.0, rate - usual))


def _there(spans: list[Span]) -> list[Span]:
    return [span for span in spans if math.isfinite(span.value)]
