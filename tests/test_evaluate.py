"""Images made elsewhere are judged as those of a cell: what a cell exports scores what the cell scored."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import hydra
import nibabel as nib
import numpy as np
import pytest
import tiny
from omegaconf import DictConfig
from PIL import Image

from cmr_bench.cells import run_cell
from cmr_bench.config import check, conf_path
from cmr_bench.data.elsewhere import checksum
from cmr_bench.data.released import release
from cmr_bench.evaluate import OWN, alike
from cmr_bench.export import export
from cmr_bench.launchers.jobs import KEYS
from cmr_bench.metrics.fidelity.anatomy import volumes
from cmr_bench.store import Cell, read_json
from cmr_bench.synthesis import released_pool

CHOICES = dict.fromkeys(("model", "data", "mask", "metric", "protocol"), "phantom")
SMALL = [
    "data.size=32", "data.spacing_mm=5", "data.subjects=12", "data.split={train: 0.5, val: 0.25, test: 0.25, seed: 0}",
    "external=null", "segmenter.fit.steps=2", "segmenter.module.widths=[8,16,16]", "encoder.size=32",
    "metric.segmentation.seeds=[0]", "+metric.segmentation.arms=[synthetic,real]", "metric.kid.spaces=[features]",
    "metric.kid.repeats=50", "metric=fast", "+metric/privacy@metric.authenticity=authenticity",
    "trainer=cpu", "threads=1", "logger=csv",
]  # fmt: skip


def cell(verb: str, root: Path, model: str, *more: str) -> Cell:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        config = hydra.compose(verb, [*SMALL, f"store.root={root}", *more])
    check(config, OWN if verb == "evaluate" else KEYS)
    return run_cell(config, CHOICES | {"model": model})


def scores(cell: Cell) -> dict[str, dict]:
    return {row["name"]: row for row in cell.scores()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def made(root: Path) -> Cell:
    more = ["model=control/painter", "callbacks=none", "synthesis.count=24"]
    return cell("run", root, "control/painter", *more)


@pytest.mark.parametrize("form", ["hdf5", "nnunet", "png"])
def test_what_a_cell_exports_scores_what_the_cell_scored(
    form: str, made: Cell, root: Path, tmp_path: Path
) -> None:
    export(made.folder, tmp_path / "out", form=form, adherence=None)
    judged = cell("evaluate", root, "released", f"synthetic={tmp_path / 'out'}")
    before, after = scores(made), scores(judged)
    asked = {"fidelity/adherence", "privacy/mia_auc", "privacy/mia_tpr_at_fpr"}
    assert asked <= {name for name, row in after.items() if row["reason"]}
    assert "no model to ask" in after["privacy/mia_auc"]["reason"]
    answered = {name for name, row in after.items() if not row["reason"]}
    assert {
        "fidelity/kid",
        "fidelity/chain_adherence",
        "utility/dice",
        "privacy/copy_rate",
        "privacy/authenticity",
    } <= answered
    near = {"rel": 0.02, "abs": 2e-3} if form == "png" else {"rel": 0, "abs": 0}
    for name in answered:
        for key in ("value", "low", "high", "reference", "n"):
            was, now = before[name][key], after[name][key]
            assert now == pytest.approx(was, nan_ok=True, **near), (name, key)
    assert (judged.folder / "grid.png").stat().st_size > 1000
    about = read_json((judged.folder / "samples.h5").resolve().parent / "released.json")
    assert about["intensities"] == "kept" and about["resampled"] == 0 and about["files"] == 24


def like_a_cell(*words: str) -> DictConfig:
    typed = alike(words)
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        return hydra.compose("evaluate", typed)


def test_an_export_is_judged_as_its_cell_was_in_one_word(
    made: Cell, root: Path, tmp_path: Path
) -> None:
    said = export(made.folder, tmp_path / "out", form="hdf5", adherence=None)
    words = said.splitlines()[-1].split("cmr_bench.evaluate ")[1].split()
    again = run_cell(like_a_cell(*words, "logger=csv"), CHOICES | {"model": "released"})
    assert again == cell("evaluate", root, "released", f"synthetic={tmp_path / 'out'}")


def test_what_is_typed_beside_a_cell_wins(made: Cell, root: Path) -> None:
    words = ["synthetic=x", f"like={made.folder}"]
    config = like_a_cell(*words)
    check(config, OWN)
    assert (config.data.size, config.metric.kid.repeats, config.seed) == (32, 50, 0)
    assert Path(config.store.root) == root
    config = like_a_cell(*words, "metric=attacks", "data.subjects=9", "seed=3")
    assert (config.data.size, config.data.subjects, config.seed) == (32, 9, 3)
    assert "kid" not in config.metric and "sima" in config.metric
    with pytest.raises(ValueError, match="no cell; give a folder below runs/cells"):
        alike(["like=nowhere"])
    with pytest.raises(ValueError, match="like=runs/cells/NAME judges as that cell was"):
        alike(["experiment=quick"])


def test_help_names_every_option_of_the_groups() -> None:
    words = (Path(conf_path()) / "evaluate.yaml").read_text()
    for line in words.partition("== Groups")[2].partition("== Values")[0].splitlines()[1:]:
        group, _, named = line.strip().partition(": ")
        options = {path.stem for path in Path(conf_path(), group).glob("*.yaml")}
        assert not group or set(re.findall(r"\w+", named.partition(" (")[0])) == {
            name for name in options if not name.endswith("_external")
        }


def test_images_without_masks_leave_out_what_needs_masks(
    made: Cell, root: Path, tmp_path: Path
) -> None:
    export(made.folder, tmp_path / "out", form="png", adherence=None)
    more = ["+metric/privacy@metric.mask_copies=mask_copies", "+metric/fidelity@metric.masks=masks"]
    bare = f"synthetic={tmp_path / 'out' / 'images'}"
    found = scores(cell("evaluate", root, "released", bare, *more))
    for name in ("utility/dice", "fidelity/adherence", "privacy/mask_copy_rate", "fidelity/mask_anatomy"):  # fmt: skip
        assert found[name]["reason"] == "the synthetic images came without masks"
    was = scores(made)["privacy/nn_ratio"]["value"]
    assert found["privacy/nn_ratio"]["value"] == pytest.approx(was, abs=1e-3)


def test_images_that_are_refused_leave_no_cell(root: Path, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    before = sorted(root.glob("cells/*"))
    with pytest.raises(ValueError, match="a colour image"):
        cell("evaluate", root, "released", f"synthetic={tmp_path}")
    assert sorted(root.glob("cells/*")) == before


def test_a_proxy_can_be_trained_on_what_was_released(
    made: Cell, root: Path, tmp_path: Path
) -> None:
    export(made.folder, tmp_path / "out", form="hdf5", adherence=None)
    more = ["+metric/privacy@metric.proxy=proxy", "fit.steps=2", "size.widths=[32,32]", "size.inner=32",
            "size.attention=[false,false]"]  # fmt: skip
    asked = cell("evaluate", root, "released", f"synthetic={tmp_path / 'out'}", *more)
    found = scores(asked)["privacy/proxy_auc"]
    assert not found["reason"] and 0 <= found["value"] <= 1
    other = cell(
        "evaluate", root, "released", f"synthetic={tmp_path / 'out'}", *more, "fit.steps=3"
    )
    assert other.folder != asked.folder, "another proxy is another answer"


@pytest.fixture
def like():
    pool = tiny.pool(4)
    return replace(pool, table=pool.table.assign(slice=0, thickness_mm=8.0))


def taken(folder: Path, like, **more):
    place = folder.with_name("taken")
    place.mkdir(exist_ok=True)
    normalise = {"per": "volume", "low": 0, "high": 100}
    release(folder=place, synthetic=str(folder), like=like, normalise=normalise, **more)
    return released_pool(place, like), read_json(place / "released.json")


def test_raw_intensities_and_another_grid_are_brought_to_the_datas(like, tmp_path: Path) -> None:
    """16 pixels of 2.5 mm out of 64 of 1.25 mm; grey values of a scanner become those of preparation."""
    y, x = np.mgrid[:64, :64] - 31.5
    disc = (np.hypot(y, x) < 12).astype(np.float32)
    here = tmp_path / "scans"
    (here / "images").mkdir(parents=True)
    (here / "masks").mkdir()
    stack = np.stack([disc, disc], axis=2)
    for part, values in (("images", 100 + 900 * stack), ("masks", 7 * stack)):
        header = np.diag([1.25, 1.25, 8.0, 1.0])
        nib.save(nib.Nifti1Image(values.astype(np.float32), header), here / part / "a.nii.gz")
    (here / "images" / "notes.txt").write_text("no image")
    pool, about = taken(here, like, labels={"lv": 7})
    assert pool.images.shape == (2, 1, 16, 16) and about["resampled"] == 1
    assert set(pool.subjects) == {"synthetic-a"}, "slices of one file are one subject"
    assert pool.table["slice"].tolist() == [0, 1] and set(pool.table["thickness_mm"]) == {8.0}
    assert pool.labels == (1,) and about["intensities"] == "percentiles"
    assert [float(pool.images.min()), float(pool.images.max())] == pytest.approx([-1, 1])
    area = float((pool.masks[0] == 1).sum()) * like.spacing_mm**2
    assert area == pytest.approx(math.pi * (12 * 1.25) ** 2, rel=0.1)


def test_stacks_of_both_phases_have_volumes_and_an_ejection_fraction(like, tmp_path: Path) -> None:
    """Cylinders of known radius, on the data's grid: pi r^2 over 3 slices of 8 mm, in ml."""
    y, x = np.mgrid[:16, :16] - 7.5
    out, radius = tmp_path / "scans", {"ED": 6.0, "ES": 4.0}
    for part in ("images", "masks"):
        (out / part).mkdir(parents=True)
    for patient in ("p1", "p2"):
        for phase, r in radius.items():
            stack = np.repeat((np.hypot(y, x) < r)[..., None], 3, axis=2).astype(np.float32)
            for part, values in (("images", 2 * stack - 1), ("masks", stack)):
                header = np.diag([like.spacing_mm, like.spacing_mm, 8.0, 1.0])
                file = out / part / f"{patient}_{phase}.nii.gz"
                nib.save(nib.Nifti1Image(values, header), file)
    pool, _ = taken(out, like)
    found = volumes(pool)
    assert found["subject"].tolist() == ["synthetic-p1", "synthetic-p2"]
    pixels = {phase: (np.hypot(y, x) < r).sum() for phase, r in radius.items()}
    ml = {phase: n * like.spacing_mm**2 * 3 * 8 / 1000 for phase, n in pixels.items()}
    assert found["edv_lv"].tolist() == pytest.approx([ml["ED"]] * 2)
    assert found["ef_lv"].tolist() == pytest.approx([100 * (1 - ml["ES"] / ml["ED"])] * 2)


