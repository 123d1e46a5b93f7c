"""How far the feature spaces agree in ranking the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

RANKED = ("fidelity/kid", "fidelity/fid", "fidelity/coverage")
SPACES = ("cardiac", "inception", "pixels")
FEWEST = 3
"""Cells below which nothing is said: two agree by chance in every second case, three in every sixth."""


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b of two rankings of the same cells: 1 the same, -1 reversed; nan below two cells."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < 2:
        return float("nan")
    return float(kendalltau(x[there], y[there]).statistic)


def agreement(rows: pd.DataFrame) -> Mapping[tuple[str, str], tuple[float, int]]:
    """{(score, space): (tau against the default space, cells)} from one row a cell and score.

    Models alone count: that a control of noise is worse than an image is agreed in any space, and
    released sets may be samples of one model. Below FEWEST cells nothing is said.
    """
    if rows.empty:
        return {}
    models = rows[~rows["control"].astype(bool) & (rows["model"] != "released")]
    wide = models.pivot_table(index="cell", columns="name", values="value", aggfunc="last")
    found = {}
    for name in RANKED:
        for space in SPACES:
            other = f"{name}_{space}"
            if name in wide and other in wide:
                both = wide[[name, other]].dropna()
                if len(both) >= FEWEST:
                    found[name, space] = (kendall(both[name], both[other]), len(both))
    return found


def sentence(rows: pd.DataFrame) -> str:
    """The agreement in words, one line a setting and space; empty where there is nothing to compare."""
    if rows.empty:
        return ""
    parts = dict(list(rows.groupby("setting", sort=False)))
    lines = [(name, line) for name, part in parts.items() for line in _lines(agreement(part))]
    several = len(parts) > 1
    return "".join(f"{name}: {line}\n" if several else f"{line}\n" for name, line in lines)


def _lines(found: Mapping[tuple[str, str], tuple[float, int]]) -> list[str]:
    lines = []
    for space in SPACES:
        parts = [
            f"{name.split('/')[1]} {tau:.2f} ({n} cells)".replace("-", "\u2212")
            for (name, other), (tau, n) in found.items()
            if other == space and np.isfinite(tau)
        ]
        if parts:
            lines.append(
                f"ranking in the {space} space against the default one, Kendall's tau: {', '.join(parts)}"
            )
    return lines
