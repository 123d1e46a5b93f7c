"""The gate: one scan is found under two names however it was saved again; different hearts are left apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import (
    ACDC_VALUES,
    SPACING,
    heart,
    recoded,
    save,
    write_acdc,
    write_mnms2,
    write_nnunet,
)
from scipy.ndimage import zoom

from cmr_bench.data.acdc import ACDC
from cmr_bench.data.leakage import fingerprint, likeness, refuse_overlap, twins
from cmr_bench.data.mnms2 import MnMs2
from cmr_bench.data.nnunet import NnUNet
from cmr_bench.data.pools import load_pool, people, shared
from cmr_bench.data.prepare import prepare
from cmr_bench.data.stack import Stack
from cmr_bench.seeds import numpy_rng
from cmr_bench.store.files import read_json


def stack(subject: str, phase: str = "ED") -> Stack:
    image, mask = heart(subject, phase)
    return Stack(image, mask, (SPACING[0], SPACING[1]), SPACING[2])


def resampled(s: Stack, rows: float, columns: float) -> Stack:
    factors = (rows, columns, 1)
    look = {"grid_mode": True, "mode": "nearest"}
    spacing = (s.spacing_mm[0] / rows, s.spacing_mm[1] / columns)
    image, mask = zoom(s.image, factors, order=1, **look), zoom(s.mask, factors, order=0, **look)
    return replace(s, image=image, mask=mask, spacing_mm=spacing)


def arranged(s: Stack, change: Callable[[np.ndarray], np.ndarray]) -> Stack:
    return replace(s, image=change(s.image), mask=change(s.mask))


SAVED_AGAIN: dict[str, Callable[[Stack], Stack]] = {
    "float64": lambda s: replace(s, image=s.image.astype(np.float64)),
    "uint8": lambda s: replace(
        s, image=np.rint(s.image / s.image.max() * 255).astype(np.uint8).astype(float)
    ),
    "scale and offset": lambda s: replace(s, image=s.image * 0.01 - 40),
    "inverted": lambda s: replace(s, image=-s.image),
    "flip rows": lambda s: arranged(s, lambda x: x[::-1]),
    "flip columns": lambda s: arranged(s, lambda x: x[:, ::-1]),
    "transpose": lambda s: arranged(s, lambda x: x.transpose(1, 0, 2)),
    "quarter turn": lambda s: arranged(s, lambda x: np.rot90(x, 1)),
    "turned and apex first": lambda s: arranged(s, lambda x: np.rot90(x, 3)[..., ::-1]),
    "finer": lambda s: resampled(s, 1.7, 1.7),
    "coarser": lambda s: resampled(s, 0.6, 0.6),
    "stretched": lambda s: resampled(s, 1.5, 0.8),
    "padded": lambda s: arranged(s, lambda x: np.pad(x, ((9, 4), (0, 11), (0, 0)))),
    "cropped": lambda s: arranged(s, lambda x: x[4:-3, 5:-2]),
    "without labels": lambda s: replace(s, mask=0 * s.mask),
    "noise": lambda s: replace(s, image=s.image + numpy_rng(1).normal(0, 10, s.image.shape)),
}
COHORT = [f"subject {i}" for i in range(8)]


@pytest.mark.parametrize("how", SAVED_AGAIN)
def test_a_scan_saved_again_is_found(how: str) -> None:
    known = np.stack([fingerprint(stack(name)) for name in COHORT])
    copy = fingerprint(SAVED_AGAIN[how](stack(COHORT[3])))
    found = twins(([*COHORT, "another name"], np.concatenate([known, copy[None]])))
    assert [(twin.first, twin.second) for twin in found] == [("another name", COHORT[3])]


def test_different_subjects_and_phases_of_one_are_no_twins() -> None:
    names = [name for name in COHORT for _ in range(2)]
    prints = [fingerprint(stack(name, phase)) for name in COHORT for phase in ("ED", "ES")]
    assert twins((names, np.stack(prints))) == []


def test_likeness_is_symmetric_and_one_with_itself() -> None:
    prints = np.stack([fingerprint(stack(name)) for name in COHORT[:4]])
    table = likeness(prints, prints)
    np.testing.assert_allclose(np.diag(table), 1, atol=1e-5)
    np.testing.assert_allclose(table, table.T, atol=1e-5)


def test_a_flat_volume_is_like_nothing() -> None:
    flat = Stack(np.full((20, 20, 4), 3.0), np.zeros((20, 20, 4), np.uint8), (2.0, 2.0), 10.0)
    prints = np.stack([fingerprint(flat), fingerprint(stack(COHORT[0]))])
    assert likeness(prints, prints)[0].max() == 0


def test_overlapping_splits_are_refused() -> None:
    refuse_overlap({"train": ["a", "a", "b"], "test": ["c"]})
    with pytest.raises(ValueError, match="subject b is in train and in test"):
        refuse_overlap({"train": ["a", "b"], "test": ["b"]})


def test_prepare_keeps_twins_on_one_side_and_names_both(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    root = write_acdc(tmp_path / "acdc", [f"patient{i:03d}" for i in range(1, 9)])
    for phase, frame in (("ED", 1), ("ES", 12)):
        image, mask = heart("patient002", phase)
        base = root / "training/patient006"
        save(base / f"patient006_frame{frame:02d}.nii.gz", 3 * image[::-1] + 7, kind="float32")
        gt = recoded(mask, ACDC_VALUES)[::-1]
        save(base / f"patient006_frame{frame:02d}_gt.nii.gz", gt, kind="uint8")
    for seed in range(2):
        settings["split"]["seed"] = seed
        folder = prepare(ACDC(root), **settings)
        manifest = read_json(folder / "manifest.json")
        sides = {volume["subject"]: volume["split"] for volume in manifest["volumes"]}
        assert sides["patient002"] == sides["patient006"]
        assert any("patient002 and patient006" in text for text in manifest["warnings"])
        assert people(folder) == {"patient006": "patient002"}


def test_a_person_under_several_names_is_the_first_over_any_chain(tmp_path: Path) -> None:
    twins = [["b", "d", 1.0], ["c", "e", 1.0], ["d", "c", 1.0], ["x", "y", 1.0]]
    (tmp_path / "manifest.json").write_text(json.dumps({"twins": twins}))
    assert people(tmp_path) == {"c": "b", "d": "b", "e": "b", "y": "x"}
    (tmp_path / "manifest.json").write_text("{}")
    assert people(tmp_path) == {}


def test_between_data_sets(tmp_path: Path, settings: dict[str, Any]) -> None:
    names = [f"patient{i:03d}" for i in range(1, 5)]
    main = prepare(ACDC(write_acdc(tmp_path / "acdc", names)), **settings)
    settings["split"] = {"train": 0, "val": 0, "test": 1, "seed": 0}
    labels = {"background": 0, "LV": 1}

    def external(name: str, *cases: str) -> Path:
        root = write_nnunet(tmp_path / name, cases, labels, {1: 1})
        return prepare(NnUNet(root), **settings | {"folder": tmp_path / f"out {name}"})

    assert shared(main, external("apart", "x_ED", "y_ED", "z_ED")) == []
    with pytest.raises(ValueError, match="patient003"):
        shared(main, external("same name", "x_ED", "patient003_ED"))
    root = write_nnunet(tmp_path / "renamed", ["patient003_ED", "x_ED", "y_ED"], labels, {1: 1})
    (root / "cases.csv").write_text(
        "case,subject,phase\npatient003_ED,Q7,ED\nx_ED,x,ED\ny_ED,y,ED\n"
    )
    other = prepare(NnUNet(root), **settings | {"folder": tmp_path / "out renamed"})
    found = shared(main, other)
    assert [(twin.first, twin.second) for twin in found] == [("patient003", "Q7")]
    pool = load_pool(other, "test", name="external", without=[twin.second for twin in found])
    assert set(pool.subjects) == {"x", "y"}
    numbered = MnMs2(write_mnms2(tmp_path / "two", [1, 2]))
    numbers = prepare(numbered, **settings | {"folder": tmp_path / "out two"})
    assert shared(numbers, numbers)
