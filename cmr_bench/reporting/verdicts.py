"""Is a metric fit for these data? Its answers about controls, held against what they must be."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

Row = Mapping[str, Any]
State = Literal["holds", "unresolved", "unfit", "untested"]


class Verdict(NamedTuple):
    """One question put to one score; `strikes` are the scores that fall with it where it is unfit."""

    score: str
    question: str
    answers: str
    state: State
    reason: str
    strikes: tuple[str, ...]


RATES = r"_rate(?:_|$)|_tpr_at_|/authenticity"
"""Scores that are a share of what there is to be found: images that are copies, patients who are members."""
HALF = 0.5


def verdicts(record: Mapping[str, Any]) -> list[Verdict]:
    """One verdict for each order of controls, and for each score and control to catch and to spare, in each space of each metric.

    `record` is the content of instruments.json. An order strikes its own score alone; a control that
    is not caught or not spared by the first score of a metric strikes all of them, by another that score alone. An order is broken (unfit) where two of its controls
    are reversed for certain: the worse one scores better, and the interval of their difference
    leaves out zero (`apart`). It holds if the values are monotone and the intervals of its two ends
    lie apart, and is unresolved otherwise: two controls whose intervals overlap widely are no proof
    against a metric. A control is caught if its interval lies beyond the reference and the interval
    of the reference, unresolved if its value alone does, and missed (unfit) otherwise: who lacks
    the power to see a copy must not acquit, whether or not the miss is certain. A rate (`RATES`) must find half of what
    can be found beyond the reference besides, (value - reference) / (1 - reference) >= 1/2 (of a share that copies bring down,
    (reference - value) / reference): a control is nothing but what is to be found. One to spare must
    not lie beyond them with its whole interval. Controls that could not be answered
    are left out; a score of which none could is `untested`.
    """
    answers = record.get("answers", [])
    found: list[Verdict] = []
    for name, metric in record.get("metrics", {}).items():
        mine = [row for row in answers if row["metric"] == name]
        for end in ("", *(f"_{space}" for space in metric.get("spaces", ()))):
            every = tuple(one + end for one in metric["names"])
            for score, chains in metric.get("rankings", {}).items():
                found += _orders(score + end, chains, mine)
            for score in every:
                found += _catches(metric, score, every if score == every[0] else (score,), mine)
    return found


def struck(scores: Sequence[Row], record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scores with `unfit`: why a score is no evidence on these data, empty where it is."""
    why: dict[str, list[str]] = {}
    for verdict in verdicts(record):
        if verdict.state == "unfit":
            for name in verdict.strikes:
                why.setdefault(name, []).append(verdict.reason)
    return [
        {**row, "unfit": f"unfit here: {'; '.join(dict.fromkeys(reasons))}" if reasons else ""}
        for row in scores
        for reasons in [why.get(row["name"])]
    ]


def _known(score: str, answers: Sequence[Row]) -> dict[str, Row]:
    """The answers of one score by control, less those that could not be given."""
    return {
        row["control"]: row
        for row in answers
        if row["name"] == score and _number(row.get("value")) is not None
    }


def _orders(
    score: str, chains: Sequence[Sequence[str]], answers: Sequence[Row]
) -> Iterator[Verdict]:
    known = _known(score, answers)
    for order in chains:
        chain = [control for control in order if control in known]
        question = f"rank, best first: {', '.join(chain if len(chain) > 1 else order)}"
        if len(chain) > 1:
            rows = [known[control] for control in chain]
            state, reason = order_verdict(rows)
            yield Verdict(score, question, _values(rows), state, reason, (score,))
        else:
            yield from _untested(score, question, [r for r in answers if r["control"] in order])


