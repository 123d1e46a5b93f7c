"""Seconds a cell that it takes to look ahead and to hand cells to a launcher, and to report a store by the real verb.

    python tests/bench/bench_planning.py --cells 300 --reported 1000

Looking ahead is `cmr_bench.run -m model=ddpm,ldm,fm seed=... dry_run=true` as a user types it, with a few cells and with
many; what the difference of both costs is free of the start of the process. Handing over is composing, checking, naming
and writing down, as launchers do it before they start anything.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hydra
from bench_report import fill
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, RunMode

from cmr_bench.config import conf_path
from cmr_bench.launchers.grid import Grid
from cmr_bench.launchers.local import Local
from cmr_bench.store import Job

GRIDS = {
    "three families, many seeds": "model=ddpm,ldm,fm seed=range({seeds})",
    "no two cells with the same options": (
        "model=ddpm,ldm,fm model/denoiser=concat,spade mask=deformed,real metric=standard,fast,attacks protocol=strict,paper"
    ),
}


def ahead(root: Path, words: list[str]) -> tuple[int, float]:
    """(cells, seconds) of a dry run."""
    line = [sys.executable, "-m", "cmr_bench.run", "-m", *words, "dry_run=true", f"store.root={root}"]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    return int(done.stdout.split(" cells done")[0].split()[-1]), seconds


def handed_over(root: Path, words: list[str]) -> float:
    """Seconds a cell to compose, check, name and write down."""

    class Silent(Local):
        def start(self, jobs: Any) -> None:
            assert all(isinstance(job, Job) for job in jobs)

    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("run", [f"store.root={root}"], RunMode.MULTIRUN, from_shell=False)  # fmt: skip
        typed = OverridesParser.create().parse_overrides([*words, f"store.root={root}"])
        (cells,) = Grid.split_arguments(typed, None)
        launcher = Silent()
        context = HydraContext(config_loader=loader, callbacks=None)  # type: ignore[arg-type]
        launcher.setup(hydra_context=context, task_function=None, config=master)
        launcher.jobs(cells[:1])
        start = time.perf_counter()
        launcher.jobs(cells)
        return (time.perf_counter() - start) / len(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--reported", type=int, default=1000)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        few = min((ahead(Path(folder), ["model=ddpm,ldm,fm", "seed=0"]) for _ in range(3)), key=lambda one: one[1])  # fmt: skip
        for name, grid in GRIDS.items():
            words = grid.format(seeds=wish.cells // 3).split()
            many = ahead(Path(folder), words)
            each = (many[1] - few[1]) / (many[0] - few[0])
            over = handed_over(Path(folder), words)
            print(
                f"{name}, {many[0]} cells: {each:.3f} s a cell to look ahead, {over:.3f} s to hand over"
            )
        fill(Path(folder), wish.reported)
        start = time.perf_counter()
        line = [sys.executable, "-m", "cmr_bench.report", f"store.root={folder}"]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - start
        found = next(text for text in done.stdout.splitlines() if " cells done" in text)
        print(f"cmr_bench.report: {seconds:.1f} s, {found}")


if __name__ == "__main__":
    main()
