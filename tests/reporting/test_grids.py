from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread
from PIL import Image

from cmr_bench.reporting.grids import (
    grid_figure,
    grid_rows,
    pairs_figure,
    save_grid,
    subjects_figure,
)
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


def test_hearts_below_the_median_area_are_not_shown(real: Pool) -> None:
    """Else the few pixels at the apex fill half of the columns."""
    masks = torch.zeros(6, 1, 16, 16, dtype=torch.int64)
    for k, side in enumerate((1, 8, 2, 9, 0, 10)):
        masks[k, 0, :side, :side] = 1
    assert grid_rows(replace(real, masks=masks), 8).tolist() == [1, 3, 5]


def test_images_without_masks_are_one_row_and_the_picture_says_what_it_shows(
    real: Pool, tmp_path: Path
) -> None:
    bare = replace(real, masks=torch.zeros_like(real.masks))
    figure = grid_figure(None, bare)
    assert [panel.get_ylabel() for panel in figure.axes if panel.get_ylabel()] == ["synthetic"]
    assert len(figure.axes) == 6 and not figure.texts
    captions = {
        "synthetic": (None, bare),
        "mask, synthetic, with outline": (None, real),
        "mask, real, synthetic, with outline": (real, real),
    }
    for caption, (owners, synthetic) in captions.items():
        save_grid(tmp_path / "grid.png", owners, synthetic)
        with Image.open(tmp_path / "grid.png") as picture:
            assert picture.info["Description"] == caption


def test_subjects_are_columns_and_levels_are_rows(real: Pool) -> None:
    table = real.table.assign(level=["base", "apex", "base", "base", "base", "middle"])
    train = replace(real, name="train", table=table)
    panels = np.array(subjects_figure([train, real], count=4).axes).reshape(3, 4)
    assert [p.get_title() for p in panels[0]] == [
        "a ES\ntrain",
        "c ES\ntrain",
        "a ES\ntest",
        "c ES\ntest",
    ]
    assert [p.get_ylabel() for p in panels[:, 0]] == ["base", "middle", "apex"]
    shown = [[len(panel.images) for panel in row] for row in panels]
    assert shown == [[1, 1, 1, 1], [0, 1, 0, 0], [1, 0, 0, 0]]


def test_pairs_lie_together_one_a_subject_in_grey_where_the_space_is_unfit(real: Pool) -> None:
    rows = [
        {"row": k, "train_row": k, "subject": s, "near": near, "limit": 0.7304, "distance": 1.0}
        for k, (s, near) in enumerate(zip("aabbcc", (0.1, 0.2, 0.7301, 0.8, 0.9, 0.9), strict=True))
    ]
    spaces = ("pixels", "features")
    table = pd.concat([pd.DataFrame(rows).assign(space=space) for space in spaces])
    unfit = {"privacy/copy_rate_features"}
    figure = pairs_figure(real, real, {"copies": table}, unfit=unfit, count=3)
    panels = np.array(figure.axes).reshape(2, 2, 3)
    subjects = [panel.get_xlabel().split()[0] for panel in panels[0, 1]]
    assert subjects == ["a", "b", "c"]
    titles = [panel.title for panel in panels[0, 0]]
    assert titles[1].get_text() == "0.730, limit 0.730"
    colours = [[panel.title.get_color() for panel in band[0]] for band in panels]
    assert colours == [["#a4262c", "#a4262c", "#777777"], ["#777777"] * 3]
    place = [[band[k, 0].get_position() for k in (0, 1)] for band in panels]
    within = place[0][0].y0 - place[0][1].y1
    between = place[0][1].y0 - place[1][0].y1
    assert 0 <= within < 0.02 < 0.05 < between
