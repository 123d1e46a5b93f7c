"""What a data set on disk offers: one record for each subject and phase, and the readers that list them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Record:
    """One annotated volume: a subject at end-diastole (ED) or end-systole (ES), or one slice of it, `slice`.

    `values` maps the label values of the mask file to LABELS; `frame` picks a time point of a 4-D file.
    `split` is the data set's own hint (train, val, test or ''); `problem` is what the reader itself found wrong;
    `told` is false where nothing tells the subject and the file's name stands for it.
    """

    subject: str
    phase: str
    image: Path
    mask: Path
    values: Mapping[int, int]
    frame: int | None = None
    vendor: str = ""
    centre: str = ""
    pathology: str = ""
    split: str = ""
    problem: str = ""
    slice: int | None = None
    told: bool = True

    @property
    def name(self) -> str:
        part = "" if self.slice is None else f"slice {self.slice}"
        return " ".join(filter(None, (self.subject, self.phase, part)))

    @property
    def place(self) -> tuple[str, str, int | None]:
        """What no other record of a data set may share."""
        return self.subject, self.phase, self.slice


class Reader(Protocol):
    """A data set's layout on disk. `labels` are the structures that it annotates, `phases` those each subject has."""

    labels: tuple[int, ...]
    phases: tuple[str, ...]

    def records(self) -> list[Record]:
        """All annotated volumes in a stable order; files that ought to exist are listed even if they do not."""
        ...

    def subjects(self) -> list[str]:
        return sorted({record.subject for record in self.records()})

    def files(self) -> list[Path]:
        """Every file that is there and that the prepared data depend on, once each."""
        volumes = {path for record in self.records() for path in (record.image, record.mask)}
        return sorted(path for path in volumes | set(self.tables()) if present(path))

    def notes(self) -> list[str]:
        """What the reader chose and a person should know."""
        return []

    def tables(self) -> list[Path]:
        """Files beside the volumes that say what they are."""
        return []


def folder(root: str | Path, layout: str) -> Path:
    """`root` as an existing folder, or one line that names the key and the expected layout."""
    path = Path(root).expanduser()
    if not path.is_dir():
        raise ValueError(f"data.root={root}: no such folder; expected {layout}")
    return path


def below(root: Path, *patterns: str) -> str:
    """Names the folder below `root` that holds what was looked for, or nothing."""
    found = (path.parent for pattern in patterns for path in sorted(root.glob(pattern)))
    place = next(found, None)
    return f" but {place} looks like one: give it as data.root" if place else ""


def listed(place: Path, pattern: str = "*") -> list[Path]:
    """What a folder holds under a pattern, sorted, without names that start with a dot; OSError if it cannot be read."""
    with os.scandir(place) as entries:
        names = [e.name for e in entries if not e.name.startswith(".") and fnmatch(e.name, pattern)]
    return [place / name for name in sorted(names)]


def barred(place: Path) -> str:
    """Why a folder that is there cannot be read, or nothing."""
    if place.is_symlink() and not place.exists():
        return "is a link to nothing"
    try:
        listed(place)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if os.access(place, os.X_OK) else "cannot be entered (no permission)"


def present(path: Path) -> bool:
    """Whether a file is there and its folder lets one see it."""
    try:
        return path.is_file()
    except OSError:
        return False


def nifti(stem: Path) -> Path:
    """The file `stem`.nii.gz, or `stem`.nii where only that exists."""
    plain, packed = stem.with_name(stem.name + ".nii"), stem.with_name(stem.name + ".nii.gz")
    return plain if present(plain) and not present(packed) else packed
