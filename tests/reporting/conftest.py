"""A store with cells as the benchmark leaves them, without any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from cmr_bench.reporting.grids import save_grid
from cmr_bench.store import Store, environment
from cmr_bench.types import Pool, Score

# value, half width of the interval, better, what real data score
TRUTH: dict[str, dict[str, tuple[float, float, str, float]]] = {
    "ddpm": {
        "fidelity/kid": (0.031, 0.004, "lower", 0.002),
        "fidelity/adherence": (0.84, 0.02, "higher", 0.85),
        "fidelity/adherence_hd95_lv": (3.4, 0.6, "lower", 3.1),
        "fidelity/coverage": (0.71, 0.05, "higher", 0.93),
        "utility/dice": (0.80, 0.03, "higher", 0.84),
        "utility/dice_ratio": (0.952, 0.02, "higher", float("nan")),
        "privacy/copy_rate": (0.0, 0.03, "lower", 0.02),
        "privacy/mia_auc": (0.55, 0.06, "lower", 0.5),
    },
}
TRUTH["fm"] = TRUTH["ddpm"] | {
    "fidelity/kid": (0.012, 0.003, "lower", 0.002),
    "fidelity/coverage": (0.88, 0.05, "higher", 0.93),
    "utility/dice": (0.82, 0.03, "higher", 0.84),
    "utility/dice_ratio": (0.976, 0.02, "higher", float("nan")),
    "privacy/mia_auc": (0.62, 0.07, "lower", 0.5),
}
TRUTH["ldm"] = TRUTH["ddpm"] | {
    "fidelity/kid": (0.055, 0.006, "lower", 0.002),
    "fidelity/adherence": (0.79, 0.02, "higher", 0.85),
    "privacy/mia_auc": (0.51, 0.06, "lower", 0.5),
}


def pool(name: str, seed: int, size: int = 32) -> Pool:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    masks = np.zeros((10, 1, size, size), dtype=np.int64)
    for k in range(10):
        radius = np.hypot(x - k % 3, y)
        masks[k, 0][np.hypot(x + 9, y) < 6] = 3
        masks[k, 0][radius < 8] = 2
        masks[k, 0][radius < 5] = 1
    images = np.choose(masks, [-0.6, 0.7, -0.2, 0.6]) + 0.12 * rng.normal(size=masks.shape)
    table = pd.DataFrame(
        {"subject": [f"s{k // 2}" for k in range(10)], "phase": "ED", "level": "middle"}
    )
    return Pool(name, torch.tensor(images).float(), torch.tensor(masks), table, 2.0)


def fill(store: Store, model: str, seed: int) -> None:
    """A finished cell of one model."""
    cell = store.cell(model, f"{model[:2]}{seed}".ljust(12, "0"))
    with cell.attempt():
        about = {"key": cell.folder.name[-12:], "model": model, "data": "phantom", "seed": seed}
        about |= {"mask": "learned", "protocol": "strict", "metric": "fast", "sweep": "demo"}
        about |= {"parameters": 1_930_241, "nfe": 50, "tags": []}
        about |= {"autoencoder_parameters": 412_000 if model == "ldm" else 0}
        cell.write("cell.json", about)
        config = {"seed": seed, "model": {"name": model, "seed": seed}, "store": {"root": seed}}
        (cell.folder / "config.yaml").write_text(yaml.safe_dump(config))
        for step in range(0, 501, 25):
            decay = float(np.exp(-step / 120)) + 0.05 * (1 + seed)
            cell.log(step, {"train/loss": decay, "val/loss": 1.1 * decay})
        for name, (value, half, better, real) in TRUTH[model].items():
            at = value + 0.1 * half * seed
            low = max(0.0, at - half) if "privacy" in name else at - half
            words = {"better": better, "reference": real, "reference_name": "held-out real"}
            cell.add_scores([Score(name, at, low, at + half, n=15, **words)], metric="fake")
        reason = "its weights are missing: put vgg16.pth into the cache folder"
        cell.add_scores([Score("fidelity/lpips", float("nan"), reason=reason)], metric="lpips")
        seconds = {"prepare": 3.2, "fit": 111.0 + seed, "sample": 20.0, "score": 31.0}
        cell.write("environment.json", environment(data_hash="5eed", seconds=seconds))
        save_grid(cell.folder / "grid.png", pool("test", 0), pool("matched", seed + 1))
        cell.finish()


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models by two seeds, all finished."""
    root = tmp_path_factory.mktemp("runs")
    for model in TRUTH:
        for seed in (0, 1):
            fill(Store(root), model, seed)
    return root
