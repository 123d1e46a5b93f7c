"""Which subject is in which split: by subject, stratified, a function of the seed and the subjects alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from cmr_bench.data.records import Record
from cmr_bench.seeds import mix

SPLITS = ("train", "val", "test")


def split_subjects(
    records: Sequence[Record],
    *,
    train: float,
    val: float,
    test: float,
    seed: int,
    own: bool = False,
    together: Iterable[Iterable[str]] = (),
) -> dict[str, str]:
    """{subject: split} in fractions train : val : test, stratified by vendor and pathology.

    Systematic sampling: units sorted by stratum and shuffled within it are dealt to the split that lags behind its
    fraction most, so each stratum, however small, is within one unit of its share. `together` are subjects that must
    not be parted (one scan under several names); `own` follows the data set's own hints and draws only what they leave
    open.
    """
    shares = {
        name: share for name, share in zip(SPLITS, (train, val, test), strict=True) if share > 0
    }
    if min(train, val, test) < 0 or not shares:
        raise ValueError(
            f"data.split: fractions train={train}, val={val}, test={test} must be >= 0 and not all 0"
        )
    units = _units(records, together)
    facts = {record.subject: record for record in records}
    hints = {unit: _hint(unit, records) if own else "" for unit in units}
    if own and not any(hints.values()):
        raise ValueError(
            "data.split.own=true: this data set has no splits of its own; set it to false"
        )

    def stratum(unit: tuple[str, ...]) -> tuple[str, str, int]:
        first = facts[unit[0]]
        return first.vendor, first.pathology, mix(seed, "split", unit[0])

    ordered = sorted(units, key=stratum)
    free = [unit for unit in ordered if hints[unit] in ("", "train")]
    if any(hint in ("val", "test") for hint in hints.values()):
        given = {hint for hint in hints.values() if hint}
        shares = {
            name: share for name, share in shares.items() if name not in given - {"train"}
        } or {"train": 1.0}
    chosen = {unit: hints[unit] for unit in ordered if unit not in set(free)} | _deal(free, shares)
    empty = [
        name
        for name in SPLITS
        if {"train": train, "val": val, "test": test}[name] and name not in chosen.values()
    ]
    if empty:
        raise ValueError(
            f"data.split: {len(units)} subjects leave {', '.join(empty)} empty; "
            f"give more subjects, or a larger data.split.{empty[0]}"
        )
    return {subject: split for unit, split in chosen.items() for subject in unit}


def _deal(
    units: Sequence[tuple[str, ...]], shares: Mapping[str, float]
) -> dict[tuple[str, ...], str]:
    total = sum(shares.values())
    owed = dict.fromkeys(shares, 0.0)
    chosen = {}
    for unit in units:
        for name, share in shares.items():
            owed[name] += share / total * len(unit)
        best = max(owed, key=lambda name: (round(owed[name], 9), shares[name]))
        owed[best] -= len(unit)
        chosen[unit] = best
    return chosen


def _hint(unit: Sequence[str], records: Sequence[Record]) -> str:
    """The unit's own split; where its names disagree, train: a test subject must be unseen."""
    found = {record.split for record in records if record.subject in unit} - {""}
    return "train" if "train" in found else min(found, default="")


def _units(records: Sequence[Record], together: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    """Subjects, or groups of them that must stay together, in alphabetical order; overlapping groups are joined."""
    groups = [{subject} for subject in sorted({record.subject for record in records})]
    for names in together:
        wanted = set(names)
        touched = [group for group in groups if group & wanted]
        groups = [group for group in groups if not group & wanted] + (
            [set().union(*touched)] if touched else []
        )
    return sorted(tuple(sorted(group)) for group in groups)


def limited(
    split: Mapping[str, str], records: Sequence[Record], *, limit: int | None, seed: int
) -> dict[str, str]:
    """The split with at most `limit` training subjects; the first 8 of 16 are the same, spread over the strata."""
    if limit is None:
        return dict(split)
    if limit < 1:
        raise ValueError(f"data.limit={limit}: at least one training subject is needed")
    facts = {record.subject: record for record in records}
    train = [subject for subject, name in split.items() if name == "train"]
    key = {subject: (facts[subject].vendor, facts[subject].pathology) for subject in train}
    places: dict[str, tuple[float, int]] = {}
    for _, group in groupby(
        sorted(train, key=lambda s: (key[s], mix(seed, "limit", s))), key=key.__getitem__
    ):
        members = list(group)
        for rank, subject in enumerate(members):
            places[subject] = ((rank + 0.5) / len(members), mix(seed, "limit", subject))
    kept = set(sorted(train, key=places.__getitem__)[:limit])
    return {subject: name for subject, name in split.items() if name != "train" or subject in kept}
