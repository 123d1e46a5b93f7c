"""A thorax around the heart of the phantom: which tissue lies at each point of a short-axis plane.

Plane coordinates in mm about the image centre, columns to the right, rows down, as on a scanner's screen: RV on the
left, anterior chest wall on top, lung to the upper right, liver, stomach and spleen below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmr_bench.data.phantom_anatomy import Ventricles, bump

LINING = 0.6
"""Trabecular lining of a cavity (mm): muscle that observers count to the cavity."""
TISSUES = (
    "air",
    "lung",
    "fat",
    "muscle",
    "liver",
    "spleen",
    "gut",
    "fluid",
    "myocardium",
    "blood",
    "venous",
)
AIR, LUNG, FAT, MUSCLE, LIVER, SPLEEN, GUT, FLUID, MYO, BLOOD, VENOUS = range(len(TISSUES))
"""`blood` is the LV's and the aorta's; `venous` the RV's and the vessels', darker for its lower oxygenation."""


@dataclass(frozen=True)
class Thorax:
    """Where a subject's organs lie about the heart, in mm and radians; `of` draws them."""

    turn: float
    centre: tuple[float, float]
    lean: tuple[float, float]
    body: tuple[float, float, float, float]
    taper: float
    fat: float
    muscle: float
    midline: float
    clear: float
    grooves: tuple[float, float]
    pad: float
    diaphragm: tuple[float, float, float, float]
    liver: float
    stomach: tuple[float, float, float, float, float]
    gut: int
    spleen: tuple[float, float, float]
    aorta: tuple[float, float, float]
    papillae: tuple[float, float, float, float]
    trabeculae: tuple[float, float]

    @classmethod
    def of(cls, rng: np.random.Generator, heart: Ventricles) -> Thorax:
        u = rng.uniform
        below = float(heart.epi(np.array([heart.length * 0.4]))[0].mean()) + u(2, 7)
        return cls(
            turn=rng.normal(0.0, 0.35),
            centre=(rng.normal(0, 9), rng.normal(0, 9)),
            lean=(u(-0.05, 0.20), u(-0.05, 0.15)),
            body=(u(85, 125), u(125, 165), u(70, 110), u(125, 155)),
            taper=u(0.1, 0.35),
            fat=u(4, 22),
            muscle=u(6, 14),
            midline=u(15, 60),
            clear=u(-1.0, 1.0),
            grooves=(u(2, 8), u(2, 8)),
            pad=u(0.8, 3.5),
            diaphragm=(below, u(-0.05, 0.35), u(10, 40), u(0.05, 0.3)),
            liver=u(-15, 60),
            stomach=(u(28, 60), u(14, 30), u(20, 36), u(14, 28), u(2, 5)),
            gut=int(rng.choice((GUT, FLUID, LUNG, MUSCLE))),
            spleen=(u(70, 95), u(20, 45), u(22, 38)),
            aorta=(u(5, 35), u(14, 36), u(9, 13)),
            papillae=(u(0.5, 1.1), -u(0.7, 1.3), u(3.5, 5.5), u(3.5, 5.5)),
            trabeculae=(u(0.5, 1.2), u(0.8, 1.5)),
        )

    def frame(self, z: float, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Plane coordinates (n, n) turned and shifted so that the LV axis is the origin; it leans with z."""
        x = axis[None, :] - self.centre[0] - self.lean[0] * (z - 40)
        y = axis[:, None] - self.centre[1] - self.lean[1] * (z - 40)
        c, s = np.cos(self.turn), np.sin(self.turn)
        return (c * x + s * y).astype(np.float32), (c * y - s * x).astype(np.float32)


def organs(
    thorax: Thorax, z: float, x: np.ndarray, y: np.ndarray, *, wide: np.ndarray, fine: np.ndarray
) -> np.ndarray:
    """Tissue (n, n) uint8 around the heart; (x, y) about the LV axis, `wide` and `fine` are Fields that roughen it."""
    skin_x, skin_y = x + 1.5 * wide, y + 1.5 * wide[::-1, ::-1]
    x, y = x + 3.5 * wide + 1.2 * fine, y + 3.0 * wide[::-1, ::-1] - 1.2 * fine
    left, right, top, bottom = thorax.body
    shrink = thorax.taper * z
    half_x, half_y = (right + left - shrink) / 2, (bottom + top - shrink) / 2
    dx, dy = (
        np.abs(skin_x - (right - left + shrink) / 2) / half_x,
        np.abs(skin_y - (bottom - top + shrink) / 2) / half_y,
    )
    rim = (dx * dx * np.sqrt(dx) + dy * dy * np.sqrt(dy)) ** 0.4  # a superellipse
    inward = (1 - rim) * min(half_x, half_y)
    tissue = np.full(x.shape, LUNG, np.uint8)

    start, slope, bend, fall = thorax.diaphragm
    floor = (
        start
        - 0.12 * (z - 40)
        + slope * np.maximum(x - bend, 0)
        + fall * np.maximum(-x - 20, 0) * 0.5
    )
    depth = y - floor
    tissue[(x < -thorax.midline + 0.25 * y) & (wide + 0.8 * fine > thorax.clear)] = FAT
    tissue[depth > 0] = MUSCLE
    belly = depth > 2.5
    tissue[belly] = np.where(wide + 0.6 * fine > 0.1, FAT, GUT)[belly]
    tissue[(depth > 3) & (x < thorax.liver + 0.3 * y)] = LIVER
    sx, sy, spread = thorax.spleen
    tissue[np.square((x - sx) / spread) + np.square((depth - sy) / (0.8 * spread)) < 1] = SPLEEN
    px, py, pa, pb, coat = thorax.stomach
    hull, size = np.hypot((x - px) / pa, (y - start - py) / pb), 0.75 + 0.004 * z
    tissue[hull < size] = MUSCLE
    tissue[hull < size - coat / pb] = thorax.gut
    if z < 35:
        ax, ay, ar = thorax.aorta
        vessel = np.hypot(x - ax, y - start - ay - 0.3 * z)
        tissue[vessel < ar + 1.5] = MUSCLE
        tissue[vessel < ar] = BLOOD

    wall = thorax.fat + thorax.muscle
    tissue[inward < wall] = MUSCLE
    tissue[(inward > thorax.fat + 1.5) & (inward < wall - 1.5) & (fine + 0.5 * wide > 0.75)] = FAT
    tissue[inward < thorax.fat] = FAT
    tissue[inward < 1.2] = MUSCLE
    tissue[inward < 0] = AIR
    return tissue


def degrees(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Index of ANGLES at each point."""
    return np.rint(np.degrees(np.arctan2(y, x))).astype(np.int16) % 360


def place(
    heart: Ventricles,
    thorax: Thorax,
    *,
    z: float,
    x: np.ndarray,
    y: np.ndarray,
    around: np.ndarray,
    fine: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Tissue and label (n, n) uint8 with the heart put into the tissues `around` it, at height z; x, y about the LV axis.

    Above the base the atria follow, unlabelled.
    Papillary muscles and trabeculae are muscle in the image and cavity in the label, as ACDC's observers draw them.
    """
    tissue, label = around.copy(), np.zeros(around.shape, np.uint8)
    if z > heart.apex:
        return tissue, label
    atrial = z < heart.base
    at = np.array([max(z, heart.base)])
    r, angle = np.hypot(x, y), degrees(x, y)
    epi, endo = (c[0].astype(np.float32) for c in (heart.epi(at), heart.endo(at)))
    epi = endo + 2 if atrial else epi
    (centre,), (radii,) = heart.rv(at)
    rx, ry = x - np.float32(centre[0]), y - np.float32(centre[1])
    within = radii.astype(np.float32)[degrees(rx, ry)] - np.hypot(rx, ry)
    within = within if radii.any() else np.full_like(r, -100)
    beyond = r - epi[angle]
    shallow = endo[angle] - r

    upper, lower = thorax.grooves
    groove = 0.6 + upper * bump(-1.9, 0.3) + lower * bump(1.9, 0.3)
    tissue[(beyond < groove.astype(np.float32)[angle]) | (within > -2.5 - thorax.pad)] = FAT
    tissue[within > -2.5] = MYO
    right = within > 0
    tissue[within > LINING] = VENOUS
    tissue[right & (fine * thorax.trabeculae[1] > 0.55 + 0.13 * within)] = MYO
    label[right] = 3
    wall, cavity = beyond < 0, shallow > 0
    tissue[wall], label[wall] = MYO, 2
    tissue[shallow > LINING], label[cavity] = BLOOD, 1
    if atrial:
        return tissue, np.zeros_like(label)
    s = (z - heart.base) / heart.length
    tissue[cavity & (fine * thorax.trabeculae[0] * (0.5 + s) > 0.7 + 0.3 * shallow)] = MYO
    if 0.2 < s < 0.9:
        mean = float(endo.mean())
        for side, size in zip(thorax.papillae[:2], thorax.papillae[2:], strict=True):
            size = min(size * np.sqrt(1 - ((s - 0.55) / 0.4) ** 2), 0.4 * mean)
            stand = mean - size * (1.7 - s)
            spot = np.hypot(x - stand * np.cos(side), y - stand * np.sin(side))
            tissue[cavity & (spot < size * (1 + 0.2 * fine))] = MYO
    return tissue, label
