"""Seconds to report a store of finished cells, and to plan cells, on a synthetic store.

    python tests/bench/bench_report.py --cells 1000 --plans 100

The cells are as the benchmark leaves them: resolved configuration, a log of 600 rows, about 60 scores, a grid and an
environment record. Three models, settings that differ in the number of training subjects, and ten seeds.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from cmr_bench.config import conf_path
from cmr_bench.planning import Planner
from cmr_bench.reporting import report
from cmr_bench.stages import Stages
from cmr_bench.store import JUDGED, Store, append_jsonl, environment, key_of, write_json

MODELS = ("ddpm", "ldm", "fm")
SCORES = [
    f"{axis}/score_{k}{part}"
    for axis in ("fidelity", "utility", "privacy")
    for k in range(5)
    for part in ("", "_lv", "_myo", "_rv")
] + ["fidelity/adherence", "utility/dice_ratio", "privacy/mia_auc"]


def compose(*overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        return hydra.compose("run", list(overrides))


def fill(root: Path, cells: int) -> None:
    """Finished cells, without any training."""
    rng = np.random.default_rng(0)
    texts = {}
    for model in MODELS:
        config = compose(f"model={model}")
        OmegaConf.resolve(config)
        texts[model] = OmegaConf.to_yaml(config)
    record = environment(data_hash="5eed", seconds={"fit": 100.0, "sample": 20.0})
    grid = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (480, 720), dtype=np.uint8)).save(
        grid, "png"
    )  # as large as a grid: 350 kB
    for i in range(cells):
        model, limit, seed = MODELS[i % 3], 4 * (1 + i // 30), i // 3 % 10
        cell = Store(root).cell(model, key_of([model, limit, seed]))
        cell.folder.mkdir(parents=True)
        text = texts[model].replace("limit: null", f"limit: {limit}", 1)
        (cell.folder / "config.yaml").write_text(text.replace("seed: 0", f"seed: {seed}"))
        about = {"key": cell.folder.name[-12:], "model": model, "data": "phantom", "seed": seed}
        write_json(cell.folder / "cell.json", about | {"sweep": "bench", "parameters": 2_800_000})
        write_json(cell.folder / "environment.json", record)
        steps = range(10, 3010, 10)
        rows = [
            {"step": s, "name": name, "value": 1 / s + rng.random(), "time": 0.0}
            for s in steps
            for name in ("model/loss", "model/held_out_loss")
        ]
        append_jsonl(cell.folder / "log.jsonl", rows)
        scores = []
        for name in SCORES:
            value = 0.8 + 0.1 * rng.random()
            scores.append(
                {"name": name, "axis": name.split("/")[0], "value": value, "low": value - 0.05, "high": value + 0.05}
                | {"n": 10, "unit": "subjects", "better": "higher", "reference": 0.9, "reference_name": "real"}
                | {"reason": "", "extra": {}, "metric": "bench", "seconds": 0.1}
            )  # fmt: skip
        append_jsonl(cell.folder / "scores.jsonl", scores)
        (cell.folder / "grid.png").write_bytes(grid.getvalue())
        write_json(cell.folder / "done.json", {"time": 0.0, "judged": JUDGED})


def plans(root: Path, count: int) -> tuple[float, float]:
    """Seconds a cell that Hydra takes to compose and that planning takes, after the imports and the first cell."""
    start = time.perf_counter()
    configs = [
        compose(f"model={MODELS[i % 3]}", f"seed={i}", f"store.root={root}") for i in range(count)
    ]
    composed = time.perf_counter() - start
    planner = Planner(Store(root))
    for config in configs[:1]:
        planner.plan(Stages(config), {"model": "ddpm"})
    start = time.perf_counter()
    for i, config in enumerate(configs):
        planner.plan(Stages(config), {"model": MODELS[i % 3]})
    return composed / count, (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--plans", type=int, default=100)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fill(root, wish.cells)
        start = time.perf_counter()
        text = report(root)
        seconds = time.perf_counter() - start
        size = (root / "report" / "index.html").stat().st_size / 2**20
        print(
            f"report of {wish.cells} finished cells: {seconds:.1f} s, page of {size:.1f} MiB, {text.splitlines()[-1]}"
        )
        composed, planned = plans(root, wish.plans)
        print(
            f"{wish.plans} cells: composed in {composed:.3f} s, planned in {planned:.3f} s a cell"
        )


if __name__ == "__main__":
    main()
