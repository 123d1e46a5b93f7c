"""How numbers are written: digits, units, counts."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd

ARROWS = {"higher": "↑", "lower": "↓"}

UNITS = {
    r"paper.*(?:hd95|asd)": "pixels",
    r"hd95|_asd|/asd|mask_(?:wall|rv_distance)": "mm",
    "psnr": "dB",
    "volume_error|mask_e[ds]v": "ml",
    "ef_error|mask_ef": "%",
    "worth$": "patients",
    "mask_area": "cm2",
    "mask_anatomy": "SD",
}
"""Unit of the scores whose name has such a part; of several the first."""


def decimals(part: pd.DataFrame) -> int:
    """Digits after the point for a row: the typical interval is 3 to 30 units of the last one."""
    width = (part["high"].astype(float) - part["low"].astype(float)).replace(0, np.nan).median()
    if not math.isfinite(width):
        largest = part["value"].astype(float).abs().max()
        width = largest / 10 if math.isfinite(largest) and largest > 0 else 0.1
    return int(np.clip(-math.floor(math.log10(width / 3)), 0, 5))


def number(value: float, digits: int) -> str:
    """With a true minus sign; a dash for what is not there."""
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def label(name: str) -> str:
    """Name without its axis, with the physical unit where it has one."""
    unit = next((f" ({unit})" for part, unit in UNITS.items() if re.search(part, name)), "")
    return name.split("/", 1)[-1] + unit


def counts(part: pd.DataFrame) -> str:
    """How many were counted: of several models from the fewest to the most."""
    numbers = sorted({int(n) for n in part["n"].dropna() if n})
    return _span(list(map(str, numbers)))


def real(part: pd.DataFrame, digits: int) -> str:
    """What real data score: from the least to the most where it depends on the model's set, as on its size."""
    found = part["reference"].astype(float).dropna()
    return _span([number(value, digits) for value in sorted(found)])


def arrow(part: pd.DataFrame) -> str:
    """To the better side, which every model that has the score agrees on."""
    return next((ARROWS[side] for side in part["better"] if side in ARROWS), "")


def _span(texts: list[str]) -> str:
    return " to ".join(dict.fromkeys([texts[0], texts[-1]])) if texts else "–"
