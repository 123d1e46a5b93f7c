"""Turns a data set on disk into slices of one spacing, size, orientation and intensity range in one HDF5 file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cmr_bench.data.canaries import plant
from cmr_bench.data.faults import Fault
from cmr_bench.data.grid import CROPS, UNITS, window
from cmr_bench.data.grid import normalise as scale
from cmr_bench.data.leakage import Twin, refuse_overlap, twins
from cmr_bench.data.records import Reader
from cmr_bench.data.splits import SPLITS, limited, split_subjects
from cmr_bench.data.stack import Stack, load
from cmr_bench.data.survey import Seen, mixed, quarter_turns, survey
from cmr_bench.data.writer import writing
from cmr_bench.interruption import flag
from cmr_bench.progress import each
from cmr_bench.store.files import atomic, write_json
from cmr_bench.types import LABELS, LEVELS, Count

log = logging.getLogger(__name__)
CUT = 0.1
"""Share of a structure outside the crop above which a volume has a warning."""


def prepare(
    reader: Reader,
    *,
    folder: str | Path,
    name: str,
    root: str | Path,
    spacing_mm: float,
    size: int,
    crop: str,
    normalise: Mapping[str, Any],
    slices: str = "labelled",
    on_fault: str = "refuse",
    split: Mapping[str, Any],
    limit: Count | None = None,
    canaries: int = 0,
) -> Path:
    """Writes `folder`/data.h5 and then `folder`/manifest.json; each is whole or absent. Returns `folder`.

    `slices=labelled` keeps the slices with a label: where a stack's labels end is the annotator's convention, and a
    generator conditioned on an empty mask has nothing to follow; the manifest counts what was left out. `all` keeps
    every slice, so that a segmenter's false positives beyond the labels count. `canaries` phantom subjects are planted
    beside the patients, in a split of their own (`canaries.py`).
    """
    for key, value, allowed in (
        ("on_fault", on_fault, ("refuse", "skip")),
        ("slices", slices, ("labelled", "all")),
        ("crop", crop, CROPS),
        ("normalise.per", normalise.get("per"), UNITS),
    ):
        if value not in allowed:
            raise ValueError(f"data.{key}={value}: choose one of {', '.join(allowed)}")
    seen, faults = survey(reader)
    if faults and on_fault == "refuse":
        lines = "\n  ".join(map(str, faults))
        raise ValueError(
            f"{name}: {len(faults)} faults (data.on_fault=skip leaves these cases out):\n  {lines}"
        )
    if not seen:
        raise ValueError(
            f"{name}: no case without a fault is left in {root}; the first is {faults[0]}"
        )
    same = twins(
        ([item.record.subject for item in seen], np.stack([item.fingerprint for item in seen]))
    )
    sides = _sides(seen, same, split=split, limit=limit)
    warnings = [str(twin) + _kept(twin, sides) for twin in same]
    warnings += [f"{item.record.name}: {text}" for item in seen for text in item.warnings]
    warnings += mixed(seen) + reader.notes()
    for text in warnings:
        log.warning("%s: %s", name, text)
    turns = quarter_turns(seen)
    kept = [item for item in seen if item.record.subject in sides]
    folder = Path(folder)
    manifest: dict[str, Any] = {
        "name": name,
        "arguments": {
            "spacing_mm": spacing_mm, "size": size, "crop": crop, "normalise": dict(normalise), "slices": slices,
            "on_fault": on_fault, "split": dict(split), "limit": limit, "canaries": canaries,
        },
        "labels": {str(label): LABELS[label] for label in reader.labels},
        "quarter_turns": turns,
        "warnings": warnings,
        "twins": [[twin.first, twin.second, twin.likeness] for twin in same],
        "faults": [_fault(fault, Path(root)) for fault in faults],
        "volumes": [],
    }  # fmt: skip
    with atomic(folder / "data.h5") as path, writing(path, size=size) as writer:
        for item in each(kept, "preparing"):
            flag.within()
            stack = load(item.record).turned(turns)
            images, masks, lost = window(stack, spacing_mm=spacing_mm, size=size, crop=crop)
            item.warnings += _cut(lost)
            table = _table(stack, item, sides[item.record.subject], every=slices == "all")
            rows = table.pop("position").to_numpy()
            writer.add(scale(images, **normalise)[rows], masks[rows], table)
            manifest["volumes"].append(_volume(item, stack, table, lost, Path(root)))
        manifest |= plant(
            writer,
            canaries,
            size=size,
            spacing_mm=spacing_mm,
            labels=reader.labels,
            normalise=normalise,
            seed=split["seed"],
        )
        writer.close(spacing_mm=spacing_mm, labels=reader.labels, prints=kept)
    fresh = [f"{item.record.name}: {text}" for item in kept for text in item.warnings]
    for text in (text for text in fresh if text not in warnings):
        warnings.append(text)
        log.warning("%s: %s", name, text)
    manifest["outside"] = outside(manifest["volumes"])
    write_json(folder / "manifest.json", manifest)
    return folder


def _sides(
    seen: Sequence[Seen], same: Sequence[Twin], *, split: Mapping[str, Any], limit: int | None
) -> dict[str, str]:
    records = [item.record for item in seen]
    drawn = split_subjects(records, together=[(twin.first, twin.second) for twin in same], **split)
    sides = limited(drawn, records, limit=limit, seed=split["seed"])
    refuse_overlap({name: [s for s, side in sides.items() if side == name] for name in SPLITS})
    return sides


def _cut(lost: np.ndarray) -> list[str]:
    """A warning where the crop loses much of a structure."""
    shares = {LABELS[k]: cut / whole for k, (cut, whole) in enumerate(lost) if k and whole}
    much = [f"{100 * share:.0f} % of {name}" for name, share in shares.items() if share > CUT]
    if not much:
        return []
    return [f"the crop loses {', '.join(much)}; enlarge data.size or data.spacing_mm"]


def _kept(twin: Twin, sides: Mapping[str, str]) -> str:
    where = sides.get(twin.first) or sides.get(twin.second)
    return f"; both are kept in {where}" if where else "; both are left out"


def _table(stack: Stack, item: Seen, side: str, *, every: bool) -> pd.DataFrame:
    """One row a slice that is kept; `slice` counts from the most basal labelled one, or is the file's own."""
    labelled = np.flatnonzero((stack.mask > 0).any(axis=(0, 1)))
    first, number = labelled[0], labelled[-1] - labelled[0] + 1
    rows = np.arange(stack.mask.shape[2]) if every else labelled
    thirds = np.clip((rows - first + 0.5) / number * 3, 0, 2.5).astype(int)
    record = item.record
    return pd.DataFrame(
        {
            "position": rows,
            "subject": record.subject,
            "phase": record.phase,
            "slice": rows - first + (record.slice or 0),
            "level": [LEVELS[third] for third in thirds],
            "vendor": record.vendor,
            "centre": record.centre,
            "pathology": record.pathology,
            "thickness_mm": stack.thickness_mm,
            "split": side,
        }
    )


