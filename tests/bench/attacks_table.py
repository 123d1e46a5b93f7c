"""The attacks of the experiments overfit and generous beside each other, with Holm's correction.

    python tests/bench/attacks_table.py STORE...

Holm's p of an attack's AUC against 0.5 over all attacks and families of an experiment (the first seed): p >= 0.05 says
that the corrected interval covers 0.5. p comes from the width of the 95 % interval by the normal approximation. Where
there are several seeds: the mean AUC over them, less that of the loss on the same subjects.
"""

from __future__ import annotations

import math
import sys

import pandas as pd
from scipy.stats import norm

from cmr_bench.reporting.cells import Entry, entries
from cmr_bench.reporting.paired import by_subject, gap
from cmr_bench.stats import holm

FAMILIES = ("ddpm", "ldm", "fm")
LOSS = "privacy/mia_auc"


def p_value(row: dict) -> float:
    width = row["high"] - row["low"]
    if not math.isfinite(width) or width <= 0:
        return math.nan
    return float(2 * norm.sf(abs(row["value"] - 0.5) / (width / (2 * norm.ppf(0.975)))))


def table(experiment: str, found: list[Entry]) -> str:
    first = min(e.seed for e in found)
    cells = {e.model: {row["name"]: row for row in e.scores} for e in found if e.seed == first}
    models = [m for m in FAMILIES if m in cells]
    names = list(dict.fromkeys(n for m in models for n in cells[m] if n.endswith("_auc")))
    attacks = [n for n in names if n not in ("privacy/blind_auc", "privacy/fcre_auc")]
    places = [(m, n) for m in models for n in attacks if n in cells[m]]
    p = dict(zip(places, holm([p_value(cells[m][n]) for m, n in places]), strict=True))
    lines = [f"| {experiment} | " + " | ".join(models) + " |", "|---" * (len(models) + 1) + "|"]
    for name in [*names, "privacy/extraction_rate"]:
        parts = [_cell(cells[m].get(name), p.get((m, name), math.nan)) for m in models]
        lines.append(f"| {name.removeprefix('privacy/')} | " + " | ".join(parts) + " |")
    return "\n".join(lines)


def _cell(row: dict | None, p: float) -> str:
    if row is None or not math.isfinite(row["value"]):
        return "–"
    text = f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    text += f" p {p:.2g}" if math.isfinite(p) else ""
    return text + " void" * ("void" in (row.get("extra") or {}))


def gains(found: list[Entry]) -> str:
    """Mean AUC over seeds of each attack; in brackets less that of the loss, where all seeds judge the same subjects."""
    lines = ["| mean of seeds | " + " | ".join(FAMILIES) + " |", "|---" * (len(FAMILIES) + 1) + "|"]
    cells: dict[tuple[str, str], str] = {}
    for m in FAMILIES:
        mine = [e for e in found if e.model == m]
        rows = pd.DataFrame([row for e in mine for row in e.scores])
        means = rows.groupby("name", sort=False)["value"].mean().dropna()
        answer = by_subject(mine)
        for name in means.index[means.index.str.endswith("_auc")]:
            cells[name, m] = f"{means[name]:.2f}"
            if name != LOSS and name in answer and answer[name].notna().all(axis=None):
                value, low, high = gap(name, answer[name], answer[LOSS])[0]
                cells[name, m] += f" ({value:.2f} [{low:.2f}, {high:.2f}])"
    for name in dict.fromkeys(name for name, _ in cells):
        parts = [cells.get((name, m), "–") for m in FAMILIES]
        lines.append(f"| {name.removeprefix('privacy/')} | " + " | ".join(parts) + " |")
    return "\n".join(lines)


def main(roots: list[str]) -> None:
    for root in roots:
        found = [e for e in entries(root) if e.status.state == "done"]
        for experiment in dict.fromkeys(str(e.about.get("sweep")) for e in found):
            mine = [e for e in found if e.about.get("sweep") == experiment]
            print(table(experiment, mine), end="\n\n")
            if len({e.seed for e in mine}) > 1:
                print(gains(mine), end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
