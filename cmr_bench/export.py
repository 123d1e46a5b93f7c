"""Synthetic pairs for use elsewhere: `python -m cmr_bench.export cell=PATH out=PATH format=nnunet adherence=0.8`."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmr_bench.commands import verb
from cmr_bench.config import check

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

KEYS: dict[str, Any] = {"cell": str, "out": str, "format": str, "adherence": float}
TABLE = "adherence_images.csv"
FEW = 0.2
"""Yield below which a softer rule is worth naming."""


def task(config: Any) -> None:
    """The pairs that pass, and what is left of the set, on the terminal."""
    check(config, KEYS)
    print(
        export(Path(config.cell), Path(config.out), form=config.format, adherence=config.adherence)
    )


def export(folder: Path, out: Path, *, form: str = "nnunet", adherence: float | None = 0.8) -> str:
    """Write the pairs of a cell with a mean Dice of at least `adherence` to `out`; the lines that say what is there.

    A pair whose mask is empty, and where nothing was found, has nothing to disobey: it passes, and counts in no yield.

    Raises:
        ValueError: in one line, for a folder that is no finished cell or holds no table of pairs, an unknown format,
            an adherence that is no Dice, an `out` that is not empty, or no pair that passes.
    """
    from omegaconf import OmegaConf

    from cmr_bench.data.pairs import WRITERS, Pairs
    from cmr_bench.store.samples import Samples
    from cmr_bench.types import LABELS

    if form not in WRITERS:
        raise ValueError(f"format={form}: take one of {', '.join(WRITERS)}")
    if adherence is not None and not 0 <= adherence <= 1:
        raise ValueError(
            f"adherence={adherence}: give a Dice between 0 and 1, or null for every pair"
        )
    refuse(folder, out)
    images, masks, seeds = Samples(folder / "samples.h5").read("synthetic")
    settings = OmegaConf.load(folder / "config.yaml")
    pairs = table_of(folder, len(images))
    keep = pairs["dice"].isna() | (pairs["dice"] >= (adherence if adherence is not None else -1.0))
    if not keep.any():
        raise ValueError(f"adherence={adherence}: no pair of {folder} passes; lower it")
    cases = provenance(folder, pairs[keep], seeds, int(settings.seed))
    if "synthetic" in OmegaConf.select(settings, "model", default=()):  # masks made elsewhere
        cases["mask_seed"] = ""
    rows = cases["row"].to_numpy()
    with beside(out) as temporary:
        WRITERS[form](
            temporary,
            Pairs(
                images[rows, 0],
                masks[rows, 0],
                cases,
                float(settings.data.spacing_mm),
                [name for name in LABELS[1:] if f"dice_{name}" in pairs],
            ),
        )
        cases.to_csv(temporary / "cases.csv", index=False)
    again = f"Judge them: python -m cmr_bench.evaluate synthetic={out} like={folder}"
    return f"{told(out, pairs, keep.to_numpy(), adherence)}\n{again}"


def refuse(folder: Path, out: Path) -> None:
    from cmr_bench.store import Cell

    if not (folder / "cell.json").is_file():
        raise ValueError(f"cell={folder}: no cell; give a folder below runs/cells")
    status = Cell(folder).status
    if status.state != "done":
        raise ValueError(
            f"cell={folder}: the cell is {status.state}; bring it to its end with cmr_bench.run"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out={out}: there is something already; give a new or empty folder")


def table_of(folder: Path, count: int) -> pd.DataFrame:
    """What the metric adherence found in each synthetic pair, in their order."""
    import pandas as pd

    if not (folder / TABLE).is_file():
        raise ValueError(
            f"cell={folder}: no {TABLE}; judge the cell with the metric adherence (metric=standard)"
        )
    table = pd.read_csv(folder / TABLE)
    table = table[table["pool"] == "synthetic"].sort_values("row").reset_index(drop=True)
    if table["row"].tolist() != list(range(count)):
        raise ValueError(f"{folder / TABLE}: {len(table)} rows for {count} pairs; judge it again")
    return table


def provenance(folder: Path, pairs: pd.DataFrame, seeds: np.ndarray, run_seed: int) -> pd.DataFrame:
    """One row a pair: its name, seeds, adherence, and the cell it comes from."""
    from cmr_bench.seeds import mix
    from cmr_bench.store import Cell

    about = Cell(folder).about
    rows = pairs["row"].to_numpy()
    cases = pairs[["row", *(c for c in pairs if c.startswith("dice"))]].reset_index(drop=True)
    names = [f"synthetic{row:05d}" for row in rows]
    cases.insert(0, "case", names)
    cases.insert(1, "subject", names)
    cases.insert(3, "seed", seeds[rows])
    cases.insert(4, "mask_seed", [mix(run_seed, "mask", int(row)) for row in rows])
    return cases.assign(
        cell=folder.name,
        run_seed=run_seed,
        **{f"{name}_source": str(about.get(name, "")) for name in ("model", "mask", "data")},
    )


def told(out: Path, pairs: pd.DataFrame, keep: np.ndarray, adherence: float | None) -> str:
    """The yield of a rule, at the metric's `obeys` that of `fidelity/adherence_yield`, and the adherence of all pairs and of those that are left."""
    from cmr_bench.stats import interval

    rule = "every pair" if adherence is None else f"adherence at least {adherence}"
    lines = [f"{keep.sum()} of {len(keep)} pairs kept, {rule}"]
    drawn = pairs["dice"].notna().to_numpy()
    if drawn.any() and adherence is not None:
        lines.append(f"yield {keep[drawn].mean():.3f} of {drawn.sum()} pairs that show a structure")
        if keep[drawn].mean() < FEW:
            lines.append("few are left: a lower adherence= keeps more")
    if not drawn.all():
        lines.append(f"{(~drawn).sum()} with an empty mask, where nothing was found, pass")
    for column in (c for c in pairs if c.startswith("dice")):
        spans = [interval(p[column], p["row"]) for p in (pairs, pairs[keep])]
        before, after = (
            f"{span.value:.3f} "
            + (
                "(too few for an interval)"
                if isnan(span.low)
                else f"[{span.low:.3f}, {span.high:.3f}]"
            )
            for span in spans
        )
        lines.append(f"{column:<9} all {before}   kept {after}")
    return "\n".join(
        [*lines, "By the segmenters that chose the pairs: an upper bound for others.", str(out)]
    )


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `out` if the block succeeds, and vanishes if it does not."""
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if out.exists():
            out.rmdir()
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def main() -> None:
    verb("export", task)


if __name__ == "__main__":
    main()
