"""Copies of images and masks: moved ones are found, distances are those of their definitions, thresholds say what they rest on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from bench.bench_copies import cohort, found
from matplotlib.image import imread
from scipy.stats import mannwhitneyu

from cmr_bench.metrics.needs import FROM_POOLS
from cmr_bench.metrics.privacy import mask_copies
from cmr_bench.metrics.privacy.authenticity import Authenticity
from cmr_bench.metrics.privacy.copies import Copies, apart, crops, places
from cmr_bench.metrics.privacy.data_copying import Cell, DataCopying, c_t
from cmr_bench.metrics.privacy.mask_copies import (
    MaskCopies,
    contour_distance,
    contours,
    dice_distance,
    nearest_masks,
    structures,
)
from cmr_bench.metrics.privacy.neighbours import closest, neighbours
from cmr_bench.metrics.volumes import asd, dice, distances
from cmr_bench.reporting.grids import save_pairs
from cmr_bench.seeds import torch_rng

LABELS = (1, 2, 3)


def named(metric, evidence):
    return {s.name: s for s in metric.scores(evidence)}


def test_the_nearest_of_all_shifts_and_parts_is_that_of_brute_force():
    rng = torch.Generator().manual_seed(0)
    gallery = torch.randn(40, 6, generator=rng)
    variants = [torch.randn(30, 6, generator=rng) for _ in range(3)]
    subjects = np.arange(40) // 5
    rows = torch.arange(40).split(20)
    searches = [
        found._replace(row=part[found.row], other=part[found.other])
        for queries in variants
        for part in rows
        for found in [neighbours(queries, gallery[part], subjects[part])]
    ]
    found = closest(searches, subjects)
    d = torch.stack([torch.cdist(q.double(), gallery.double()) for q in variants]).amin(0)
    assert torch.equal(found.row, d.argmin(1))
    torch.testing.assert_close(found.first, d.amin(1))
    own = torch.as_tensor(subjects[None] == subjects[d.argmin(1)][:, None])
    others = d.masked_fill(own, float("inf"))
    torch.testing.assert_close(found.second, others.amin(1))
    assert torch.equal(found.other, others.argmin(1))


def test_an_image_moved_by_few_pixels_is_nearest_to_itself():
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    centre = next(crops(images, 2))
    for shift in ((0, 0), (1, -2), (-2, 2)):
        moved = crops(images.roll(shift, dims=(-2, -1)), 2)
        assert min((part - centre).abs().max() for part in moved) == 0
    assert len([*crops(images, 2)]) == 25 and len([*crops(images, 0)]) == 1


def test_moved_copies_are_found_where_shifts_are_searched(judge, train, test):
    """Two pixels off, images of grain have nothing in common with themselves."""

    def grain(pool, name):
        noise = torch.randn(pool.images.shape, generator=torch_rng(name)) / 3
        return replace(pool, images=noise.clamp(-1, 1))

    pools = {"train": grain(train, "train"), "test": grain(test, "test")}
    moved = replace(pools["train"], name="synthetic", images=pools["train"].images.roll(2, -1))
    rate = {
        shift: named(Copies(spaces=["pixels"], shift=shift), judge(moved, pools=pools))[
            "privacy/copy_rate"
        ].value
        for shift in (0, 2)
    }
    assert rate[0] < 0.2 and rate[2] == 1


def test_copies_are_told_in_each_space_and_each_image_stands_in_the_table(judge, train, tmp_path):
    evidence = judge(replace(train, name="synthetic"), spaces={"cardiac": lambda: halves})
    found = named(Copies(spaces=["pixels", "features", "cardiac", "unknown"]), evidence)
    for end in ("", "_features", "_cardiac"):
        assert found[f"privacy/copy_rate{end}"].value == 1
        words = found[f"privacy/copied_subjects{end}"].extra["in_words"]
        assert words == "12 of 12 training subjects have at least one synthetic near-copy"
    assert "not one of" in found["privacy/copy_rate_unknown"].reason
    MaskCopies().scores(evidence)
    images, masks = (evidence.tables[name] for name in ("copies", "mask_copies"))
    assert len(images) == 3 * len(train) and len(masks) == 2 * len(train)
    assert (images["row"] == images["train_row"]).all()
    assert list(images["subject"]) == 3 * list(train.subjects)
    for name in ("copies", "mask_copies"):
        evidence.tables[name].to_csv(tmp_path / f"{name}.csv", index=False)
    shown = save_pairs(tmp_path, evidence.pools["synthetic"], train)
    assert shown.shape == imread(tmp_path / "copies.png").shape[:2]
    assert abs(shown).max() <= 1 and shown.std() > 0.1
    assert save_pairs(tmp_path / "elsewhere", train, train) is None


def halves(images):
    return images.unflatten(-1, (2, -1)).mean((-1, -3)).flatten(1)


def test_a_place_is_that_on_the_way_between_two_images_whatever_lies_across():
    gallery = torch.tensor([[0.0, 0, 0], [4, 0, 0]], dtype=torch.float64)
    queries = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 3, -7], [2, 5, 1], [-1, 0, 0]])
    found = neighbours(queries.double(), gallery, ["a", "b"])
    way = apart(gallery[found.row], gallery[found.other])
    assert places(found, way) == pytest.approx([0, 0.5, 0, 1, 0.5])
    twins = neighbours(queries.double(), gallery.new_zeros(2, 3), ["a", "b"])
    assert places(twins, torch.zeros(5)).tolist() == [1] * 5


def test_an_exact_copy_is_at_the_beginning_of_the_way_however_much_shifts_bring_another_nearer(
    judge, train
):
    evidence = judge(replace(train, name="synthetic"))
    Copies(spaces=["pixels"]).scores(evidence)
    table = evidence.tables["copies"]
    assert (table["distance"] == 0).all() and table["near"].max() < 1e-6


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_copies_that_the_next_slice_hides_under_noise_are_found(seed, tmp_path):
    """At one rate of false positives: the ratio to the second nearest slice misses what `Copies` finds."""
    rates = found(cohort(tmp_path, seed), 0.7, seed)
    assert all(0 < false <= 0.05 for _, false in rates.values())
    assert rates["slices"][0] <= 0.7 and rates["Copies"][0] >= 0.95


def test_distances_of_masks_are_those_of_single_pairs(train):
    a, b = train.masks[:5], train.masks[30:36].clone()
    b[2], b[3][b[3] == 3] = 0, 0
    overlap = dice_distance(structures(a, LABELS), structures(b, LABELS))
    far = contour_distance(contours(a, LABELS, 1.5), contours(b, LABELS, 1.5), absent=50.0)
    for i, one in enumerate(a[:, 0].numpy()):
        for j, other in enumerate(b[:, 0].numpy()):
            pairs = [(one == k, other == k) for k in LABELS]
            assert overlap[i, j] == pytest.approx(np.mean([1 - dice(*pair) for pair in pairs]))
            each = [asd(distances(*pair, (1.5, 1.5))) if pair[1].any() else 50.0 for pair in pairs]
            assert far[i, j] == pytest.approx(np.mean(each), rel=1e-5)
    empty = torch.zeros(1, 1, 32, 32, dtype=torch.int64)
    assert dice_distance(structures(empty, LABELS), structures(b[2:3], LABELS)) == 0
    nothing = contours(empty, LABELS, 1.5)
    assert contour_distance(nothing, nothing, absent=50.0) == 0


def test_blocks_of_masks_do_not_matter(train, test, monkeypatch):
    known, asked = structures(train.masks, LABELS), structures(test.masks, LABELS)
    whole = nearest_masks(asked, known, train.subjects, dice_distance)
    monkeypatch.setattr(mask_copies, "BLOCK", 7)
    parts = nearest_masks(asked, known, train.subjects, dice_distance)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_masks_of_training_subjects_are_copies_and_those_of_others_are_not(judge, train):
    copied = named(MaskCopies(), judge(replace(train, name="synthetic")))
    fresh = named(MaskCopies(), judge())
    for end in ("", "_dice"):
        rate = f"privacy/mask_copy_rate{end}"
        assert copied[rate].value == 1 and copied[f"privacy/copied_masks{end}"].value == 1
        assert copied[rate].unit == "masks" and copied[f"privacy/copied_masks{end}"].n == 12
        assert fresh[rate].low <= fresh[rate].reference


def test_data_copying_is_the_z_of_a_rank_sum_where_each_subject_has_one_image():
    rng = np.random.default_rng(0)
    near, real = rng.normal(size=40), rng.normal(size=30) + 0.4
    wins = (near[:, None] > real).astype(float)
    u = mannwhitneyu(near, real).statistic
    z = (u - 600) / np.sqrt(40 * 30 * 71 / 12)
    value, low, high = c_t([Cell(wins, np.arange(30), 0.2)], 30)
    assert value == pytest.approx(z) and low < value < high
    doubled = [Cell(wins, np.arange(30), 0.2), Cell(1 - wins, np.arange(30), 0.6)]
    assert c_t(doubled, 30).value == pytest.approx(-z / 2)


def test_data_copying_sees_a_set_too_near_to_training_and_spares_others(judge, train, new_cohort):
    copied = named(DataCopying(), judge(replace(train, name="synthetic")))
    strangers = new_cohort("synthetic", 72, seed=3).take(slice(0, None, 6))
    fresh = named(DataCopying(), judge(strangers))
    for end in ("", "_pixels"):
        one, other = (found[f"privacy/data_copying{end}"] for found in (copied, fresh))
        assert one.value < -3 and one.high < 0
        assert other.low <= 0 <= other.high


@pytest.mark.parametrize("metric", [Copies, MaskCopies, Authenticity, DataCopying])
def test_too_few_subjects_give_a_line_and_no_number(metric, judge, train, test):
    def reasons(**pools):
        return {s.reason for s in metric().scores(judge(pools=pools))}

    lone = train.take(train.subjects == "train000")
    assert reasons(train=lone) == {"needs training images of two subjects at least; there is one"}
    some = {Copies: 5, MaskCopies: 5}.get(metric, 3)
    few = test.take(test.subjects < f"test{some - 1:03d}")
    assert reasons(test=few) == {
        f"needs {some} held-out subjects at least; there are {some - 1}: "
        "give more of them by data.split.val or data.split.test"
    }
    for name in metric.pools:
        assert reasons(**{name: train.take(slice(0, 0))}) == {
            f"pool {name} is empty: {FROM_POOLS[name]}"
        }


def test_a_rate_that_the_held_out_subjects_do_not_support_is_raised_and_says_so(judge):
    for metric in (Copies(fpr=0.01), MaskCopies(fpr=0.01)):
        rate = metric.scores(judge())[0]
        assert rate.reference == 1 / 9
        assert rate.reference_name.endswith("subjects, the lowest rate that 8 support")


def test_masks_that_label_one_structure_are_compared_by_it_alone(judge, train):
    """A release with the LV alone, copied from training masks: the structures that it lacks are not differences."""
    lone = replace(train, name="synthetic", masks=(train.masks == 1).long(), labels=(1,))
    found = named(MaskCopies(), judge(lone))
    for end in ("", "_dice"):
        assert found[f"privacy/mask_copy_rate{end}"].value == 1
