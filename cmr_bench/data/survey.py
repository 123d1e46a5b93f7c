"""One pass over a data set: what each volume is, what is wrong with it, and what looks odd."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cmr_bench.data.faults import Fault, inspect, listing, repeated
from cmr_bench.data.leakage import fingerprint
from cmr_bench.data.oddities import oddities
from cmr_bench.data.records import Reader, Record
from cmr_bench.data.stack import arrange, relabel, right_ventricle_side
from cmr_bench.interruption import flag
from cmr_bench.progress import each

AWAY = np.deg2rad((60, 85))
"""A right ventricle further than this from where its data set has it: five times the usual angle (median), but between
these; hearts of ACDC stay within 82 degrees, their usual angle is 23."""
TURNED = 0.5
"""Least length of the mean direction (1: all alike) before a whole data set is turned by it."""


@dataclass
class Seen:
    """A sound record; `side` points from the LV to the RV as shown (columns + i rows), `cavity_ml` is the LV volume."""

    record: Record
    fingerprint: np.ndarray
    side: complex
    cavity_ml: float
    files: dict[Path, str]
    depth: int = 0
    warnings: list[str] = field(default_factory=list)


def survey(reader: Reader) -> tuple[list[Seen], list[Fault]]:
    """All sound records and all faults of the data set."""
    records = reader.records()
    faults = listing(reader, records)
    doubled = repeated(records)
    seen: list[Seen] = []
    sums: dict[Path, str] = {}
    for at, record in enumerate(each(records, "checking")):
        flag.within()
        wrong, volumes = inspect(record)
        faults += wrong
        if volumes is None or at in doubled:
            continue
        image, mask, affine = volumes
        stack = arrange(image, relabel(mask, record), affine)
        depth = stack.mask.shape[2]
        if record.slice is not None and depth > 1:
            text = (
                f"named slice {record.slice} but holds {depth}; give cases.csv or data.reader.case"
            )
            faults.append(Fault(record.subject, record.phase, record.image, text))
            continue
        files = {
            path: sums.setdefault(path, "") or checksum(path)
            for path in (record.image, record.mask)
        }
        sums.update(files)
        cavity = float(
            (stack.mask == 1).sum() * np.prod(stack.spacing_mm) * stack.thickness_mm / 1000
        )
        seen.append(
            Seen(
                record=record,
                fingerprint=fingerprint(stack),
                side=right_ventricle_side(stack.mask),
                cavity_ml=cavity,
                depth=depth,
                files=files,
                warnings=oddities(stack),
            )
        )
    _refuse_untold(seen)
    _name_frames(seen)
    _compare(seen)
    return seen, faults


def _name_frames(seen: Sequence[Seen]) -> None:
    """Of a subject's two numbered frames, the one of larger LV cavity is end-diastole and the other end-systole."""
    cavities = _cavities(seen)
    frames: dict[str, list[str]] = defaultdict(list)
    for subject, phase in cavities:
        frames[subject].append(phase)
    for item in seen:
        pair = frames[item.record.subject]
        if len(pair) == 2 and all(re.fullmatch(r"frame\d+", phase, re.I) for phase in pair):
            volumes = [cavities[item.record.subject, phase] for phase in pair]
            if volumes[0] != volumes[1]:
                largest = item.record.phase == pair[volumes.index(max(volumes))]
                item.record = replace(item.record, phase="ED" if largest else "ES")


def _cavities(seen: Sequence[Seen]) -> dict[tuple[str, str], float]:
    """LV volume of each subject and phase, over all of its slices."""
    cavities: dict[tuple[str, str], float] = defaultdict(float)
    for item in seen:
        cavities[item.record.subject, item.record.phase] += item.cavity_ml
    return cavities


def _refuse_untold(seen: Sequence[Seen]) -> None:
    """ValueError where most volumes are single slices that nothing assigns to a patient."""
    untold = [item.record for item in seen if item.depth == 1 and not item.record.told]
    if len(untold) > len(seen) / 2:
        raise ValueError(
            f"{untold[0].image}: one slice, and nothing tells its patient ({len(untold)} of {len(seen)} files are so); "
            "slices of one patient would be parted: give cases.csv or data.reader.case"
        )


def quarter_turns(seen: list[Seen]) -> int:
    """Quarter turns (counterclockwise) that bring the data set's right ventricles to the left of the image.

    One number for the whole data set, from all of its labelled right ventricles; 0 without them or without agreement.
    """
    sides = np.array([item.side for item in seen if item.side])
    if not len(sides) or abs(sides.mean()) < TURNED:
        return 0
    return round(float(np.angle(sides.mean()) - np.pi) / (np.pi / 2)) % 4


def mixed(seen: Sequence[Seen]) -> list[str]:
    """A warning where the data set has no one side for its right ventricles, with the subjects on each."""
    subjects: dict[str, complex] = defaultdict(complex)
    for item in seen:
        subjects[item.record.subject] += item.side
    sides = np.array([side for side in subjects.values() if side])
    if not len(sides) or _usual(seen)[0]:
        return []
    quarters = np.rint(np.angle(sides) / (np.pi / 2)).astype(int) % 4
    counts = zip(
        np.bincount(quarters, minlength=4), ("right", "bottom", "left", "top"), strict=True
    )
    places = ", ".join(f"{number} {name}" for number, name in counts if number)
    return [f"right ventricles lie on different sides (subjects: {places}); turn the images alike"]


def _usual(seen: Sequence[Seen]) -> tuple[complex, float]:
    """The side where the right ventricles are, 0 without agreement, and the angle from it that is too far."""
    sides = np.array([item.side for item in seen if item.side])
    if not len(sides) or abs(sides.mean()) < TURNED:
        return 0j, np.pi
    near = np.abs(np.angle(sides / sides.mean())) < AWAY[0]
    centre = complex(sides[near].mean()) if near.any() else complex(sides.mean())
    usual = float(np.median(np.abs(np.angle(sides / centre))))
    return centre, float(np.clip(5 * usual, *AWAY))


def _compare(seen: list[Seen]) -> None:
    """Warnings that need the other volumes: an RV on another side than in the rest, a heart that fills in systole."""
    centre, limit = _usual(seen)
    cavities = _cavities(seen)
    for item in seen:
        if item.side and centre and abs(np.angle(item.side / centre)) > limit:
            item.warnings.append(
                "the right ventricle is on another side than in the rest of the data set"
            )
        diastole = cavities.get((item.record.subject, "ED"))
        systole = (
            cavities.pop((item.record.subject, item.record.phase), 0.0)
            if item.record.phase == "ES"
            else 0.0
        )
        if diastole is not None and systole > diastole:
            item.warnings.append(
                "the LV cavity is larger at ES than at ED: are the phases swapped?"
            )


def checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
