"""Draws the phantom cohort into the same prepared folder that a data set on disk becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmr_bench.data.canaries import plant
from cmr_bench.data.leakage import fingerprint
from cmr_bench.data.phantom import PERCENTILES, Phantom, Subject
from cmr_bench.data.records import Record
from cmr_bench.data.splits import limited, split_subjects
from cmr_bench.data.stack import Stack
from cmr_bench.data.survey import Seen
from cmr_bench.data.writer import writing
from cmr_bench.interruption import flag
from cmr_bench.progress import each
from cmr_bench.store.files import atomic, write_json
from cmr_bench.types import LABELS, Count


def prepare_phantom(
    *,
    folder: str | Path,
    name: str = "phantom",
    subjects: Count = 64,
    size: int = 64,
    spacing_mm: float = 2.5,
    seed: int = 0,
    vendors: Sequence[str] = ("A", "B", "C"),
    pathologies: Sequence[str] = ("NOR", "DCM", "HCM", "MINF", "RV"),
    artefacts: float = 0.1,
    normalise: Mapping[str, Any] = PERCENTILES,
    split: Mapping[str, Any],
    limit: Count | None = None,
    canaries: int = 0,
) -> Path:
    """Writes `folder`/data.h5 and then `folder`/manifest.json, which holds each subject's true volumes and thickness.

    The arguments are Phantom's; `split`, `limit` and `canaries` mean what they mean for a data set on disk. Returns `folder`.
    """
    phantom = Phantom(
        subjects=subjects,
        size=size,
        spacing_mm=spacing_mm,
        seed=seed,
        vendors=vendors,
        pathologies=pathologies,
        artefacts=artefacts,
        normalise=normalise,
    )
    records = [
        Record(
            phantom.name(i),
            "",
            Path(),
            Path(),
            {},
            vendor=phantom.vendor(i),
            pathology=phantom.pathology(i),
        )
        for i in range(len(phantom))
    ]
    split = {"seed": seed, **split}
    sides = limited(split_subjects(records, **split), records, limit=limit, seed=split["seed"])
    folder = Path(folder)
    truth: list[dict[str, Any]] = []
    prints: list[Seen] = []
    with atomic(folder / "data.h5") as path, writing(path, size=size) as writer:
        chosen = [i for i, record in enumerate(records) if record.subject in sides]
        for i in each(chosen, "drawing the phantom"):
            flag.within()
            subject = phantom[i]
            side = sides[phantom.name(i)]
            writer.add(subject.images, subject.masks, subject.table.assign(split=side))
            truth.append({**subject.truth, "split": side})
            prints.extend(scans(subject, records[i], phantom.spacing_mm))
        planted = plant(
            writer,
            canaries,
            size=size,
            spacing_mm=phantom.spacing_mm,
            labels=(1, 2, 3),
            normalise=normalise,
            seed=split["seed"],
        )
        writer.close(spacing_mm=phantom.spacing_mm, labels=(1, 2, 3), prints=prints)
    manifest = {
        "name": name,
        "arguments": {
            "subjects": subjects, "size": size, "spacing_mm": spacing_mm, "seed": seed, "vendors": list(vendors),
            "pathologies": list(pathologies), "artefacts": artefacts, "normalise": dict(normalise), "split": split,
            "limit": limit, "canaries": canaries,
        },
        "labels": {str(label): LABELS[label] for label in (1, 2, 3)},
        "subjects": truth,
        **planted,
    }  # fmt: skip
    write_json(folder / "manifest.json", manifest)
    return folder


def scans(subject: Subject, record: Record, spacing_mm: float) -> Iterator[Seen]:
    """The subject's two volumes as the leakage gate knows them."""
    for rows in subject.table.groupby("phase").groups.values():
        image, mask = (np.moveaxis(stack[rows], 0, 2) for stack in (subject.images, subject.masks))
        thickness = float(subject.table["thickness_mm"].iloc[0])
        seen = fingerprint(Stack(image, mask, (spacing_mm, spacing_mm), thickness))
        cavity = float((mask == 1).sum() * spacing_mm**2 * thickness / 1000)
        yield Seen(record=record, fingerprint=seen, side=0j, cavity_ml=cavity, files={})
