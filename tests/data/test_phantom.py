from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from scipy import ndimage

from cmr_bench.data.phantom import Phantom, Subject
from cmr_bench.data.phantom_prepare import prepare_phantom
from cmr_bench.data.pools import load_pool


@pytest.fixture(scope="module")
def cohort() -> list[Subject]:
    phantom = Phantom(subjects=10, seed=1)
    return [phantom[i] for i in range(10)]


def stack(subject: Subject, phase: str) -> tuple[np.ndarray, np.ndarray]:
    rows = (subject.table["phase"] == phase).to_numpy()
    return subject.images[rows], subject.masks[rows]


def litres(subject: Subject, phase: str, label: int) -> float:
    voxel = 2.5**2 * float(subject.table["thickness_mm"].iloc[0])
    return float((stack(subject, phase)[1] == label).sum() * voxel / 1e6)


def test_a_subject_is_a_function_of_seed_and_index(cohort: list[Subject]) -> None:
    again = Phantom(subjects=7, seed=1)[6]
    np.testing.assert_array_equal(again.images, cohort[6].images)
    np.testing.assert_array_equal(again.masks, cohort[6].masks)
    assert again.truth == cohort[6].truth
    assert again.table.equals(cohort[6].table)
    other = Phantom(subjects=7, seed=2)[6]
    assert other.truth["subject"] != again.truth["subject"]
    assert other.truth["edv_ml"] != again.truth["edv_ml"]


def test_images_and_labels_are_in_range(cohort: list[Subject]) -> None:
    for subject in cohort:
        assert subject.images.dtype == np.float32
        assert subject.masks.dtype == np.uint8
        assert np.isfinite(subject.images).all()
        assert subject.images.min() == -1
        assert subject.images.max() == 1
        assert set(np.unique(subject.masks)) == {0, 1, 2, 3}
        assert subject.masks.any(axis=(1, 2)).all()
        assert len(subject.table) == len(subject.images) == len(subject.masks)


def test_the_wall_encloses_the_cavity(cohort: list[Subject]) -> None:
    for subject in cohort:
        for mask in subject.masks:
            touched = ndimage.binary_dilation(mask == 1) & (mask != 1)
            assert (mask[touched] == 2).all()


def test_the_right_ventricle_leans_on_the_septum(cohort: list[Subject]) -> None:
    for subject in cohort:
        table = subject.table
        for mask in subject.masks[
            ((table["phase"] == "ED") & (table["level"] == "middle")).to_numpy()
        ]:
            right = mask == 3
            assert right.any()
            assert (ndimage.binary_dilation(right) & (mask == 2)).any()
            assert (
                np.nonzero(right)[1].mean() < np.nonzero(mask == 1)[1].mean()
            )  # on the left of the image


def test_the_heart_narrows_to_the_apex(cohort: list[Subject]) -> None:
    for subject in cohort:
        for phase in ("ED", "ES"):
            area = np.isin(stack(subject, phase)[1], (1, 2)).sum(axis=(1, 2))
            assert area[-1] < 0.5 * area[: len(area) // 2].max()
            assert (np.diff(area[len(area) // 2 :]) <= 0).all()


def test_systole_empties_the_cavities_and_keeps_the_muscle(cohort: list[Subject]) -> None:
    for subject in cohort:
        ed, es = litres(subject, "ED", 1), litres(subject, "ES", 1)
        assert es < ed
        assert 1 - es / ed == pytest.approx(subject.truth["ef"], abs=0.13)
        assert litres(subject, "ES", 3) < litres(subject, "ED", 3)
    error = [1 - litres(s, "ES", 1) / litres(s, "ED", 1) - s.truth["ef"] for s in cohort]
    assert abs(np.mean(error)) < 0.04
    muscle = [litres(s, "ES", 2) / litres(s, "ED", 2) for s in cohort]
    assert np.mean(muscle) == pytest.approx(1, abs=0.08)


def test_labels_measure_the_true_volume(cohort: list[Subject]) -> None:
    share = [1000 * litres(s, "ED", 1) / s.truth["edv_ml"] for s in cohort]
    np.testing.assert_allclose(share, 1, atol=0.17)  # a slice more or less at the base
    assert np.mean(share) == pytest.approx(1, abs=0.06)


def test_blood_is_bright_muscle_dark_lung_darker(cohort: list[Subject]) -> None:
    for subject in cohort:
        image, mask = stack(subject, "ED")
        blood, muscle = (np.median(image[mask == label]) + 1 for label in (1, 2))
        assert blood > 1.6 * muscle > 1.6 * (np.percentile(image, 5) + 1)


def test_vendors_differ_in_the_image_and_not_in_the_anatomy() -> None:
    first, last = (Phantom(subjects=1, vendors=[v], artefacts=0)[0] for v in "AB")
    volumes = ("edv_ml", "esv_ml", "myocardium_ml", "rv_edv_ml")
    assert [first.truth[v] for v in volumes] == [last.truth[v] for v in volumes]
    same = min(len(first.images), len(last.images)) // 4
    assert np.abs(first.images[:same] - last.images[:same]).mean() > 0.02


def test_a_subject_is_known_by_its_surroundings(cohort: list[Subject]) -> None:
    """ED and ES of one subject share their background; two subjects do not."""

    def likeness(first: Subject, second: Subject) -> float:
        a, b = (
            s.images[((s.table["phase"] == phase) & (s.table["slice"] == 3)).to_numpy()][0]
            for s, phase in ((first, "ED"), (second, "ES"))
        )
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    own = np.mean([likeness(s, s) for s in cohort])
    others = np.mean([likeness(s, t) for s, t in itertools.pairwise(cohort)])
    assert own > others + 0.2


def test_finer_grid_shows_the_same_heart() -> None:
    coarse, fine = Phantom(subjects=1)[0], Phantom(subjects=1, size=96, spacing_mm=1.5)[0]
    assert coarse.truth == fine.truth
    areas = [(s.masks == 2).sum() * mm**2 for s, mm in ((coarse, 2.5), (fine, 1.5))]
    assert areas[0] == pytest.approx(areas[1], rel=0.05)


@pytest.mark.parametrize("wrong", [{"vendors": ["E"]}, {"pathologies": []}, {"subjects": 0}])
def test_a_wrong_argument_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"data.*{next(iter(wrong))}"):
        Phantom(**wrong)  # type: ignore[arg-type]


def test_prepared_folder_holds_pools_and_truth(tmp_path) -> None:
    folder = prepare_phantom(
        folder=tmp_path / "p",
        subjects=8,
        size=32,
        spacing_mm=5.0,
        split={"train": 0.5, "val": 0.25, "test": 0.25},
    )
    pools = [load_pool(folder, name) for name in ("train", "val", "test")]
    named = [set(pool.subjects) for pool in pools]
    assert [len(names) for names in named] == [4, 2, 2]
    assert not set.intersection(*named)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {s["subject"]: s["split"] for s in manifest["subjects"]} == {
        name: pool.name for pool, names in zip(pools, named, strict=True) for name in names
    }
    assert pools[0].images.shape[1:] == (1, 32, 32)
    assert pools[0].spacing_mm == 5.0
