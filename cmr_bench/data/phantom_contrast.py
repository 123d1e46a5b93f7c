"""What a scanner makes of tissues: balanced SSFP signal, coil shading, off-resonance bands, noise, artefacts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torchio as tio
from scipy.ndimage import gaussian_filter

from cmr_bench.data.phantom_scene import BLOOD, FAT, TISSUES, VENOUS

RELAXATION = {
    1.5: {
        "lung": (1200, 40), "fat": (290, 85), "muscle": (1010, 38), "liver": (580, 46), "spleen": (1060, 79),
        "gut": (900, 60), "fluid": (2600, 700), "myocardium": (1000, 47), "blood": (1480, 240), "venous": (1480, 160),
    },
    3.0: {
        "lung": (1400, 35), "fat": (370, 80), "muscle": (1410, 36), "liver": (810, 38), "spleen": (1330, 61),
        "gut": (1100, 50), "fluid": (3000, 600), "myocardium": (1180, 45), "blood": (1800, 200), "venous": (1800, 120),
    },
}  # fmt: skip
"""T1 and T2 (ms) at 1.5 and 3 T, rounded from Stanisz et al., MRM 54:507 (2005), de Bazelaire et al., Radiology 230:652
(2004), von Knobelsdorff-Brenkenhoff et al., JCMR 15:53 (2013); blood's T2 by oxygenation, Wright et al., JMRI 1:275 (1991)."""
DENSITY = {
    "air": 0.0,
    "lung": 0.3,
    "fat": 0.54,
    "liver": 0.85,
    "gut": 0.9,
    "blood": 1.15,
    "venous": 1.13,
}
"""Proton density beside water, 0.85 for a tissue not named; inflow lifts blood, fat is lowered to where ACDC has it."""


@dataclass(frozen=True)
class Vendor:
    """A scanner: field (T), flip angle (degrees), TR and TE (ms), noise SD as a share of blood signal, coil shading,
    in-plane resolution (mm), slice thickness and distance of neighbouring slices (mm)."""

    field: float
    flip: float
    tr: float
    noise: float
    shading: float
    resolution_mm: float
    slab_mm: float
    thickness_mm: float
    banding: float = 0.0


VENDORS = {
    "A": Vendor(1.5, 60, 3.2, 0.022, 0.50, 1.5, 8.0, 10.0),
    "B": Vendor(3.0, 45, 2.9, 0.018, 0.65, 1.3, 7.0, 10.0, banding=0.8),
    "C": Vendor(1.5, 50, 3.6, 0.034, 0.35, 2.0, 8.0, 9.0),
    "D": Vendor(3.0, 35, 3.8, 0.045, 0.95, 1.8, 6.0, 8.0, banding=1.0),
}


def bssfp(t1: float, t2: float, *, flip: float, tr: float) -> float:
    """Steady-state balanced SSFP on resonance, TE = TR / 2, for unit proton density (times in ms, flip in degrees).

    S = sin(a) (1 - E1) / (1 - (E1 - E2) cos(a) - E1 E2) * exp(-TE / T2); Scheffler and Lehnhardt, Eur Radiol 13:2409 (2003).
    """
    e1, e2, a = np.exp(-tr / t1), np.exp(-tr / t2), np.radians(flip)
    return float(
        np.sin(a) * (1 - e1) / (1 - (e1 - e2) * np.cos(a) - e1 * e2) * np.exp(-tr / (2 * t2))
    )


