"""Export: what is written is what was kept, readable by the project's own nnU-Net reader, and never half there."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cmr_bench.data.nnunet import NnUNet
from cmr_bench.data.released import release
from cmr_bench.data.stack import load
from cmr_bench.export import export, told
from cmr_bench.store import Cell, read_json
from cmr_bench.store.samples import Samples
from cmr_bench.types import Pool

DICE = [0.95, 0.5, np.nan, 0.8, 0.79]


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    masks = np.zeros((5, 12, 16), dtype=np.int64)
    masks[:, 2:9, 3:7], masks[:, 4:6, 9:13] = 1, 3
    masks[:, 3:5, 4:6] = 2
    return rng.uniform(-1, 1, masks.shape).astype(np.float32), masks


@pytest.fixture
def cell(tmp_path, pairs):
    images, masks = pairs
    cell = Cell(tmp_path / "runs" / "cells" / "fm-0123456789ab")
    cell.folder.mkdir(parents=True)
    cell.write("cell.json", {"model": "fm", "mask": "deformed", "data": "phantom", "seed": 4})
    (cell.folder / "config.yaml").write_text("seed: 4\ndata: {spacing_mm: 2.5}\n")
    samples = Samples(cell.folder / "samples.h5")
    samples.reserve("synthetic", masks=masks, seeds=np.arange(5) + 2**60)
    samples.put("synthetic", np.arange(5), images[:, None])
    each = {f"dice{end}": DICE for end in ("", "_lv", "_myo", "_rv")}
    table = pd.DataFrame({"row": range(5), **each, "pool": "synthetic"})
    pd.concat([table, table.assign(pool="test")]).to_csv(
        cell.folder / "adherence_images.csv", index=False
    )
    cell.finish()
    return cell


def test_the_projects_own_reader_reads_what_was_written(cell, pairs, tmp_path):
    told = export(cell.folder, tmp_path / "out", adherence=0.8)
    assert "3 of 5 pairs kept, adherence at least 0.8\n" in told and "dice_lv" in told
    assert "yield 0.500 of 4 pairs that show a structure\n" in told  # as fidelity/adherence_yield
    assert "1 with an empty mask, where nothing was found, pass\n" in told
    reader = NnUNet(tmp_path / "out")
    assert reader.labels == (1, 2, 3)
    records = reader.records()
    assert [r.subject for r in records] == ["synthetic00000", "synthetic00002", "synthetic00003"]
    for record, row in zip(records, (0, 2, 3), strict=True):
        stack = load(record)
        assert np.array_equal(stack.image[..., 0], pairs[0][row])
        assert np.array_equal(stack.mask[..., 0], pairs[1][row])
        assert stack.spacing_mm == (2.5, 2.5)
    cases = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert cases["seed"].tolist() == [2**60, 2**60 + 2, 2**60 + 3]
    assert set(cases["cell"]) == {"fm-0123456789ab"} and set(cases["mask_source"]) == {"deformed"}


@pytest.mark.parametrize("form", ["nnunet", "png", "hdf5"])
def test_structures_that_the_cells_data_do_not_label_are_not_named(cell, pairs, tmp_path, form):
    table = cell.folder / "adherence_images.csv"
    pd.read_csv(table).drop(columns=["dice_myo", "dice_rv"]).to_csv(table, index=False)
    masks = np.where(pairs[1] == 1, 1, 0)
    samples = Samples(cell.folder / "samples.h5")
    samples.path.unlink()
    samples.reserve("synthetic", masks=masks, seeds=np.arange(5))
    samples.put("synthetic", np.arange(5), pairs[0][:, None])
    export(cell.folder, tmp_path / "out", form=form, adherence=None)
    assert form != "nnunet" or NnUNet(tmp_path / "out").labels == (1,)
    back = tmp_path / "back"
    back.mkdir()
    table = pd.DataFrame({"subject": list("abcde"), "thickness_mm": 8.0})
    every = torch.zeros(5, 1, 16, 16)
    like = Pool("test", every, every.long(), table, 2.2, (1, 2, 3))
    with pytest.raises(ValueError, match="shows 40 x 30 mm, the data 35 mm"):  # 16 x 12 of 2.5 mm
        release(folder=back, synthetic=str(tmp_path / "out"), like=like, normalise={})
    like = Pool("test", every[..., :9, :9], every[..., :9, :9].long(), table, 2.5, (1, 2, 3))
    release(folder=back, synthetic=str(tmp_path / "out"), like=like, normalise={})
    assert read_json(back / "released.json")["labels"] == [1]


def test_masks_made_elsewhere_have_no_seed(cell, tmp_path):
    export(cell.folder, tmp_path / "own", adherence=None)
    with (cell.folder / "config.yaml").open("a") as file:
        file.write("model: {synthetic: /some/where}\n")
    export(cell.folder, tmp_path / "released", adherence=None)
    own, released = (
        pd.read_csv(tmp_path / name / "cases.csv")["mask_seed"] for name in ("own", "released")
    )
    assert own.notna().all() and released.isna().all()


def test_png_and_hdf5_hold_the_same_pairs(cell, pairs, tmp_path):
    export(cell.folder, tmp_path / "png", form="png", adherence=None)
    export(cell.folder, tmp_path / "h5", form="hdf5", adherence=0.9)
    grey = np.array(Image.open(tmp_path / "png" / "images" / "synthetic00004.png"))
    assert grey.dtype == np.uint16
    assert np.allclose(grey / 65535 * 2 - 1, pairs[0][4], atol=2 / 65535)
    mask = np.array(Image.open(tmp_path / "png" / "masks" / "synthetic00004.png"))
    assert np.array_equal(mask, pairs[1][4])
    with h5py.File(tmp_path / "h5" / "pairs.h5") as file:
        assert np.array_equal(file["images"][()], pairs[0][[0, 2]])
        assert file.attrs["spacing_mm"] == 2.5


def test_what_is_told_has_no_number_that_is_none(cell, tmp_path):
    every = export(cell.folder, tmp_path / "every", adherence=None)
    assert "every pair" in every and "None" not in every and "lower adherence" not in every
    pairs = pd.DataFrame({"row": range(20), "dice": [0.9, 0.8] + [0.1] * 18})
    few = told(tmp_path, pairs, pairs["dice"].to_numpy() > 0.7, 0.7)
    assert "nan" not in few and "kept 0.850 (too few for an interval)" in few
    assert "a lower adherence= keeps more" in few


def test_refusals_are_one_line_and_leave_nothing(cell, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep me")
    new = tmp_path / "new"
    with pytest.raises(ValueError, match="something already"):
        export(cell.folder, full)
    with pytest.raises(ValueError, match="no cell"):
        export(tmp_path, new)
    with pytest.raises(ValueError, match="take one of nnunet, png, hdf5"):
        export(cell.folder, new, form="dicom")
    for wrong in (80, -0.1, float("nan")):
        with pytest.raises(ValueError, match=f"adherence={wrong}: give a Dice between 0 and 1"):
            export(cell.folder, new, adherence=wrong)
    table = cell.folder / "adherence_images.csv"
    pd.read_csv(table).fillna(0).to_csv(table, index=False)
    with pytest.raises(ValueError, match="no pair of"):
        export(cell.folder, new, adherence=0.99)
    table.unlink()
    with pytest.raises(ValueError, match="judge the cell with the metric adherence"):
        export(cell.folder, new)
    (cell.folder / "done.json").unlink()
    with pytest.raises(ValueError, match="the cell is stopped"):
        export(cell.folder, new)
    assert not new.exists()
    assert (full / "mine.txt").read_text() == "keep me"
    assert not list(tmp_path.glob(".*tmp"))


def test_help_and_mistakes_on_the_command_line(tmp_path):
    def say(*words):
        return subprocess.run(
            [sys.executable, "-m", "cmr_bench.export", *words],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    said = say("--help").stdout
    assert "format=png" in said and "format: nnunet, png or hdf5" in said
    missing = say("out=x")
    assert missing.returncode != 0
    assert missing.stderr.strip() == "cmr_bench: cell is missing: give cell=VALUE"
    assert "no cell" in say(f"cell={tmp_path}", "out=x").stderr
    assert not list(tmp_path.iterdir())