def test_faults_are_named_in_one_line_with_the_remedy(like, tmp_path: Path) -> None:
    here = tmp_path / "scans"
    here.mkdir()

    def refused(words: str, **more) -> None:
        with pytest.raises(ValueError, match=words) as error:
            taken(here, like, **more)
        assert "\n" not in str(error.value)

    with pytest.raises(ValueError, match=r"no such file or folder; expected an HDF5"):
        taken(tmp_path / "absent", like)
    refused("no images; expected")
    (here / "masks").mkdir()
    grey = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(here / "a.png")
    refused(r"1 images have no mask, a\.png")
    Image.fromarray(grey // 60 * 60).save(here / "masks" / "a.png")
    refused("mask has the value 60, which is no label; give model.labels")
    Image.fromarray(np.where(grey > 200, 3, np.where(grey < 30, 1, 0)).astype(np.uint8)).save(
        here / "masks" / "a.png"
    )
    refused("right ventricle lies on another side")
    (here / "masks" / "a.png").unlink()
    (here / "masks").rmdir()
    refused("choose one of auto", intensities="raw")
    Image.fromarray(grey[:12, :12]).save(here / "a.png")
    refused("12 x 12 pixels of unknown spacing, the data have 16 x 16; give model.spacing_mm")
    refused("shows 12 x 12 mm, the data 40 mm; give data.size", spacing_mm=1)
    Image.fromarray(np.stack([grey, 255 - grey, grey], -1)).save(here / "a.png")
    refused("a colour image")


def test_the_checksum_follows_the_contents_not_the_place(tmp_path: Path) -> None:
    grey = np.zeros((4, 4), np.uint8)
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
        Image.fromarray(grey).save(tmp_path / place / "a.png")
    one, other = (str(tmp_path / place) for place in ("one", "other"))
    assert checksum(one) == checksum(other)
    Image.fromarray(grey + 1).save(tmp_path / "other" / "a.png")
    assert checksum(one) != checksum(other)
