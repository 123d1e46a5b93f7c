"""Are generated masks anatomies? Shapes of stage 1 against those of unseen subjects."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import wasserstein_distance

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.anatomy import SHAPES, VOLUMES, Measure, shapes, volumes
from cmr_bench.metrics.fidelity.two_samples import SPLITS, by_halves, mean_difference
from cmr_bench.stats import Array, Estimate, holm, row_mean
from cmr_bench.types import Score

Tables = Mapping[str, pd.DataFrame]
SUMMARY, EJECTION = "fidelity/mask_anatomy", "fidelity/mask_ef_lv"
FLOOR = "real train against real test"
ALONE = (
    "generated masks are single slices without subject and phase: volumes and the ejection "
    "fraction need stacks of both phases, as released files PATIENT_ED and PATIENT_ES are"
)


def apart(x: Array, y: Array, spread: Array) -> float:
    """Mean over columns of the first Wasserstein distance of (N, M) and (K, M), each over its spread.

    The distance is the integral of |F - G|, in units of `spread`. nan counts as not measured; a
    column that one side never measured is left out.
    """
    found = []
    for a, b, unit in zip(x.T, y.T, spread, strict=True):
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        if len(a) and len(b):
            found.append(wasserstein_distance(a, b) / unit)
    return float(np.mean(found)) if found else float("nan")


class MaskAnatomy(Metric):
    """The shapes of generated masks beside those of test subjects, whose slices are not independent.

    `mask_anatomy` is `apart` over SHAPES, in standard deviations of real masks (in the measure's
    own unit where they do not vary), beside the floor of training masks. A distance is positive by
    chance alone, so only what is above the floor counts. Each shape also has a score of its own:
    the mean over generated masks beside the mean over masks of test subjects, with the difference,
    its interval and its p after Holm over all measures in `extra` and, with `apart` of this shape, in
    the table `mask_anatomy` of the cell. Where the masks are stacks of both phases, as those of
    released images may be, so are VOLUMES of subjects.

    A structure that the data set does not label is not measured; one that a mask lacks counts in
    `mask_structures` alone. Each mask that is no slice of a stack is a subject of its own. Blind to the images, and
    to copies: how near a mask is to a training mask is a question of privacy.
    """

    axis = "fidelity"
    names = (SUMMARY, EJECTION)
    pools = ("train", "test", "synthetic")
    needs = ("masks",)
    higher_is_better = False
    untested = "controls are images, and it looks at masks alone"
    blind_to = (
        "heldout", "vendor", "blurred", "painter", "mean", "noise",
        "copy", "copy_noise", "copy_warp", "one_patient",
    )  # fmt: skip

    def __init__(self, splits: int = SPLITS) -> None:
        self.splits = splits

    def compute(self, evidence: Evidence) -> list[Score]:
        pools = {name: evidence.pools[name] for name in self.pools}
        labels = set.intersection(*({*pool.labels} for pool in pools.values()))
        measures = {name: m for name, m in SHAPES.items() if m.needs <= labels}
        tables = {name: shapes(pool, labels) for name, pool in pools.items()}
        found = self._compared(measures, tables, evidence.seed)
        scores = [self._summary(measures, tables)]
        stacks = {name: volumes(pool) for name, pool in pools.items()}
        if all(len(table) for table in stacks.values()):
            measures = {name: m for name, m in VOLUMES.items() if m.needs <= labels}
            more = self._compared(measures, stacks, evidence.seed)
            found = pd.concat([found, more], ignore_index=True)
        else:
            scores.append(Score(EJECTION, float("nan"), reason=ALONE))
        found = found.assign(p_holm=holm(found["p"]))
        evidence.tables["mask_anatomy"] = found
        return [*scores, *_scores(found)]

    def _summary(self, measures: Mapping[str, Measure], tables: Tables) -> Score:
        found, floor = (self._apart([*measures], tables, name) for name in ("synthetic", "train"))
        if not np.isfinite(found.value):
            return Score(SUMMARY, float("nan"), reason="no structure is there on both sides")
        return score(
            SUMMARY,
            found,
            n=len(tables["synthetic"]),
            unit="masks",
            better="lower",
            reference=floor.value,
            reference_name=FLOOR,
            extra={
                "reference_low": floor.low,
                "reference_high": floor.high,
                "measures": len(measures),
                "measured_in": "SD of real masks",
            },
        )

    def _apart(self, measures: list[str], tables: Tables, name: str) -> Estimate:
        """`apart` of a pool from test; a length, whose variance falls as one over the subjects as it is."""
        real = pd.concat([tables[k][measures] for k in ("train", "test")])
        spread = real.std().fillna(0).replace(0, 1).to_numpy()
        x, y = (tables[k][measures].to_numpy(dtype=float) for k in (name, "test"))
        xs, ys = (tables[k]["subject"] for k in (name, "test"))
        value = apart(x, y, spread)
        error, factor = by_halves(
            lambda a, b: apart(a, b, spread), x, y, xs, ys, splits=self.splits
        )
        half = factor * error
        return Estimate(value, max(value - half, 0.0) if half == half else half, value + half)

    def _compared(self, measures: Mapping[str, Measure], tables: Tables, seed: int) -> pd.DataFrame:
        """One row a measure: means, their difference and distance, of synthetic and of train from test."""
        rows = []
        for name, measure in measures.items():
            values = {k: t[[name, "subject"]].dropna() for k, t in tables.items()}
            row: dict[str, float | str] = {"measure": name, "measured_in": measure.unit}
            row["p"] = float("nan")
            for k, v in values.items():
                mean = row_mean(v[name], v["subject"], seed=seed)
                row |= {k: mean.value, f"{k}_low": mean.low, f"{k}_high": mean.high}
                row[f"{k}_n"] = len(v)
            if row["synthetic_n"] and row["test_n"]:
                x, y = values["synthetic"], values["test"]
                gap, p = mean_difference(x[name], y[name], x["subject"], y["subject"])
                row |= {"difference": gap.value, "difference_low": gap.low}
                row |= {"difference_high": gap.high, "p": p}
            for what, k in {"apart": "synthetic", "apart_real": "train"}.items():
                far = self._apart([name], tables, k)
                row |= {what: far.value, f"{what}_low": far.low, f"{what}_high": far.high}
            rows.append(row)
        return pd.DataFrame(rows)


def _scores(found: pd.DataFrame) -> list[Score]:
    """The mean of each measure over the generated masks, or their stacks, beside that over real ones."""
    scores = []
    for row in found.to_dict("records"):
        name = f"fidelity/mask_{row['measure']}"
        unit = "subjects" if row["measure"] in VOLUMES else "masks"
        empty = [k for k in ("synthetic", "test") if not row[f"{k}_n"]]
        if empty:
            reason = f"no mask of {empty[0]} shows what it measures"
            scores.append(Score(name, float("nan"), reason=reason))
            continue
        mean = Estimate(*(row[f"synthetic{end}"] for end in ("", "_low", "_high")))
        more = ("measured_in", "difference", "difference_low", "difference_high", "p_holm")
        about = {"reference_low": row["test_low"], "reference_high": row["test_high"]}
        scores.append(
            score(
                name,
                mean,
                n=row["synthetic_n"],
                unit=unit,
                better="",
                reference=row["test"],
                reference_name=f"the same in real {unit} of test",
                extra=about | {key: row[key] for key in more},
            )
        )
    return scores
