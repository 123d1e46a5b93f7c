"""How often 95 % intervals hold the truth, by simulation: subjects with correlated slices, as the benchmark has them.

    python tests/bench/bench_coverage.py [repetitions]

Slices share half of their variance with the other slices of their subject. "plain" is the percentile
interval over subjects, "slices" resamples slices as if they were independent; both stand there to show
what the interval of the benchmark mends.

Gap and worth of several fits: 14 test subjects, one to five fits of a standard deviation between them, on a learning curve
like that of ACDC. "over subjects alone" averages the fits and resamples subjects.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import norm

from cmr_bench import stats
from cmr_bench.metrics.utility.crossed import estimate
from cmr_bench.metrics.utility.worth import worth

SUBJECTS = (15, 30, 60)
REPEATS = 1000
DICE = 6 / 7
TESTED = 14
FITS = (1, 3, 5)
SPREADS = (0.0, 0.01, 0.03)
COUNTS = (4, 8, 16, 32, 49)
CURVE = np.array([0.69, 0.77, 0.82, 0.85, 0.855])
LOOSE = np.array([2, 1.5, 1, 0.7, 0.7])
"""Standard deviation of a fit at each count, over that at 16: the fewer subjects are drawn, the more it matters who."""
TARGET = 0.835
Interval = tuple[float, float]


def slices(rng: np.random.Generator, n: int, unequal: bool = False) -> tuple[np.ndarray, ...]:
    """(standard normal values with intraclass correlation 0.5, subject of each)."""
    count = rng.integers(4, 21, n) if unequal else np.full(n, 10)
    names = np.arange(n).repeat(count)
    level = rng.normal(size=n)[names]
    return np.sqrt(0.5) * (level + rng.normal(size=len(names))), names


def as_dice(values: np.ndarray) -> np.ndarray:
    """Beta(6, 1): mean 6/7, skewed to the left."""
    return norm.cdf(values) ** (1 / 6)


def mean(rng: np.random.Generator, n: int, seed: int) -> bool:
    values, names = slices(rng, n)
    return holds(stats.interval(values, names, repeats=REPEATS, seed=seed)[1:], 0)


def dice(rng: np.random.Generator, n: int, seed: int) -> bool:
    values, names = slices(rng, n)
    return holds(stats.interval(as_dice(values), names, repeats=REPEATS, seed=seed)[1:], DICE)


def plain(rng: np.random.Generator, n: int, seed: int) -> bool:
    values, names = slices(rng, n)
    means = stats.subject_means(as_dice(values), names).to_numpy()
    samples = stats.multiplicities(n, repeats=REPEATS, seed=seed) @ means / n
    return holds(np.quantile(samples, [0.025, 0.975]), DICE)


def by_slice(rng: np.random.Generator, n: int, seed: int) -> bool:
    values, _ = slices(rng, n)
    one_each = np.arange(len(values))
    return holds(stats.interval(as_dice(values), one_each, repeats=REPEATS, seed=seed)[1:], DICE)


def rows(rng: np.random.Generator, n: int, seed: int) -> bool:
    values, names = slices(rng, n, unequal=True)
    return holds(stats.row_mean(as_dice(values), names, repeats=REPEATS, seed=seed)[1:], DICE)


def pairs(rng: np.random.Generator, n: int, spread: float) -> tuple[pd.Series, pd.Series]:
    """Dice of two arms on the same subjects; the first is worse by 0.02 on average, log-normal.

    The skewness of the loss is 1.75 at spread 0.5 and 6.2 at spread 1.
    """
    values, names = slices(rng, n)
    better = stats.subject_means(as_dice(values), names)
    return better - 0.02 * np.exp(spread * rng.normal(size=n) - spread**2 / 2), better


def gap(rng: np.random.Generator, n: int, seed: int, spread: float = 0.5) -> bool:
    return holds(stats.difference(*pairs(rng, n, spread), repeats=REPEATS, seed=seed)[1:], -0.02)


def share(rng: np.random.Generator, n: int, seed: int, spread: float = 0.5) -> bool:
    truth = (DICE - 0.02) / DICE
    return holds(stats.ratio(*pairs(rng, n, spread), repeats=REPEATS, seed=seed)[1:], truth)


def normal_gap(rng: np.random.Generator, n: int, seed: int) -> bool:
    one = pd.Series(rng.normal(-0.02, 0.03, n))
    return holds(stats.difference(one, one * 0, repeats=REPEATS, seed=seed)[1:], -0.02)


def fits_gap(rng: np.random.Generator, fits: int, spread: float, seed: int, alone: bool) -> bool:
    """Mean of cells that vary by subject (0.03), by fit (`spread`) and by both (0.02); the truth is 0."""
    cells = 0.03 * rng.normal(size=TESTED) + spread * rng.normal(size=(fits, 1))
    cells = cells + 0.02 * rng.normal(size=(fits, TESTED))
    cells = cells.mean(axis=0, keepdims=True) if alone else cells
    found = estimate(lambda m: m[:, 0], cells[None], cells, repeats=REPEATS, seed=seed)
    return holds(found[1:], 0)


def fits_worth(rng: np.random.Generator, fits: int, spread: float, seed: int, alone: bool) -> bool:
    """The truth lies between 16 and 32."""
    level = rng.normal(0, 0.05, TESTED)
    fit = spread * LOOSE[:, None, None] * rng.normal(size=(5, fits, 1))
    curve = CURVE[:, None, None] + fit + level + 0.02 * rng.normal(size=(5, fits, TESTED))
    target = TARGET + 0.7 * spread * rng.normal(size=(fits, 1)) + level
    target = target + 0.02 * rng.normal(size=(fits, TESTED))
    if alone:
        curve, target = curve.mean(axis=1, keepdims=True), target.mean(axis=0, keepdims=True)
    found = worth(COUNTS, curve, target, repeats=REPEATS, seed=seed).patients
    return holds(found[1:], np.exp(np.interp(TARGET, CURVE, np.log(COUNTS))))


def holds(interval: np.ndarray | Interval, truth: float) -> bool:
    return bool(interval[0] <= truth <= interval[1])


CASES: dict[str, Callable[[np.random.Generator, int, int], bool]] = {
    "mean, normal": mean,
    "mean, Dice": dice,
    "mean of rows, Dice, 4 to 20 slices": rows,
    "paired difference, normal": normal_gap,
    "paired difference, skewed": gap,
    "paired ratio, skewed": share,
    "paired difference, very skewed": partial(gap, spread=1.0),
    "paired ratio, very skewed": partial(share, spread=1.0),
    "plain percentile, Dice": plain,
    "slices as units, Dice": by_slice,
}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"share of {runs} intervals of nominal 95 % that hold the truth, standard error below")
    print(f"{'':36}" + "".join(f"{n:>4} subjects" for n in SUBJECTS))
    for name, case in CASES.items():
        found = []
        for n in SUBJECTS:
            rng = np.random.default_rng([n, len(name)])
            found.append(np.mean([case(rng, n, run) for run in range(runs)]))
        print(f"{name:36}" + "".join(f"{100 * share:11.1f} %" for share in found), flush=True)
    print(f"\n{TESTED} subjects; columns: fits, standard deviation of a fit")
    columns = [(fits, spread) for fits in FITS for spread in SPREADS]
    print(f"{'':36}" + "".join(f"{f'{fits}, {spread:g}':>9}" for fits, spread in columns))
    for name, several in (("gap", fits_gap), ("worth", fits_worth)):
        for alone in (False, True):
            found = []
            for fits, spread in columns:
                rng = np.random.default_rng([fits, int(1000 * spread)])
                held = [several(rng, fits, spread, run, alone) for run in range(runs)]
                found.append(np.mean(held))
            title = f"{name}, over subjects alone" if alone else name
            print(f"{title:36}" + "".join(f"{100 * share:7.1f} %" for share in found), flush=True)
    print(f"{'standard error at 95 %':36}{100 * np.sqrt(0.95 * 0.05 / runs):11.1f} %")


if __name__ == "__main__":
    main()
