"""What makes a subject look like nobody else: tissue signals and smooth textures that all its slices and phases share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmr_bench.data.phantom_contrast import Vendor, banding, shading, signals
from cmr_bench.data.phantom_scene import BLOOD, FAT, LIVER, LUNG, MYO, TISSUES, VENOUS

TEXTURE = np.full(len(TISSUES), 0.10, np.float32)
TEXTURE[[BLOOD, VENOUS, MYO, FAT]] = 0.06, 0.08, 0.05, 0.14
"""SD of a tissue's signal from place to place, as a share of it."""


class Field:
    """A smooth random field in mm, standard normal at each point, of correlation length `scale`: f(z, y, x)."""

    def __init__(
        self, rng: np.random.Generator, *, scale: float, reach: float = 130.0, depth: float = 150.0
    ) -> None:
        self.scale = scale
        self.knots = np.arange(-reach, reach + scale, scale, dtype=np.float32)
        self.levels = np.arange(-scale * 2, depth + 2 * scale, max(scale, 8.0))
        self.values = rng.standard_normal(
            (len(self.levels), len(self.knots), len(self.knots))
        ).astype(np.float32)

    @staticmethod
    def _weights(at: np.ndarray, knots: np.ndarray, scale: float) -> np.ndarray:
        w = np.exp(-np.square((at[:, None] - knots) / (0.7 * scale)) / 2, dtype=np.float32)
        return w / np.sqrt(np.square(w).sum(axis=1, keepdims=True) + 1e-12)

    def __call__(self, z: float, axis: np.ndarray) -> np.ndarray:
        """(len(axis), len(axis)) on the grid of plane coordinates `axis`."""
        across = self._weights(axis, self.knots, self.scale)
        along = self._weights(np.array([z]), self.levels, max(self.scale, 8.0))[0]
        return across @ np.tensordot(along, self.values, axes=1) @ across.T


class Dots:
    """Round spots scattered in space, such as lung vessels: f(z, axis) is their sum, about 1 in the middle of each."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        count: int,
        radius: tuple[float, float],
        reach: float = 120.0,
    ) -> None:
        self.at = rng.uniform((-10, -reach, -reach), (130, reach, reach), (count, 3))
        self.drift = rng.normal(0, 0.5, (count, 2))
        self.radius = rng.uniform(*radius, count)
        self.height = rng.uniform(0.1, 1.0, (count, 1)) ** 2

    def __call__(self, z: float, axis: np.ndarray) -> np.ndarray:
        near = np.abs(self.at[:, 0] - z) < 14
        at, radius = self.at[near].astype(np.float32), self.radius[near].astype(np.float32)
        centre = at[:, 1:] + (z - at[:, :1]) * self.drift[near]
        centre = centre.astype(np.float32)
        rows, cols = (
            np.exp(-np.square((axis - c[:, None]) / radius[:, None]) / 2) for c in centre.T
        )
        return rows.T @ (cols * self.height[near].astype(np.float32))


@dataclass(frozen=True)
class Skin:
    """A subject's tissue signals (in units of LV blood), random fields, vessels and the coil's sensitivity."""

    signals: np.ndarray
    wide: Field
    grain: Field
    fine: Field
    lung_vessels: Dots
    liver_vessels: Dots
    coil: np.ndarray

    @classmethod
    def of(cls, rng: np.random.Generator, vendor: Vendor, axis: np.ndarray) -> Skin:
        return cls(
            signals=signals(vendor, rng),
            wide=Field(rng, scale=28.0),
            grain=Field(rng, scale=9.0),
            fine=Field(rng, scale=3.5),
            lung_vessels=Dots(rng, count=900, radius=(0.8, 2.2)),
            liver_vessels=Dots(rng, count=260, radius=(1.2, 3.0)),
            coil=shading(rng, vendor.shading, axis) * banding(rng, vendor.banding, axis),
        )

    def at(self, z: float, axis: np.ndarray) -> SkinPlane:
        fields = (self.wide, self.grain, self.fine, self.lung_vessels, self.liver_vessels)
        return SkinPlane(self.signals, self.coil, *(field(z, axis) for field in fields))


@dataclass(frozen=True)
class SkinPlane:
    """The Skin at one height, each field (n, n)."""

    signals: np.ndarray
    coil: np.ndarray
    wide: np.ndarray
    grain: np.ndarray
    fine: np.ndarray
    lung_vessels: np.ndarray
    liver_vessels: np.ndarray

    def paint(self, tissue: np.ndarray) -> np.ndarray:
        """Complex signal (n, n) of the tissues, real-valued: blood's flow, texture, vessels and coil included."""
        strength = TEXTURE[tissue]
        value = self.signals[tissue] * (
            1 + strength * (0.6 * self.wide + 0.7 * self.grain + 0.4 * self.fine)
        )
        value += np.where(tissue == LUNG, 1.0 * self.lung_vessels, 0) + np.where(
            tissue == LIVER, 0.6 * self.liver_vessels, 0
        )
        return value * self.coil