def _volume(
    item: Seen, stack: Stack, table: pd.DataFrame, lost: np.ndarray, root: Path
) -> dict[str, Any]:
    record = item.record
    labelled = int((stack.mask > 0).any(axis=(0, 1)).sum())
    return {
        "subject": record.subject,
        "phase": record.phase,
        "split": str(table["split"].iloc[0]),
        "vendor": record.vendor,
        "centre": record.centre,
        "pathology": record.pathology,
        "files": {_short(path, root): value for path, value in item.files.items()},
        "frame": record.frame,
        "shape": list(stack.image.shape),
        "spacing_mm": [*stack.spacing_mm, stack.thickness_mm],
        "levels": table["level"].tolist(),
        "slices": len(table),
        "slices_unlabelled": stack.mask.shape[2] - labelled,
        "outside": {LABELS[k]: lost[k].tolist() for k in range(1, len(LABELS)) if lost[k, 1]},
        "warnings": item.warnings,
    }


def outside(volumes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Share of the labelled voxels of each structure that lie outside the crop, over all volumes."""
    counts = {name: np.zeros(2) for volume in volumes for name in volume["outside"]}
    for volume in volumes:
        for name, pair in volume["outside"].items():
            counts[name] += pair
    return {name: float(lost / total) for name, (lost, total) in sorted(counts.items())}


def _fault(fault: Fault, root: Path) -> dict[str, str]:
    return {
        "subject": fault.subject,
        "phase": fault.phase,
        "file": _short(fault.file, root),
        "fault": fault.text,
    }


def _short(path: Path, root: Path) -> str:
    """The path below the data set's folder: the same data in another place have the same manifest."""
    full, base = path.absolute(), root.expanduser().absolute()
    return str(full.relative_to(base)) if full.is_relative_to(base) else str(full)
