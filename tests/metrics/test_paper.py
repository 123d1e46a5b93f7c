"""The study's definitions, on arrays small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from cmr_bench.metrics.fidelity.agreement import ms_ssim as renormalised
from cmr_bench.metrics.paper.images import (
    BETAS,
    PaperFID,
    PaperImages,
    PaperLPIPS,
    ms_ssim,
    psnr,
    ssim,
)
from cmr_bench.metrics.paper.segmentation import PaperSegmentation, per_slice
from cmr_bench.metrics.utility.segmentation import Segmentation


def square(side, top, left, size, label=1):
    mask = torch.zeros(1, 1, side, side, dtype=torch.int64)
    mask[..., top : top + size, left : left + size] = label
    return mask


def test_background_counts_and_pixels_are_the_unit():
    truth, drawn = square(20, 5, 5, 6), square(20, 5, 7, 6)
    table = per_slice(truth, drawn).set_index("label")
    assert table.loc[1, "dice"] == pytest.approx(4 / 6)
    assert table.loc[1, "iou"] == pytest.approx(24 / 48)
    assert table.loc[1, "hd95"] == pytest.approx(2.0)
    assert table.loc[0, "dice"] == pytest.approx(2 * (400 - 48) / (2 * (400 - 36)))
    assert len(table) == 4


def test_asd_is_one_sided():
    """From the drawn surface to the true one; the other way round it is another number."""
    small, large = square(20, 8, 8, 2), square(20, 4, 4, 10)
    there, back = (
        per_slice(*pair).set_index("label").loc[1, "asd"]
        for pair in ((small, large), (large, small))
    )
    assert there != pytest.approx(back)
    near = square(20, 8, 8, 1)
    assert per_slice(small, near).set_index("label").loc[1, "asd"] == 0
    assert per_slice(near, small).set_index("label").loc[1, "asd"] == pytest.approx(
        (1 + 1 + 2**0.5) / 4
    )


def test_what_is_missed_or_invented_vanishes():
    nothing, something = square(20, 5, 5, 0), square(20, 5, 5, 6)
    invented = per_slice(nothing, something).set_index("label").loc[1]
    assert not np.isfinite(invented[["dice", "iou", "hd95", "asd"]].astype(float)).any()
    missed = per_slice(something, nothing).set_index("label").loc[1]
    assert (
        missed["dice"] == 0 and not np.isfinite(missed["hd95"]) and not np.isfinite(missed["asd"])
    )


@pytest.fixture
def few(test):
    """Three subjects: MONAI takes a while for each slice and class."""
    return test.take(slice(0, 18))


def scores(metric, evidence):
    return {s.name: s for s in metric.scores(evidence)}


def test_the_mean_is_over_finite_values_of_slices_and_classes(judge, few):
    found = scores(PaperSegmentation(), judge(pools={"test": few}))
    table = per_slice(few.masks, few.masks.roll(1, dims=-1))
    dice = found["utility/paper_dice"]
    assert dice.value == pytest.approx(table["dice"].mean())
    assert dice.reference == found["utility/paper_real_dice"].value == 1
    assert dice.extra["values"] == 4 * len(few) and dice.extra["dropped"] == 0
    assert (
        dice.value > scores(Segmentation(), judge(pools={"test": few}))["utility/dice"].value
    )  # background raises it
    assert dice.low < dice.value < dice.high and dice.n == 3


def test_failures_leave_the_mean_and_are_counted(judge, few):
    def blind(arm, seed, pool):
        return pool.masks.where(pool.masks != 3, 0)

    found = scores(PaperSegmentation(), judge(segment=blind, pools={"test": few}))
    assert found["utility/paper_hd95"].extra["dropped"] == len(few)
    assert found["utility/paper_hd95"].value < 3
    assert (
        scores(Segmentation(), judge(segment=blind, pools={"test": few}))["utility/hd95_rv"].value
        > 40
    )


def test_a_domain_with_one_label_is_refused(judge, few):
    external = replace(few, name="external", labels=(1,))
    found = scores(PaperSegmentation(), judge(pools={"test": few, "external": external}))
    for what in ("dice", "iou", "hd95", "asd"):
        assert "labels lv alone" in found[f"utility/paper_external_{what}"].reason
    own = scores(PaperSegmentation(), judge(pools={"test": replace(few, labels=(1,))}))
    assert set(PaperSegmentation.names) <= set(own)
    assert all("labels lv alone" in own[name].reason for name in PaperSegmentation.names)
    whole = scores(
        PaperSegmentation(), judge(pools={"test": few, "external": replace(few, name="external")})
    )
    assert whole["utility/paper_external_dice"].value == whole["utility/paper_dice"].value


def images(count=4, side=104, seed=0):
    rng = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 1, side // 4, side // 4, generator=rng)
    return 2 * torch.nn.functional.interpolate(small, side, mode="bilinear") - 1


def test_psnr_pools_all_pixels_at_range_one():
    a = images()
    b = a.clone()
    b[0] = (b[0] + 0.2).clamp(max=1)
    error = ((a - b) / 2).square().mean().item()
    found = psnr(a, b, np.array(list("abcd")))
    assert found.value == pytest.approx(10 * np.log10(1 / error), abs=1e-4)


def test_ssim_is_of_images_from_0_to_1():
    a, b = images(), images(seed=1)
    expected = structural_similarity_index_measure((a + 1) / 2, (b + 1) / 2, data_range=1.0)
    assert ssim(a, b).mean().item() == pytest.approx(float(expected), abs=1e-6)


def test_cut_weights_raise_ms_ssim():
    assert sum(BETAS) == pytest.approx(0.8668)
    a = images()
    b = (a + 0.3 * images(seed=1)).clamp(-1, 1)
    weights = [w / sum(BETAS) for w in BETAS]
    assert weights[0] == pytest.approx(0.0517, abs=1e-4)
    assert (ms_ssim(a, b) > renormalised(a, b)).all()
    torch.testing.assert_close(ms_ssim(a, a), torch.ones(4))


def test_images_smaller_than_four_scales_say_so(judge):
    found = scores(PaperImages(), judge())
    assert "99 pixels or more" in found["fidelity/paper_ms_ssim"].reason
    assert found["fidelity/paper_ssim"].value == pytest.approx(1)  # matched is test itself


def test_fid_takes_the_first_thousand_of_matched_and_test(judge, test, train, monkeypatch):
    monkeypatch.setattr("cmr_bench.metrics.paper.images.MOST", 40)
    found = scores(PaperFID(), judge())["fidelity/paper_fid"]
    assert found.value == pytest.approx(0, abs=1e-6) and found.n == 40
    assert found.reference > 0.01


def test_lpips_names_the_missing_weights(judge, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found = scores(PaperLPIPS(), judge())["fidelity/paper_lpips"]
    assert "vgg16" in found.reason


def test_lpips_is_the_mean_over_the_first_thousand_images(judge, test, monkeypatch, tmp_path):
    """A subject of more slices weighs more, and what comes after the first MOST is not looked at."""
    monkeypatch.setattr("cmr_bench.metrics.paper.images.MOST", 9)
    matched = replace(test, images=test.images + torch.arange(len(test)).reshape(-1, 1, 1, 1))
    metric = PaperLPIPS()
    monkeypatch.setattr(metric, "distance", lambda: lambda a, b: (a - b).flatten(1).mean(1))
    (found,) = metric.compute(judge(pools={"matched": matched}))
    assert found.value == pytest.approx(np.mean(range(9)), abs=1e-5)  # by subject: 4.75
    assert found.n == 2 and found.extra["images"] == 9


def test_fid_of_the_study_has_one_space():
    with pytest.raises(TypeError, match="spaces"):
        PaperFID(spaces=("pixels",))


def test_no_name_is_one_of_ours():
    classes = (PaperSegmentation, PaperImages, PaperFID, PaperLPIPS)
    assert all("/paper_" in name for kind in classes for name in kind.names)
