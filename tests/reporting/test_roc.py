"""The ROC curve by its definition, and its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from sklearn.metrics import roc_curve

from cmr_bench.reporting.cells import entries
from cmr_bench.reporting.plots import png
from cmr_bench.reporting.roc import roc, roc_plot
from cmr_bench.store import Store


def test_the_curve_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 9, 30) + 1.0, rng.integers(0, 9, 20) * 1.0
    x, y = roc(members, others)
    truth = np.repeat([1, 0], [30, 20])
    fpr, tpr, _ = roc_curve(truth, np.concatenate([members, others]), drop_intermediate=False)
    assert np.allclose(x, fpr) and np.allclose(y, tpr)


def test_one_panel_an_attack(tmp_path: Path) -> None:
    assert roc_plot(entries(tmp_path), {}) is None
    rng = np.random.default_rng(0)
    for k, model in enumerate(("fm", "ddpm")):
        cell = Store(tmp_path).cell(model, f"0{k}")
        cell.write("cell.json", {"model": model, "seed": 0, "data": "phantom"})
        rows = pd.DataFrame({"member": np.arange(40) < 26})
        rows["suspicion"] = rng.normal(size=40) + 2 * k * rows["member"]
        for name in ("mia", "sima", "pia", "secmi"):
            rows.to_csv(cell.folder / f"attack_{name}.csv", index=False)
        cell.finish()
    figure = roc_plot(entries(tmp_path), {"fm": "#0072b2", "ddpm": "#d55e00"})
    assert figure is not None
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["mia", "pia", "secmi", "sima"]
    assert all(len(panel.get_lines()) == 3 for panel in figure.axes)
    curves = [line for panel in figure.axes for line in panel.get_lines()[1:]]
    assert all(line.get_ydata().min() == 1 / 26 for line in curves), "from one member on"
    for name in ("sima", "pia", "secmi"):
        for path in tmp_path.glob(f"cells/*/attack_{name}.csv"):
            path.unlink()
    alone = roc_plot(entries(tmp_path), {"fm": "#0072b2", "ddpm": "#d55e00"})
    FigureCanvasAgg(alone).draw()
    width, height = alone.axes[0].get_window_extent().size / alone.dpi
    assert width == pytest.approx(height) and height > 3.5 and alone.get_figwidth() > 6
    (tmp_path / "roc.png").write_bytes(png(figure))