def _catches(
    metric: Mapping[str, Any], score: str, strikes: tuple[str, ...], answers: Sequence[Row]
) -> Iterator[Verdict]:
    known, left = _known(score, answers), []
    for verb, asked, judge in (("catch", "catches", caught), ("spare", "spares", spared)):
        for control in metric.get(asked, []):
            row = known.get(control, {})
            if row.get("better") and math.isfinite(_usual(row)):
                state, reason = judge(row)
                yield Verdict(score, f"{verb} {control}", _against(row), state, reason, strikes)
            else:
                left.append(f"{verb} {control}")
    if left and len(left) == len([*metric.get("catches", []), *metric.get("spares", [])]):
        yield from _untested(score, ", ".join(left), answers)


def _untested(score: str, question: str, answers: Sequence[Row]) -> Iterator[Verdict]:
    """That no control answered, and why; nothing of a score that was not asked for."""
    reasons = [row.get("reason") or "" for row in answers if row["name"] == score]
    if reasons:
        why = next(filter(None, reasons), "it has no direction or no reference")
        yield Verdict(score, question, "–", "untested", f"untested here: {why}", ())


def order_verdict(chain: Sequence[Row]) -> tuple[State, str]:
    """Of answers about controls from best to worst."""
    for better, worse in combinations(chain, 2):
        if apart(worse, better):
            return "unfit", f"{worse['control']} scores better than {better['control']}"
    values = [_badness(row, row["value"]) for row in chain]
    first, last = _ends(chain[0])[1], _ends(chain[-1])[0]
    return ("holds", "") if values == sorted(values) and last > first else ("unresolved", "")


def apart(one: Row, other: Row) -> bool:
    """Whether `one` scores better than `other` for certain: by more than sqrt(a^2 + b^2).

    a and b are the arms of the two intervals that point at each other, and the bound is the limit of
    the difference of two independent estimates by the recovery of variance (Zou and Donner, 2008,
    "Construction of confidence limits about effect measures", Stat. Med. 27). Controls judged
    against the same real images are correlated positively, for which it is on the safe side.
    """
    best, worst = _badness(one, one["value"]), _badness(other, other["value"])
    return worst - best > math.hypot(_ends(one)[1] - best, worst - _ends(other)[0])


def caught(row: Row) -> tuple[State, str]:
    usual, value = _usual(row), _badness(row, row["value"])
    if value <= usual:
        return "unfit", f"misses control {row['control']}"
    if (share := _found(row)) < HALF:
        return "unfit", f"sees {share:.0%} of control {row['control']}"
    return ("holds" if _ends(row)[0] > usual else "unresolved"), ""


def _found(row: Row) -> float:
    """The share that a rate found of what can be found beyond its reference; all for scores that are no rates."""
    reference = _number(row.get("reference"))
    if reference is None or not re.search(RATES, row["name"]):
        return 1.0
    worst = 0.0 if row.get("better") == "higher" else 1.0
    return (row["value"] - reference) / (worst - reference) if worst != reference else 1.0


def spared(row: Row) -> tuple[State, str]:
    if _ends(row)[0] > _usual(row):
        return "unfit", f"accuses control {row['control']}"
    return "holds", ""


def _badness(row: Row, value: float) -> float:
    return -value if row.get("better") == "higher" else value


def _ends(row: Row) -> tuple[float, float]:
    """The better and the worse end of the interval as badness; without an interval it might be anything."""
    low, high = (_number(row.get(key)) for key in ("low", "high"))
    if low is None or high is None:
        return -math.inf, math.inf
    ends = _badness(row, low), _badness(row, high)
    return min(ends), max(ends)


def _usual(row: Row) -> float:
    """The worst that real data may score in the same place, as badness."""
    extra = row.get("extra") or {}
    places = (row.get("reference"), extra.get("reference_low"), extra.get("reference_high"))
    found = [_badness(row, place) for place in map(_number, places) if place is not None]
    return max(found, default=math.inf)


def _values(chain: Sequence[Row]) -> str:
    return ", ".join(f"{row['value']:.3g}" for row in chain)


def _against(row: Row) -> str:
    reference = _number(row.get("reference"))
    return f"{row['value']:.3g}" + (f" (real {reference:.3g})" if reference is not None else "")


def _number(value: Any) -> float | None:
    """A finite number; None for what JSON or a blank score left out."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
