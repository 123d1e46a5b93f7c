"""Contours on the wrong place are noticed; sound ones are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layouts import ACDC_VALUES, SPACING, heart, recoded, save, write_acdc

from cmr_bench.data.acdc import ACDC
from cmr_bench.data.oddities import cavity_contrast, enclosed, oddities
from cmr_bench.data.stack import Stack
from cmr_bench.data.survey import survey


def stack(subject: str) -> Stack:
    image, mask = heart(subject)
    return Stack(image, mask, (SPACING[0], SPACING[1]), SPACING[2])


def one_slice_off(mask: np.ndarray) -> np.ndarray:
    mask[..., 2] = np.roll(mask[..., 2], 12, axis=1)
    return mask


def all_off(mask: np.ndarray) -> np.ndarray:
    return np.roll(mask, 12, axis=1)


def gap(mask: np.ndarray) -> np.ndarray:
    mask[..., 3] = 0
    return mask


def open_ring(mask: np.ndarray) -> np.ndarray:
    half = mask[:, :20, 1]
    half[half == 2] = 0
    mask[:, 20:24, 1][mask[:, 20:24, 1] == 2] = 0
    return mask


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (one_slice_off, "jumps off its neighbours and off the blood pool in slices 2"),
        (all_off, "hardly brighter"),
        (gap, "slices 3 between labelled ones"),
        (open_ring, "does not surround the LV cavity in slices 1"),
    ],
)
def test_each_oddity_is_named(harm: Callable[[np.ndarray], np.ndarray], text: str) -> None:
    for subject in ("a", "b", "c"):
        sound = stack(subject)
        assert oddities(sound) == []
        assert any(text in line for line in oddities(replace(sound, mask=harm(sound.mask.copy()))))


def test_contrast_is_the_chance_to_be_brighter() -> None:
    sound = stack("a")
    assert cavity_contrast(sound, 0) > 0.99
    assert cavity_contrast(replace(sound, image=-sound.image), 0) < 0.01
    noise = np.random.default_rng(0).normal(size=sound.image.shape)
    assert cavity_contrast(replace(sound, image=noise), 0) == pytest.approx(0.5, abs=0.1)


def test_enclosure_of_a_closed_ring_is_one_and_absent_myocardium_says_nothing() -> None:
    plane = stack("a").mask[..., 1]
    assert enclosed(plane) == 1
    assert enclosed(np.where(plane == 1, 1, 0)) == 1


def test_swapped_phases_and_a_right_ventricle_on_the_wrong_side_are_noticed(tmp_path: Path) -> None:
    names = [f"patient{i:03d}" for i in range(1, 7)]
    write_acdc(tmp_path, names)
    base = tmp_path / "training"
    (base / "patient002/Info.cfg").write_text("ED: 12\nES: 1\nGroup: NOR\n")
    image, mask = heart("patient004")
    save(base / "patient004/patient004_frame01.nii.gz", image[::-1])
    gt = recoded(mask, ACDC_VALUES)[::-1]
    save(base / "patient004/patient004_frame01_gt.nii.gz", gt, kind="uint8")
    warnings = {item.record.name: item.warnings for item in survey(ACDC(tmp_path))[0]}
    assert "phases swapped" in warnings.pop("patient002 ES")[0]
    assert "another side" in warnings.pop("patient004 ED")[0]
    assert not any(warnings.values())