def signals(vendor: Vendor, rng: np.random.Generator) -> np.ndarray:
    """(len(TISSUES),) signal of each tissue in units of LV blood, with a subject's own spread of T1 and T2.

    Fat is negative: at TE = TR / 2 it is out of phase with water, hence the black line where the two share a voxel
    (Hargreaves, JMRI 36:1300, 2012).
    """
    times = RELAXATION[vendor.field]
    value = np.zeros(len(TISSUES), np.float32)
    for k, name in enumerate(TISSUES):
        spread = np.exp(0.06 * rng.standard_normal(2))
        if name in times:
            t1, t2 = times[name]
            flow = 1.0 if name not in ("blood", "venous") else np.exp(0.05 * rng.standard_normal())
            value[k] = (
                DENSITY.get(name, 0.85)
                * flow
                * bssfp(t1 * spread[0], t2 * spread[1], flip=vendor.flip, tr=vendor.tr)
            )
    value[VENOUS] = min(value[VENOUS], 0.97 * value[BLOOD])
    value[FAT] *= -1
    return value / value[BLOOD]


def pooled(fine: np.ndarray, factor: int) -> np.ndarray:
    """Mean over factor x factor cells: partial volume in the plane."""
    cells = [fine[..., i::factor, j::factor] for i in range(factor) for j in range(factor)]
    return sum(cells[1:], start=cells[0].astype(np.float32)) / factor**2


def shading(rng: np.random.Generator, strength: float, axis: np.ndarray) -> np.ndarray:
    """Sensitivity of a surface coil above the chest's left: bright near, falling off across the plane; mean about 1."""
    angle = rng.normal(-2.2, 0.5)
    towards = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    across = -np.sin(angle) * axis[None, :] + np.cos(angle) * axis[:, None]
    lobe = towards / 110 - rng.uniform(0, 0.5) * np.square(across / 110)
    return np.exp(strength * lobe).astype(np.float32)


def banding(rng: np.random.Generator, strength: float, axis: np.ndarray) -> np.ndarray:
    """bSSFP passband: signal is lost in stripes where off-resonance turns spins by pi a TR, far from the shimmed heart."""
    angle = rng.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]) / 100
    other = (-np.sin(angle) * axis[None, :] + np.cos(angle) * axis[:, None]) / 100
    turn = strength * rng.uniform(1.0, 4.0) * (along + 0.4 * other) ** 2 * np.sign(along)
    depth = np.square(np.cos(turn / 2))
    return np.sqrt(depth / (depth + 0.04)).astype(np.float32)


def scan(
    signal: np.ndarray, vendor: Vendor, rng: np.random.Generator, *, spacing_mm: float, factor: int
) -> np.ndarray:
    """(H, W) magnitude image of a complex signal (H factor, W factor): the scanner's point spread, the magnitude, the
    mean over the voxel, and Rician noise (Gudbjartsson and Patz, MRM 34:910, 1995) that falls with the voxel's size."""
    sharp = vendor.resolution_mm / 2.355 / (spacing_mm / factor)
    magnitude = pooled(np.abs(gaussian_filter(signal, sharp, truncate=2.5)), factor)
    noise = (
        vendor.noise
        * rng.standard_normal((2, *magnitude.shape))
        * min(1.0, vendor.resolution_mm / spacing_mm)
    )
    noise = gaussian_filter(noise, (0, *(2 * [0.3 * vendor.resolution_mm / spacing_mm])))
    return np.hypot(magnitude + noise[0], noise[1]).astype(np.float32)


def artefact(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mild pulsation ghost or a breath in the middle of the scan, by torchio; the draw is ours, so it is seeded."""
    tensor = torch.from_numpy(image)[None, :, :, None]
    transform: tio.Transform
    if rng.random() < 0.6:
        transform = tio.Ghosting(
            int(rng.integers(2, 6)), int(rng.integers(2)), rng.uniform(0.1, 0.45), 0.02
        )
    else:
        shift = (*tuple(rng.normal(0, 1.0, 2)), 0.0)
        transform = tio.Motion(
            degrees=np.array([[0.0, 0.0, rng.normal(0, 1.5)]]),
            translation=np.array([shift]),
            times=np.array([rng.uniform(0.55, 0.9)]),
            image_interpolation="linear",
        )
    return transform(tensor)[0, :, :, 0].numpy()
