"""How often 95 % intervals hold the truth, by simulation: subjects with correlated slices, as the benchmark has them.

    python tests/bench/bench_coverage.py [repetitions] [units] [fits] [sets]

Slices share half of their variance with the others of their subject. "plain" is the percentile interval over
subjects, "slices" resamples slices as if independent; both show what the interval of the benchmark mends.

Gap and worth of several fits: 14 test subjects, one to five fits of a standard deviation between them, on a learning curve
like that of ACDC. "over subjects alone" averages the fits and resamples subjects.

Sets: KID, FID, precision, recall, density and coverage of subjects with eight slices each; the truth is the
mean of the score over all simulations of that size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm

from cmr_bench import stats
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.frechet import FID
from cmr_bench.metrics.fidelity.kid import KID
from cmr_bench.metrics.fidelity.prdc import Manifold
from cmr_bench.metrics.utility.crossed import estimate
from cmr_bench.metrics.utility.worth import worth
from cmr_bench.types import Pool

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
SIDES = ((14, 14), (49, 14), (30, 30))
"""Synthetic and real subjects."""
LAWS = {
    "d = 8, no difference": (8, 0.0, False),
    "d = 16, no difference": (16, 0.0, False),
    "d = 16, a difference": (16, 0.5, False),
    "d = 16, a difference, skewed": (16, 0.5, True),
    "d = 256, no difference": (256, 0.0, False),
    "d = 256, a difference": (256, 0.2, False),
}
"""Dimensions, shift of half of them, whether the features are skewed."""
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
    one, other = pairs(rng, n, spread)
    return holds(difference((one - other).to_numpy(), seed)[1:], -0.02)


def share(rng: np.random.Generator, n: int, seed: int, spread: float = 0.5) -> bool:
    truth = (DICE - 0.02) / DICE
    return holds(stats.ratio(*pairs(rng, n, spread), repeats=REPEATS, seed=seed)[1:], truth)


def normal_gap(rng: np.random.Generator, n: int, seed: int) -> bool:
    return holds(difference(rng.normal(-0.02, 0.03, n), seed)[1:], -0.02)


def difference(gap: np.ndarray, seed: int) -> stats.Estimate:
    """The mean of paired differences (n,), of one fit, as arms and models are compared."""
    return estimate(lambda m: m[:, 0], gap[None, None], gap[None], repeats=REPEATS, seed=seed)


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


def features(rng: np.random.Generator, name: str, subjects: int, d: int, shift: float, skewed: bool) -> Pool:  # fmt: skip
    """Images that are their own d features, shifted along half, normal or log-normal with skewness 2.9; eight slices a subject."""
    names = np.arange(subjects).repeat(8)
    x = np.sqrt(0.5) * (rng.normal(size=(subjects, d))[names] + rng.normal(size=(len(names), d)))
    x[:, : d // 2] += shift
    images = torch.as_tensor(np.exp(0.7 * x) if skewed else x)[:, None, None]
    table = pd.DataFrame({"subject": [f"{name}{k}" for k in names]})
    return Pool(name, images, torch.zeros_like(images, dtype=torch.int64), table, 1.0)


def of_sets(rng: np.random.Generator, synthetic: int, real: int, d: int, shift: float, skewed: bool) -> dict[str, stats.Estimate]:  # fmt: skip
    """KID, FID, precision, recall, density, coverage of so many subjects a side."""
    sizes = {"train": (synthetic, 0.0), "test": (real, 0.0), "synthetic": (synthetic, shift)}
    pools = {name: features(rng, name, n, d, move, skewed) for name, (n, move) in sizes.items()}
    evidence = Evidence(pools, encode=lambda images: images.flatten(1).float())
    scores = [s for metric in (KID(repeats=300), FID(), Manifold()) for s in metric.scores(evidence)]  # fmt: skip
    return {s.name.split("/")[1]: stats.Estimate(s.value, s.low, s.high) for s in scores if not s.reason}  # fmt: skip


def sets_covered(setting: tuple[int, int, int, float, bool], runs: int) -> dict[str, float]:
    """Share of intervals that hold the mean of the estimates of so many subjects."""
    rng = np.random.default_rng([int(10 * value) for value in setting])
    found = [of_sets(rng, *setting) for _ in range(runs)]
    truth = {name: np.mean([f[name].value for f in found]) for name in found[0]}
    return {name: float(np.mean([holds(f[name][1:], truth[name]) for f in found])) for name in truth}  # fmt: skip


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


def units(runs: int) -> None:
    print(f"{'':36}" + "".join(f"{n:>4} subjects" for n in SUBJECTS))
    for name, case in CASES.items():
        found = []
        for n in SUBJECTS:
            rng = np.random.default_rng([n, len(name)])
            found.append(np.mean([case(rng, n, run) for run in range(runs)]))
        print(f"{name:36}" + "".join(f"{100 * share:11.1f} %" for share in found), flush=True)


def fits(runs: int) -> None:
    print(f"{TESTED} subjects; columns: fits, standard deviation of a fit")
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


def sets(runs: int) -> None:
    for synthetic, real in SIDES:
        for law, about in LAWS.items():
            shares = sets_covered((synthetic, real, *about), runs)
            words = (f"{name} {100 * share:.1f} %" for name, share in shares.items())
            print(f"{synthetic}/{real} subjects, {law:28}", ", ".join(words), flush=True)


PARTS = {"units": units, "fits": fits, "sets": sets}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("share of intervals of nominal 95 % that hold the truth")
    for part in sys.argv[2:] or PARTS:
        times = runs // 4 if part == "sets" else runs
        print(f"\n{part}: {times} runs, standard error {100 * np.sqrt(0.95 * 0.05 / times):.1f} %")
        PARTS[part](times)


if __name__ == "__main__":
    main()
