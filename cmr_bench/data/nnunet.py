"""nnU-Net raw folders (Isensee et al., Nature Methods 18, 2021), versions 1 and 2 of dataset.json."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cmr_bench.data.mnms import read_table
from cmr_bench.data.records import Reader, Record, below, folder, listed
from cmr_bench.types import LABELS

LAYOUT = "dataset.json with imagesTr/CASE_0000.nii.gz and labelsTr/CASE.nii.gz (nnU-Net raw)"
CASE = r"^(?P<subject>.+?)(?:[_-](?:(?P<phase>ED|ES|frame\d+)|(?:slice|z)(?P<slice>\d+)))*$"
"""SUBJECT, SUBJECT_ED, SUBJECT_frame01 (of two frames the larger heart is ED), each also with _slice03 or _z03 where a file is one slice."""
PHASES = {"ed": "ED", "diastole": "ED", "es": "ES", "systole": "ES"}
NAMES = {
    0: {"background", "bg", "bkg", "none", "unlabelled", "unlabeled"},
    1: {
        "lv", "lvc", "lvbp", "lvcavity", "lvbloodpool", "lvpool", "lvendo", "lvendocardium", "lvlumen", "endo",
        "leftventricle", "leftventricularcavity", "leftventriclecavity", "leftventricularbloodpool",
        "leftventriclebloodpool", "lvchamber", "bloodpool",
    },
    2: {
        "myo", "myocardium", "lvmyo", "lvm", "mlv", "lvmyocardium", "myocardiumlv", "myolv", "leftventricularmyocardium",
        "leftventriclemyocardium", "lvwall", "myocardiumofleftventricle", "lvepi", "myocard",
    },
    3: {
        "rv", "rvc", "rvbp", "rvcavity", "rvbloodpool", "rvpool", "rvendo", "rvendocardium", "rightventricle",
        "rightventricularcavity", "rightventriclecavity", "rightventricularbloodpool", "rightventriclebloodpool",
        "rvchamber",
    },
}  # fmt: skip
"""Names in use for our labels, letters only and in lower case."""


class NnUNet(Reader):
    """Any nnU-Net raw data set of short-axis volumes.

    Structures come from the label names of dataset.json (`names` overrides them, name -> lv, myo, rv or background);
    those that are not labelled are absent from `labels`. Subject and phase come from `cases.csv` (columns case, patient
    or subject, phase; optional slice, vendor, centre, group or pathology) and otherwise from `case`, a regular expression
    with the groups subject and, where a name has them, phase and slice. Of several channels `channel` is read.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        names: Mapping[str, str] | None = None,
        case: str | None = None,
        channel: int = 0,
        vendor: str = "",
        centre: str = "",
    ) -> None:
        self.root = folder(root, LAYOUT)
        if not (self.root / "dataset.json").is_file():
            inside = [path for path in listed(self.root) if (path / "dataset.json").is_file()]
            if len(inside) != 1:
                raise ValueError(
                    f"data.root={root}: {len(inside)} dataset.json below it"
                    f"{below(self.root, '*/*/dataset.json')}; expected {LAYOUT}"
                )
            self.root = inside[0]
        file = self.root / "dataset.json"
        try:
            description = json.loads(file.read_text(encoding="utf-8"))
            self.ending = str(description.get("file_ending", ".nii.gz"))
            self.channels = {
                str(number): str(name)
                for number, name in (
                    description.get("channel_names") or description.get("modality") or {"0": ""}
                ).items()
            }
            self.values = label_values(description["labels"], names or {}, file)
        except (
            json.JSONDecodeError,
            UnicodeDecodeError,
            KeyError,
            AttributeError,
            TypeError,
        ) as error:
            raise ValueError(
                f"{file}: not a dataset.json of nnU-Net ({type(error).__name__}: {error})"
            ) from error
        self.labels = tuple(sorted(set(self.values.values()) - {0}))
        self.taken = str(channel)
        if self.taken not in self.channels:
            raise ValueError(f"data.reader.channel={channel}: {file} has {self._channels()}")
        self.channel = f"_{channel:04d}{self.ending}"
        self.case = re.compile(case or CASE, re.IGNORECASE)
        self.vendor, self.centre = vendor, centre
        self.table = self._table()
        found = Counter(record.phase for record in set_of_first(self.records()))
        number = len(self.subjects())
        self.phases = tuple(phase for phase in ("ED", "ES") if found[phase] > number / 2)

    def records(self) -> list[Record]:
        found = [
            r for part, split in (("Tr", "train"), ("Ts", "test")) for r in self._part(part, split)
        ]
        if not found:
            raise ValueError(
                f"data.root={self.root}: no case in imagesTr and labelsTr whose name ends in {self.ending}, "
                f"the file_ending of dataset.json; expected {LAYOUT}"
            )
        there = {case for record in found for case in (record.mask.name, record.image.name)}
        if (self.root / "imagesTs").is_dir():
            there |= {path.name for path in listed(self.root / "imagesTs")}
        absent = [name for name in self.table if not self._files(name) & there]
        return found + [self._absent(name) for name in sorted(absent)]

    def _files(self, name: str) -> set[str]:
        return {f"{name}{self.channel}", f"{name}{self.ending}"}

    def _absent(self, name: str) -> Record:
        who, _ = self._who(name)
        place = self.root / "imagesTr" / f"{name}{self.channel}"
        problem = f"{self.tables()[1].name} has a row for {name}, but there is no such file"
        return Record(**who, image=place, mask=place, values=self.values, problem=problem)

    def notes(self) -> list[str]:
        if len(self.channels) == 1:
            return []
        taken = f"{self.taken} ({self.channels[self.taken]})"
        return [f"channel {taken} is taken of {self._channels()}; data.reader.channel chooses"]

    def _channels(self) -> str:
        return ", ".join(f"{number} ({name})" for number, name in self.channels.items())

    def tables(self) -> list[Path]:
        return [self.root / "dataset.json", self.root / "cases.csv"]

    def _part(self, part: str, split: str) -> Iterator[Record]:
        images, masks = self.root / f"images{part}", self.root / f"labels{part}"
        if not masks.is_dir():
            return
        channel = self.channel
        names = {path.name.removesuffix(self.ending) for path in listed(masks, f"*{self.ending}")}
        if images.is_dir():
            names |= {path.name.removesuffix(channel) for path in listed(images, f"*{channel}")}
        for name in sorted(names):
            who, row = self._who(name)
            unlisted = f"has no row in {self.root / 'cases.csv'}; add one"
            yield Record(
                **who,
                problem=unlisted if self.table and name not in self.table else "",
                image=images / f"{name}{channel}",
                mask=masks / f"{name}{self.ending}",
                values=self.values,
                vendor=row.get("vendor") or self.vendor,
                centre=row.get("centre") or row.get("center") or self.centre,
                pathology=row.get("pathology") or row.get("group") or "",
                split=split if (self.root / "labelsTs").is_dir() else "",
            )

    def _who(self, name: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Subject, phase and slice of a case, whether they were told, and its row."""
        row = self.table.get(name, {})
        match = self.case.match(name)
        read = match.groupdict(default="") if match else {}
        subject = row.get("subject") or row.get("patient") or read.get("subject") or name
        phase = row.get("phase") or read.get("phase") or ""
        number = (row.get("slice") or read.get("slice") or "").removesuffix(".0")
        who = {
            "subject": subject,
            "phase": PHASES.get(phase.lower(), phase),
            "slice": int(number) if number.isdigit() else None,
            "told": bool(row) or subject != name,
        }
        return who, row

    def _table(self) -> dict[str, dict[str, str]]:
        """{case: its row}; ValueError where a case has two."""
        file = self.root / "cases.csv"
        if not file.is_file():
            return {}
        rows: dict[str, dict[str, str]] = {}
        for row in read_table(file, ("case",), lower=True):
            name = row["case"].removesuffix(self.ending).removesuffix("_0000")
            if name in rows:
                raise ValueError(f"{file}: two rows for case {name}; keep one")
            rows[name] = row
        return rows


def set_of_first(records: list[Record]) -> list[Record]:
    """One record for each subject and phase."""
    return list({(record.subject, record.phase): record for record in records}.values())


def label_values(
    labels: Mapping[str, object], names: Mapping[str, str], file: Path
) -> dict[int, int]:
    """{value in the mask: index in LABELS} from either {"0": name} (version 1) or {name: 0} (version 2)."""
    own = {plain(name): target.lower() for name, target in names.items()}
    values: dict[int, int] = {}
    for key, entry in labels.items():
        if isinstance(entry, list):
            raise ValueError(
                f"{file}: label {key} is a region of several values {entry}; give one value a structure"
            )
        name, value = (str(entry), key) if str(key).isdigit() else (str(key), str(entry))
        if not value.isdigit():
            raise TypeError(f"label {name} has the value {value}")
        target = own.get(plain(name))
        if target is not None and target not in LABELS:
            raise ValueError(
                f"data.reader.names: {name} -> {target}; choose one of {', '.join(LABELS)}"
            )
        if target is None and plain(name) == "ignore":
            raise ValueError(
                f"{file}: label 'ignore' marks pixels that nobody labelled, which cannot be judged; leave such cases "
                "out, or count them as background with data.reader.names={ignore: background}"
            )
        ours = LABELS.index(target) if target else _known(name)
        if ours is None:
            raise ValueError(
                f"{file}: label name '{name}' is unknown; map it with data.reader.names={{'{name}': lv}}"
            )
        values[int(value)] = ours
    return {0: 0} | values


def plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _known(name: str) -> int | None:
    return next((label for label, known in NAMES.items() if plain(name) in known), None)
