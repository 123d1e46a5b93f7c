"""The beating heart of the phantom: LV cavity, wall and RV as star-shaped contours along the long axis.

Heart frame, mm: z = 0 at the end-diastolic base, growing to the apex; angles in radians about the LV axis, with the
septum at pi. Ventricles are truncated ellipsoids with low Fourier modes; systole shortens the long axis, empties the
cavities to their ejection fraction and thickens the wall so that the volume of the myocardium stays what it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

ANGLES = np.arange(360) * 2 * np.pi / 360
WAIST = 0.15
"""Share of the long axis, from the base, at which a ventricle is widest."""


@dataclass(frozen=True)
class Group:
    """Mean and SD of a pathology: volumes (ml), ejection fractions, mean ED wall (mm); `septal` and `thin` shape it."""

    lv_edv: tuple[float, float]
    lv_ef: tuple[float, float]
    wall: tuple[float, float]
    rv_edv: tuple[float, float]
    rv_ef: tuple[float, float]
    septal: tuple[float, float] = (0.0, 0.0)
    thin: tuple[float, float] = (0.0, 0.0)
    flat: tuple[float, float] = (0.0, 0.04)


GROUPS = {
    "NOR": Group((129, 26), (0.59, 0.05), (8.45, 1.0), (152, 34), (0.55, 0.06)),
    "DCM": Group((282, 46), (0.19, 0.06), (9.7, 1.2), (196, 58), (0.32, 0.10), (0.0, 0.05)),
    "HCM": Group((125, 30), (0.68, 0.06), (10.2, 1.6), (120, 28), (0.60, 0.07), (0.75, 0.25)),
    "MINF": Group((176, 36), (0.30, 0.07), (9.5, 0.8), (114, 30), (0.50, 0.08), thin=(0.45, 0.10)),
    "RV": Group((103, 30), (0.53, 0.06), (7.9, 1.3), (210, 40), (0.38, 0.08), flat=(0.12, 0.05)),
}


def draw(rng: np.random.Generator, mean: float, sd: float, low: float, high: float) -> float:
    """Normal draw kept within 2 SD and [low, high]."""
    return float(np.clip(mean + sd * np.clip(rng.standard_normal(), -2, 2), low, high))


def profile(z: np.ndarray, length: float) -> np.ndarray:
    """Radius along the axis of a ventricle, a slightly pointed ellipsoid: 1 at the waist, 0 at the apex at z = length.

    (1 - t^1.8)^0.65 with t from 0 at the waist to 1 at the apex; above the waist it narrows a little to the valves.
    """
    t = (z / length - WAIST) / (1 - WAIST)
    return np.where(t > 0, np.clip(1 - np.abs(t) ** 1.8, 0, 1) ** 0.65, 1 - 2.5 * t**2)


def blend(pair: np.ndarray, s: np.ndarray) -> np.ndarray:
    """(Z, 360) between the outline of the base and that of the apex, pair (2, 360), at s (Z, 1) from 0 to 1."""
    return pair[0] + (pair[1] - pair[0]) * np.clip(s, 0, 1)


def bump(centre: float, width: float) -> np.ndarray:
    """(360,) Gaussian window on the circle of angles."""
    return np.exp(-np.square((ANGLES - centre + np.pi) % (2 * np.pi) - np.pi) / (2 * width**2))


@dataclass(frozen=True)
class Ventricles:
    """Anatomy of one phase, mm and radians. The LV's cavity begins at z = `base`, the RV's `rv_start` below it.

    Outlines (`shape`, `wall`, `rv_shape`) are pairs (2, 360) for base and apex, blended in between.
    """

    base: float
    length: float
    radius: float
    shape: np.ndarray
    wall: np.ndarray
    scar: np.ndarray
    apex_wall: float
    rv_size: float
    rv_shape: np.ndarray
    rv_tilt: float
    rv_start: float
    rv_rise: float
    rv_horn: np.ndarray
    rv_reach: float

    @property
    def apex(self) -> float:
        """End of the LV wall on z."""
        return self.base + self.length + self.apex_wall

    def _depth(self, z: np.ndarray) -> np.ndarray:
        """(Z, 1) share of the cavity's length, 0 at the base, 1 at its apex."""
        return ((z - self.base) / self.length)[:, None]

    def _regional(self, z: np.ndarray) -> np.ndarray:
        """(Z, 360) wall in mm: basal wall tapering to the apex, thinned where the scar is."""
        s = self._depth(z)
        window = np.exp(-np.square((s - 0.6) / 0.35) / 2)
        return blend(self.wall, s) * (1.05 - 0.25 * np.clip(s, 0, 1)) * (1 - self.scar * window)

    def endo(self, z: np.ndarray) -> np.ndarray:
        """(Z, 360) mm: radius of the LV cavity, 0 beyond its apex."""
        return (
            profile(z - self.base, self.length)[:, None]
            * self.radius
            * blend(self.shape, self._depth(z))
        )

    def epi(self, z: np.ndarray) -> np.ndarray:
        """(Z, 360) mm: outer radius of the LV wall."""
        outer = profile(z - self.base, self.length + self.apex_wall)[:, None]
        return outer * (self.radius * blend(self.shape, self._depth(z)) + self._regional(z))

    def rv(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centres (Z, 2) as x, y and radii (Z, 360) mm about them; the RV is what of it lies outside the LV wall."""
        s = np.clip(self._depth(z) / self.rv_reach, 0, 1)
        septum = self.radius + float(self.wall.mean())
        outer = septum * profile(z - self.base, self.length + self.apex_wall)[:, None]
        depth = 0.8 * self.rv_size * septum * (1 - s**2)
        along = septum * (0.84 + 0.3 * self.rv_size) * np.sqrt(1 - s**3)
        across = (depth + 1.1 * outer) / 2
        local = ANGLES - self.rv_tilt
        radii = across * along / np.hypot(along * np.cos(local), across * np.sin(local) + 1e-9)
        x = across - outer - depth
        held = (s < 1) & (z[:, None] >= self.base + self.rv_start)
        outline = blend(self.rv_shape, s) + self.rv_horn * np.clip(1 - 2 * s, 0, 1)
        return np.concatenate(
            [x, outer * (0.05 - 1.5 * self.rv_rise * s)], axis=1
        ), radii * outline * held

    def levels(self, count: int = 40) -> tuple[np.ndarray, float]:
        """Midpoints on z from the base to the apex for quadrature, and their distance."""
        step = (self.apex - self.base) / count
        return self.base + (np.arange(count) + 0.5) * step, step

    def lv_ml(self) -> float:
        z, step = self.levels()
        return float(np.square(self.endo(z)).mean(axis=1).sum() * np.pi * step / 1000)

    def wall_ml(self) -> float:
        z, step = self.levels()
        outer, inner = np.square(self.epi(z)).mean(axis=1), np.square(self.endo(z)).mean(axis=1)
        return float((outer - inner).sum() * np.pi * step / 1000)

    def wall_mm(self) -> float:
        """Mean wall of the middle third, measured radially."""
        z = self.base + self.length * np.linspace(0.35, 0.65, 7)
        return float((self.epi(z) - self.endo(z)).mean())

    def rv_ml(self) -> float:
        """RV volume by polar quadrature about the RV centre, less what lies within the LV wall."""
        z, step = self.levels(20)
        centre, radii = self.rv(z)
        every = ANGLES[::6]
        share = (np.arange(24) + 0.5) / 24
        r = radii[:, ::6, None] * share
        x = centre[:, :1, None] + r * np.cos(every)[:, None]
        y = centre[:, 1:, None] + r * np.sin(every)[:, None]
        at = np.rint(np.degrees(np.arctan2(y, x))).astype(int) % 360
        outside = np.hypot(x, y) > self.epi(z)[np.arange(len(z))[:, None, None], at]
        area = (outside * r * radii[:, ::6, None]).sum(axis=(1, 2)) / 24 * (2 * np.pi / 60)
        return float(area.sum() * step / 1000)


def fourier(rng: np.random.Generator, amplitude: float, *, first: int = 2) -> np.ndarray:
    """(360,) positive outline: 1 plus modes `first` to 4 of falling random size."""
    modes = np.arange(first, 5)[:, None]
    size = amplitude * np.clip(rng.standard_normal(modes.shape), -2, 2) / modes
    return 1 + (size * np.cos(modes * ANGLES + rng.uniform(0, 2 * np.pi, modes.shape))).sum(axis=0)


def outlines(rng: np.random.Generator, amplitude: float, *, first: int = 2) -> np.ndarray:
    """(2, 360) outlines of base and apex, related but not the same."""
    base = fourier(rng, amplitude, first=first)
    return np.stack([base, 0.5 * (base + fourier(rng, amplitude, first=first))])


def solve(
    heart: Ventricles, volume: str, target: float, **bounds: tuple[float, float]
) -> Ventricles:
    """The heart with one scale (given by its bounds) chosen so that `volume`() meets the target, in ml."""
    ((name, (low, high)),) = bounds.items()
    start = getattr(heart, name)

    def scaled(k: float) -> Ventricles:
        return replace(heart, **{name: start * k})

    def error(k: float) -> float:
        return float(getattr(scaled(k), volume)() - target)

    if error(low) > 0 or error(high) < 0:
        return scaled(low if error(low) > 0 else high)
    return scaled(brentq(error, low, high, xtol=1e-4))


def diastole(rng: np.random.Generator, group: Group) -> Ventricles:
    """A subject's heart at end-diastole."""
    edv = draw(rng, *group.lv_edv, 50, 420)
    wall = draw(rng, *group.wall, 4.5, 16)
    septum = bump(np.pi + rng.normal(0.3, 0.25), 0.75)
    scar = draw(rng, *group.thin, 0, 0.65) * bump(rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.8))
    flat = 1 - draw(rng, *group.flat, -0.03, 0.25) * bump(np.pi, 0.6)
    septal = 1 + draw(rng, *group.septal, -0.1, 1.4) * septum
    horn = rng.uniform(0, 0.4) * bump(-1.7, 0.3) + rng.uniform(0, 0.25) * bump(1.9, 0.3)
    heart = Ventricles(
        base=0.0,
        length=88 * (edv / 129) ** 0.3 * draw(rng, 1, 0.05, 0.85, 1.15),
        radius=25.0,
        shape=outlines(rng, 0.07) * flat,
        wall=wall * outlines(rng, 0.27, first=1) * septal,
        scar=scar,
        apex_wall=0.8 * wall,
        rv_size=0.9,
        rv_shape=outlines(rng, 0.09),
        rv_tilt=rng.normal(0.0, 0.15),
        rv_start=max(0.0, rng.normal(0, 4)),
        rv_rise=rng.normal(0.22, 0.12),
        rv_horn=horn,
        rv_reach=draw(rng, 0.94, 0.04, 0.82, 1.02),
    )
    heart = replace(heart, radius=heart.radius * np.sqrt(edv / heart.lv_ml()))
    return solve(heart, "rv_ml", draw(rng, *group.rv_edv, 45, 330), rv_size=(0.3, 3.0))


def systole(rng: np.random.Generator, group: Group, ed: Ventricles) -> Ventricles:
    """The same heart at end-systole: base descends, outer apex stays, myocardium keeps its volume."""
    ef, rv_ef = draw(rng, *group.lv_ef, 0.05, 0.82), draw(rng, *group.rv_ef, 0.1, 0.75)
    length = ed.length * (1 - 0.24 * ef)
    tip = ed.apex_wall * (1 + 0.8 * ef)
    es = replace(
        ed,
        base=ed.apex - tip - length,
        length=length,
        apex_wall=tip,
        scar=np.clip(1.3 * ed.scar, 0, 0.75),
        rv_start=ed.rv_start + 3 * rng.random(),
    )
    es = replace(es, radius=es.radius * np.sqrt(ed.lv_ml() * (1 - ef) / es.lv_ml()))
    es = solve(es, "wall_ml", ed.wall_ml(), wall=(0.6, 3.0))
    return solve(es, "rv_ml", ed.rv_ml() * (1 - rv_ef), rv_size=(0.1, 3.0))
