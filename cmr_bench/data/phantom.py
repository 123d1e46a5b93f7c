"""The embedded data set: a parametric short-axis cohort with exact ground truth, no download, any number of subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmr_bench.data.grid import normalise as scale
from cmr_bench.data.phantom_anatomy import GROUPS, Ventricles, diastole, systole
from cmr_bench.data.phantom_contrast import VENDORS, artefact, pooled, scan
from cmr_bench.data.phantom_scene import Thorax, organs, place
from cmr_bench.data.phantom_texture import Skin
from cmr_bench.seeds import numpy_rng
from cmr_bench.types import LABELS, LEVELS

PERCENTILES = {"per": "volume", "low": 0.5, "high": 99.5}
LABEL_VALUES = np.arange(len(LABELS), dtype=np.uint8)[:, None, None]
FINE_MM = 0.85
"""Pixel of the fine grid on which tissues are laid out; 1 to 3 times 1 to 3 of them are averaged into a voxel."""


@dataclass(frozen=True)
class Subject:
    """A subject's stacks (slices of ED, then of ES), their table, and the truth of the continuous anatomy."""

    images: np.ndarray
    masks: np.ndarray
    table: pd.DataFrame
    truth: dict[str, float | str]


class Phantom:
    """Subject i is a function of (seed, i) alone: it does not change with the number of subjects.

    Pathologies and vendors take turns, so that each vendor meets each pathology; `subjects` only says how many there are.
    """

    def __init__(
        self,
        *,
        subjects: int = 64,
        size: int = 64,
        spacing_mm: float = 2.5,
        seed: int = 0,
        vendors: Sequence[str] = ("A", "B", "C"),
        pathologies: Sequence[str] = ("NOR", "DCM", "HCM", "MINF", "RV"),
        artefacts: float = 0.1,
        normalise: Mapping[str, Any] = PERCENTILES,
    ) -> None:
        for key, given, known in (
            ("vendors", vendors, VENDORS),
            ("pathologies", pathologies, GROUPS),
        ):
            unknown = sorted(set(given) - set(known))
            if unknown or not given:
                raise ValueError(f"data.{key}={list(given)}: choose among {', '.join(known)}")
        if subjects < 1 or size < 16 or spacing_mm <= 0:
            raise ValueError(
                f"data.subjects={subjects} (at least 1), data.size={size} (at least 16), "
                f"data.spacing_mm={spacing_mm} (above 0)"
            )
        self.subjects, self.size, self.spacing_mm, self.seed = (
            subjects,
            size,
            float(spacing_mm),
            seed,
        )
        self.vendors, self.pathologies = tuple(vendors), tuple(pathologies)
        self.artefacts, self.normalise = artefacts, dict(normalise)
        self.factor = int(np.clip(round(spacing_mm / FINE_MM), 1, 3))
        fine = self.size * self.factor
        self.axis = (
            (np.arange(fine) - (fine - 1) / 2).astype(np.float32) * self.spacing_mm / self.factor
        )

    def __len__(self) -> int:
        return self.subjects

    def name(self, index: int) -> str:
        return f"phantom{self.seed}-{index:05d}"

    def pathology(self, index: int) -> str:
        return self.pathologies[index % len(self.pathologies)]

    def vendor(self, index: int) -> str:
        return self.vendors[index // len(self.pathologies) % len(self.vendors)]

    def __getitem__(self, index: int) -> Subject:
        if not 0 <= index < self.subjects:
            raise IndexError(index)
        pathology, name = self.pathology(index), self.vendor(index)
        rng = numpy_rng(self.seed, "phantom", index, "anatomy")
        ed = diastole(rng, GROUPS[pathology])
        es = systole(rng, GROUPS[pathology], ed)
        thorax = Thorax.of(rng, ed)
        heights = self._heights(ed, VENDORS[name].thickness_mm, rng)
        hearts = {"ED": ed, "ES": es}
        who: dict[str, float | str] = {
            "subject": self.name(index),
            "vendor": name,
            "centre": f"{name}{1 + index % 2}",
            "pathology": pathology,
            "thickness_mm": VENDORS[name].thickness_mm,
        }
        images, masks, tables = [], [], []
        for (phase, heart), image, mask in zip(
            hearts.items(), *self._render(hearts, thorax, heights, name, index), strict=True
        ):
            kept = np.flatnonzero(mask.any(axis=(1, 2)))
            share = (heights[kept] - heart.base) / (heart.apex - heart.base)
            level = np.select([share < 1 / 3, share < 2 / 3], [*LEVELS[:2]], LEVELS[2])
            tables.append(
                pd.DataFrame({**who, "phase": phase, "slice": kept - kept[0], "level": level})
            )
            images.append(scale(image, **self.normalise)[kept])
            masks.append(mask[kept])
        truth = {
            "edv_ml": ed.lv_ml(),
            "esv_ml": es.lv_ml(),
            "ef": 1 - es.lv_ml() / ed.lv_ml(),
            "rv_edv_ml": ed.rv_ml(),
            "rv_esv_ml": es.rv_ml(),
            "myocardium_ml": ed.wall_ml(),
            "wall_ed_mm": ed.wall_mm(),
            "wall_es_mm": es.wall_mm(),
        }
        table = pd.concat(tables, ignore_index=True)
        return Subject(np.concatenate(images), np.concatenate(masks), table, {**who, **truth})

    @staticmethod
    def _heights(ed: Ventricles, thickness_mm: float, rng: np.random.Generator) -> np.ndarray:
        """Heights of the slices on the heart's axis, base first."""
        start = rng.uniform(0, 1) * thickness_mm
        last = ed.apex + rng.uniform(-0.8, 0.1) * thickness_mm
        return np.arange(start, last, thickness_mm)

    def _render(
        self,
        hearts: Mapping[str, Ventricles],
        thorax: Thorax,
        heights: np.ndarray,
        name: str,
        index: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Magnitude images of slabs and masks of their middle planes (phase, slice, H, W).

        Both phases share organs and textures.
        """
        vendor = VENDORS[name]
        skin = Skin.of(numpy_rng(self.seed, "phantom", index, "skin"), vendor, self.axis)
        shape = (len(hearts), len(heights), self.size, self.size)
        images, masks = np.empty(shape, np.float32), np.empty(shape, np.uint8)
        for k, z in enumerate(heights):
            signal = np.zeros((len(hearts), len(self.axis), len(self.axis)), np.float32)
            for at in z + vendor.slab_mm * np.array([-0.25, 0.25]):
                x, y = thorax.frame(at, self.axis)
                look = skin.at(at, self.axis)
                around = organs(thorax, at, x, y, wide=look.wide, fine=look.grain)
                for p, heart in enumerate(hearts.values()):
                    where = {"x": x, "y": y, "around": around, "fine": look.fine}
                    signal[p] += look.paint(place(heart, thorax, z=at, **where)[0]) / 2
            x, y = thorax.frame(z, self.axis)
            for p, heart in enumerate(hearts.values()):
                label = place(heart, thorax, z=z, **{**where, "x": x, "y": y})[1]
                masks[p, k] = pooled(label == LABEL_VALUES, self.factor).argmax(axis=0)
            for p, phase in enumerate(hearts):
                rng = numpy_rng(self.seed, "phantom", index, phase, k)
                images[p, k] = scan(
                    signal[p], vendor, rng, spacing_mm=self.spacing_mm, factor=self.factor
                )
                if rng.random() < self.artefacts:
                    images[p, k] = artefact(images[p, k], rng)
        return images, masks
