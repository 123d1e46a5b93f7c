"""Share of a training that goes into what makes it durable: checkpoints, the log, and the looks at the clock and the flag.

    python tests/bench/bench_durability.py --steps 300

Trains a family of the demo with its log and its callbacks of saving, a checkpoint every few seconds, and times each
piece where it happens. The share at the default interval is (one checkpoint / interval) + (the rest a step / a step).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from omegaconf import OmegaConf

from cmr_bench.checkpoints import WholeFiles
from cmr_bench.config import build, conf_path, plain
from cmr_bench.saving import Saving
from cmr_bench.stages import Stages
from cmr_bench.store import Cell
from cmr_bench.tracking.tracker import Tracker

SPENT: dict[str, list[float]] = defaultdict(list)


def timed(owner: Any, name: str) -> None:
    """Add up what a method takes."""
    method: Callable[..., Any] = getattr(owner, name)

    def wrapper(*args: Any, **more: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*args, **more)
        finally:
            SPENT[name].append(time.perf_counter() - start)

    setattr(owner, name, wrapper)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--model", default="ddpm")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between checkpoints here")
    wish = parser.parse_args()
    for owner, name in (
        (Saving, "on_train_batch_end"),
        (WholeFiles, "save_checkpoint"),
        (Tracker, "log_metrics"),
    ):
        timed(owner, name)
    with tempfile.TemporaryDirectory() as folder:
        words = [f"model={wish.model}", f"store.root={folder}", f"fit.steps={wish.steps}"]
        words += [f"checkpoint_minutes={wish.every / 60}", "logger=csv"]
        with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
            config = hydra.compose("run", words)
            interval = 60 * hydra.compose("run").checkpoint_minutes
        OmegaConf.set_struct(config, False)
        stages = Stages(config)
        cell = Cell(Path(folder, "cells", "bench"))
        tracker = build(config.logger, cell=cell, config=plain(config))
        stages.fitted_model([], tracker, None)
        (done,) = Path(folder).glob("model/*/done.json")
        whole = OmegaConf.load(done).seconds
        (checkpoint,) = Path(folder).glob("model/*/last.ckpt")
        size = checkpoint.stat().st_size / 2**20
    saves = SPENT["save_checkpoint"]
    inside = sum(SPENT["on_train_batch_end"]) - sum(saves[:-1])  # the last one comes after the end
    rest = (inside + sum(SPENT["log_metrics"])) / (whole - sum(saves))
    worst = max(saves)
    print(
        f"{wish.model}: {wish.steps} steps in {whole:.0f} s, {len(saves)} checkpoints of {size:.0f} MiB: "
        f"{sum(saves) / len(saves):.3f} s each (at most {worst:.3f} s); log, clock and flag {100 * rest:.2f} % of the time"
    )
    print(f"share at an interval of {interval:.0f} s: {100 * (worst / interval + rest):.2f} %")


if __name__ == "__main__":
    main()
