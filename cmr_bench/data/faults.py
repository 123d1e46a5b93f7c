"""What is wrong with a data set: every fault in one pass, each with its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmr_bench.data.records import Reader, Record, present
from cmr_bench.data.stack import read, slice_axis, spacing

SPACING_MM = (0.1, 30.0)
SHOWN = 5
SPARSE = 101
DRIFT = 0.5
"""Image and mask may lie apart by at most this share of the smallest voxel side, in any corner."""


@dataclass(frozen=True)
class Fault:
    subject: str
    phase: str
    file: Path
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.text} ({self.subject} {self.phase})".replace(" )", ")")


def listing(reader: Reader, records: Sequence[Record]) -> list[Fault]:
    """Faults that show without opening a volume: two cases of one name, one file as two phases, a phase that a subject
    lacks."""
    faults = []
    first: dict[tuple[str, str, int | None], Record] = {}
    for record in records:
        twin = first.setdefault(record.place, record)
        if twin is not record:
            faults.append(
                Fault(*_of(record), record.image, f"duplicate subject: already in {twin.image}")
            )
    source: dict[tuple[Path, int | None], Record] = {}
    for record in (record for record in records if not record.problem):
        twin = source.setdefault((record.image, record.frame), record)
        if twin.phase != record.phase:
            text = f"{twin.phase} and {record.phase} are the same file and frame; correct one"
            faults.append(Fault(*_of(record), record.image, text))
    held: dict[str, set[str]] = {}
    unknown = {record.subject for record in records if record.problem and not record.phase}
    for record in (record for record in records if record.subject not in unknown):
        held.setdefault(record.subject, set()).add(record.phase)
    place = {record.subject: record.image.parent for record in records}
    for subject, phases in held.items():
        for phase in set(reader.phases) - phases:
            faults.append(Fault(subject, phase, place[subject], f"phase {phase} is missing"))
    return faults


def repeated(records: Sequence[Record]) -> set[int]:
    """Positions of records whose subject, phase and slice came before."""
    places = [record.place for record in records]
    first = {place: at for at, place in reversed(list(enumerate(places)))}
    return {at for at, place in enumerate(places) if first[place] < at}


def inspect(record: Record) -> tuple[list[Fault], tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
    """The faults of one record's two files, and (image, mask, affine) where there are none."""
    if record.problem:
        return [Fault(*_of(record), record.image, record.problem)], None
    faults, volumes = [], {}
    for kind, path in (("image", record.image), ("mask", record.mask)):
        try:
            if not present(path):
                raise ValueError(f"the {kind} is missing")
            volumes[kind] = read(path, record.frame)
        except ValueError as error:
            faults.append(Fault(*_of(record), path, str(error)))
    if "image" in volumes:
        faults += [
            Fault(*_of(record), record.image, text)
            for text in _image_faults(*volumes["image"], len(record.values))
        ]
    if "mask" in volumes:
        faults += [
            Fault(*_of(record), record.mask, text)
            for text in _mask_faults(volumes["mask"][0], record)
        ]
    if len(volumes) == 2:
        texts = pair_faults(*volumes["image"], *volumes["mask"])
        faults += [Fault(*_of(record), record.mask, text) for text in texts]
    if faults:
        return faults, None
    (image, affine), (mask, _) = volumes["image"], volumes["mask"]
    return [], (image, mask, affine)


def _of(record: Record) -> tuple[str, str]:
    return record.subject, record.phase


def _image_faults(image: np.ndarray, affine: np.ndarray, labels: int) -> Iterable[str]:
    wrong = int((~np.isfinite(image)).sum())
    if wrong:
        yield f"{wrong} voxels are NaN or infinite"
    elif image.size == 0 or np.ptp(image) == 0:
        yield "the image is empty: all voxels are equal"
    elif (number := _distinct(image, labels)) <= labels:
        yield f"the image has {number} distinct values alone: image and mask swapped, or the same?"
    sides = spacing(affine)
    known = sides[
        np.array(image.shape) > 1
    ]  # nothing lies across a single slice: 999 mm in nnU-Net's
    if (
        not np.isfinite(affine).all()
        or not ((known >= SPACING_MM[0]) & (known <= SPACING_MM[1])).all()
    ):
        yield f"voxel spacing {np.round(sides, 3).tolist()} mm is outside {SPACING_MM[0]} to {SPACING_MM[1]} mm"
        return
    try:
        slice_axis(image.shape, affine)
    except ValueError as error:
        yield str(error)


def _distinct(image: np.ndarray, enough: int) -> int:
    """The number of distinct values; where a sparse sample has more than enough of them, that of the sample."""
    number = len(np.unique(image.ravel()[::SPARSE]))
    return number if number > enough else len(np.unique(image))


def _mask_faults(mask: np.ndarray, record: Record) -> Iterable[str]:
    if not np.isfinite(mask).all():
        yield f"{int((~np.isfinite(mask)).sum())} labels are NaN or infinite"
        return
    counts = Counter(dict(zip(*np.unique(mask, return_counts=True), strict=True)))
    broken = sum(n for value, n in counts.items() if abs(value - round(float(value))) > 1e-3)
    if broken:
        yield f"{broken} labels are not integers (a mask resampled as an image?)"
        return
    unknown = sorted({round(float(value)) for value in counts} - set(record.values))
    if unknown:
        known = ", ".join(str(value) for value in sorted(record.values))
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        yield f"unknown label {', '.join(map(str, unknown[:SHOWN]))}{more}; this data set has {known}"
    elif not any(record.values[round(float(value))] for value in counts):
        yield "the mask is empty: no voxel is labelled"


def pair_faults(
    image: np.ndarray, affine: np.ndarray, mask: np.ndarray, mask_affine: np.ndarray
) -> Iterable[str]:
    if image.shape != mask.shape:
        yield f"shape {mask.shape} differs from the image's {image.shape}"
        return
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape], indexing="ij")).reshape(
        3, -1
    )
    gap = (
        affine[:3, :3] @ corners
        + affine[:3, 3:]
        - mask_affine[:3, :3] @ corners
        - mask_affine[:3, 3:]
    )
    distance = float(np.linalg.norm(gap, axis=0).max())
    if not distance <= DRIFT * spacing(affine).min():
        yield f"affine differs from the image's: corners lie {distance:.1f} mm apart"
