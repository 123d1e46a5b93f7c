from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread

from cmr_bench.reporting.grids import grid_figure, grid_rows, save_grid
from cmr_bench.types import Pool


@pytest.fixture
def real() -> Pool:
    masks = torch.zeros(6, 1, 16, 16, dtype=torch.int64)
    for k in (1, 3, 4):
        masks[k, 0, 4:12, 4:12] = k % 3 + 1
    table = pd.DataFrame({"subject": list("aabbcc"), "phase": "ES", "level": "base"})
    return Pool("test", torch.zeros(6, 1, 16, 16), masks, table, 2.0)


def test_slices_with_anatomy_are_shown(real: Pool) -> None:
    assert grid_rows(real, 8).tolist() == [1, 3, 4]
    assert grid_rows(real, 2).tolist() == [1, 4]
    assert len(grid_rows(replace(real, masks=torch.zeros_like(real.masks)), 4)) == 4


def test_each_column_is_one_slice_and_rows_are_mask_real_synthetic(real: Pool) -> None:
    synthetic = replace(real, name="matched", images=torch.full((6, 1, 16, 16), 0.5))
    panels = np.array(grid_figure(real, synthetic).axes).reshape(4, 3)
    for column, row in enumerate((1, 3, 4)):
        shown = [np.asarray(panel.images[0].get_array()) for panel in panels[:, column]]
        np.testing.assert_array_equal(shown[0], real.masks[row, 0].numpy())
        np.testing.assert_array_equal(shown[1], real.images[row, 0].numpy())
        np.testing.assert_array_equal(shown[2], synthetic.images[row, 0].numpy())
        np.testing.assert_array_equal(shown[3], shown[2])
        assert panels[1, column].images[0].get_clim() == (-1, 1)
    assert [panel.get_ylabel() for panel in panels[:, 0]][:3] == ["mask", "real", "synthetic"]


def test_the_picture_has_the_colours_of_the_labels(real: Pool, tmp_path: Path) -> None:
    save_grid(tmp_path / "grid.png", real, real)
    colours = {
        tuple(c)
        for c in (imread(tmp_path / "grid.png")[..., :3] * 255).round().astype(int).reshape(-1, 3)
    }
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73), (0x14, 0x14, 0x14), (128, 128, 128)} <= colours
