"""What a prepared folder holds, and that an interruption leaves nothing half-written."""

from __future__ import annotations

import errno
import io
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from layouts import SHAPE, heart, save, write_acdc, write_mnms, write_nnunet
from omegaconf import OmegaConf

from cmr_bench.data.acdc import ACDC
from cmr_bench.data.mnms import MnMs
from cmr_bench.data.nnunet import NnUNet
from cmr_bench.data.pools import content_hash, load_pool, load_table
from cmr_bench.data.prepare import prepare
from cmr_bench.data.summary import summary
from cmr_bench.data.survey import checksum
from cmr_bench.preparation import data_inputs
from cmr_bench.store.files import read_json


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 20 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_rows_pools_and_manifest_agree(acdc: Callable[..., Path], settings: dict[str, Any]) -> None:
    root = acdc(6)
    folder = prepare(ACDC(root), **settings)
    table, manifest = load_table(folder), read_json(folder / "manifest.json")
    assert len(table) == 6 * 2 * SHAPE[2] == sum(volume["slices"] for volume in manifest["volumes"])
    pools = {name: load_pool(folder, name) for name in ("train", "val", "test")}
    assert sum(map(len, pools.values())) == len(table)
    assert len({s for pool in pools.values() for s in pool.subjects}) == 6
    pool = pools["train"]
    assert tuple(pool.images.shape[1:]) == tuple(pool.masks.shape[1:]) == (1, 16, 16)
    assert pool.images.min() >= -1
    assert pool.images.max() <= 1
    assert set(pool.masks.unique().tolist()) == {0, 1, 2, 3}
    assert (pool.labels, pool.spacing_mm) == ((1, 2, 3), 5.0)
    one = pool.table[(pool.table["subject"] == pool.subjects[0]) & (pool.table["phase"] == "ED")]
    assert one["slice"].tolist() == list(range(6))
    assert one["level"].tolist() == ["base", "base", "middle", "middle", "apex", "apex"]
    assert set(pool.table["thickness_mm"]) == {10.0}
    volume = manifest["volumes"][0]
    assert volume["spacing_mm"] == [2.5, 2.5, 10.0]
    for file, digest in volume["files"].items():
        assert checksum(settings["root"] / file) == digest
    assert manifest["outside"].keys() == {"lv", "myo", "rv"}


def test_rows_follow_their_own_image(acdc: Callable[..., Path], settings: dict[str, Any]) -> None:
    """The cavity is brighter than the wall in each slice: image, mask and table were not shuffled apart."""
    folder = prepare(ACDC(acdc(4)), **settings | {"spacing_mm": 2.5, "size": 48})
    pool = load_pool(folder, "train")
    for image, mask, (phase, k) in zip(
        pool.images, pool.masks, pool.table[["phase", "slice"]].to_numpy(), strict=True
    ):
        assert image[mask == 1].mean() > image[mask == 2].mean() + 0.3
        radius = (7.5 if phase == "ED" else 6.0) - 0.7 * k
        assert int((mask == 1).sum()) == pytest.approx(np.pi * radius**2, rel=0.15)


def test_same_settings_give_the_same_bytes(
    acdc: Callable[..., Path], settings: dict[str, Any]
) -> None:
    reader = ACDC(acdc(4))
    first = prepare(reader, **settings)
    second = prepare(reader, **settings | {"folder": settings["root"] / "again"})
    assert content_hash(first) == content_hash(second / "data.h5")
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()
    other = prepare(reader, **settings | {"folder": settings["root"] / "other", "crop": "mask"})
    assert content_hash(other) != content_hash(first)


def test_slices_without_label(acdc: Callable[..., Path], settings: dict[str, Any]) -> None:
    root = acdc(4)
    _, mask = heart("patient001")
    mask = np.choose(mask, [0, 3, 2, 1])
    mask[..., 0] = mask[..., -1] = 0
    save(root / "training/patient001/patient001_frame01_gt.nii.gz", mask, kind="uint8")
    folder = prepare(ACDC(root), **settings)
    table = load_table(folder)
    one = table[(table["subject"] == "patient001") & (table["phase"] == "ED")]
    assert one["slice"].tolist() == [0, 1, 2, 3]
    first = read_json(folder / "manifest.json")["volumes"][0]
    assert (first["slices"], first["slices_unlabelled"]) == (4, 2)
    every = load_table(prepare(ACDC(root), slices="all", **settings))
    one = every[(every["subject"] == "patient001") & (every["phase"] == "ED")]
    assert one["slice"].tolist() == [-1, 0, 1, 2, 3, 4]
    assert one["level"].tolist() == ["base", "base", "middle", "middle", "apex", "apex"]


def test_absent_structures_are_declared(tmp_path: Path, settings: dict[str, Any]) -> None:
    root = write_nnunet(tmp_path / "raw", ["a_ED", "b_ED"], {"background": 0, "LV": 1}, {1: 1})
    settings["split"] = {"train": 0, "val": 0, "test": 1, "seed": 0}
    pool = load_pool(prepare(NnUNet(root), **settings), "test", name="external")
    assert (pool.name, pool.labels) == ("external", (1,))
    assert set(pool.masks.unique().tolist()) == {0, 1}


def test_own_splits_of_mnms(tmp_path: Path, settings: dict[str, Any]) -> None:
    codes = {
        "A1": "Training/Labeled",
        "B1": "Validation",
        "C1": "Testing",
        "D1": "Training/Labeled",
    }
    settings["split"]["own"] = True
    folder = prepare(MnMs(write_mnms(tmp_path / "mnms", codes)), **settings)
    assert {name: set(load_pool(folder, name).subjects) for name in ("train", "val", "test")} == {
        "train": {"A1", "D1"},
        "val": {"B1"},
        "test": {"C1"},
    }


def test_limit_counts_training_subjects(
    acdc: Callable[..., Path], settings: dict[str, Any]
) -> None:
    folder = prepare(ACDC(acdc(6)), limit=2, **settings)
    assert len(set(load_pool(folder, "train").subjects)) == 2


@pytest.mark.parametrize(
    ("key", "value"), [("on_fault", "ignore"), ("slices", "some"), ("crop", "heart")]
)
def test_a_wrong_choice_is_refused_before_any_work(
    acdc: Callable[..., Path], settings: dict[str, Any], key: str, value: str
) -> None:
    with pytest.raises(ValueError, match=rf"data\.{key}={value}: choose one of"):
        prepare(ACDC(acdc(1)), **settings | {key: value})
    assert not settings["folder"].exists()


def test_an_empty_split_and_a_missing_folder_are_one_line(
    acdc: Callable[..., Path], settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["split"] = {"train": 1, "val": 0, "test": 0, "seed": 0}
    folder = prepare(ACDC(acdc(2)), **settings)
    with pytest.raises(ValueError, match="split test is empty; it holds train"):
        load_pool(folder, "test")
    with pytest.raises(ValueError, match="no prepared data"):
        load_pool(tmp_path / "nowhere", "train")


def test_an_interruption_leaves_nothing(
    acdc: Callable[..., Path], settings: dict[str, Any]
) -> None:
    root = acdc(4)
    last = ACDC(root).records()[-1].image

    class Gone(ACDC):
        """A data set whose last file vanishes between the check and the writing, when its labels are asked for."""

        @property
        def labels(self) -> tuple[int, ...]:  # type: ignore[override]
            last.unlink(missing_ok=True)
            return (1, 2, 3)

    with pytest.raises(ValueError, match="cannot be read"):
        prepare(Gone(root), **settings)
    assert list(settings["folder"].glob("*")) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(
    acdc: Callable[..., Path], settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    reader = ACDC(acdc(4))
    request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match=r"could not write .*data\.h5") as caught:
        prepare(reader, **settings | {"spacing_mm": 2.5, "size": 48})
    assert caught.value.errno == errno.EFBIG
    assert "\n" not in str(caught.value)
    assert list(settings["folder"].glob("*")) == []


def test_summary_names_what_matters(acdc: Callable[..., Path], settings: dict[str, Any]) -> None:
    from rich.console import Console

    root = acdc(5)
    (root / "training/patient002/patient002_frame12_gt.nii.gz").unlink()
    folder = prepare(ACDC(root), on_fault="skip", **settings)
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(summary(folder))
    text = console.export_text()
    for part in (
        "subjects",
        "vendor Siemens",
        "pathology NOR",
        "outside the crop",
        "patient002_frame12_gt.nii.gz",
    ):
        assert part in text


def test_the_key_knows_the_folder_of_a_file_but_not_of_the_data(tmp_path: Path) -> None:
    """A patient moved from training/ to testing/ is another data set where data.split.own=true."""
    reader = {"_target_": "cmr_bench.data.acdc.ACDC", "root": "${..root}"}
    write_acdc(tmp_path / "first", ["patient001", "patient002"])

    def key(root: Path) -> dict[str, Any]:
        return data_inputs(OmegaConf.create({"root": str(root), "reader": reader}))

    first = key(tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "second")
    root = tmp_path / "second"
    assert key(root) == first
    (root / "testing").mkdir()
    (root / "training/patient002").rename(root / "testing/patient002")
    assert key(root) != first


def test_a_crop_that_loses_a_heart_is_a_warning(
    acdc: Callable[..., Path], settings: dict[str, Any]
) -> None:
    root = acdc(4)
    for file in (root / "training/patient002").glob("*frame01*.nii.gz"):
        data = np.roll(np.asarray(nib.load(file).dataobj), 20, axis=0)
        save(file, data, kind=str(data.dtype))
    folder = prepare(ACDC(root), **settings | {"spacing_mm": 4.0})
    found = [text for text in read_json(folder / "manifest.json")["warnings"] if "crop" in text]
    assert len(found) == 1
    assert found[0].startswith("patient002 ED: the crop loses")
    assert "% of lv" in found[0]
    assert "data.size or data.spacing_mm" in found[0]
