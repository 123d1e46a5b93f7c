"""Controls give the answer that is known of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from cmr_bench.models import controls
from cmr_bench.store.samples import Samples
from cmr_bench.synthesis import synthesise, synthetic_pool
from cmr_bench.types import HasLosses, HasNoised, HasPredict, Pool


@pytest.fixture(scope="module")
def pools() -> dict[str, Pool]:
    grain = 0.05 * torch.randn(12, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    train, val = tiny.pool(12, seed=1), tiny.pool(8, seed=2)
    train = replace(train, images=(train.images + grain).clamp(-1, 1))
    val.table["vendor"] = ["A"] * 4 + ["B"] * 4
    train.table["vendor"] = ["A"] * 8 + ["B"] * 4
    return {"train": train, "val": replace(val, name="val")}


def drawn(control: controls.Control, pool: Pool) -> torch.Tensor:
    return control.sample(pool.masks, seeds=torch.arange(len(pool)))


def test_copies_are_training_images_and_their_disguises_are_near(pools: dict[str, Pool]) -> None:
    train = pools["train"]
    assert torch.equal(drawn(controls.Copy(pools=pools), train), train.images)
    noisy = drawn(controls.CopyNoise(pools=pools, noise=0.1), train)
    assert 0.05 < (noisy - train.images).std() < 0.12
    still = drawn(controls.CopyWarp(pools=pools, rotation=0, shift=0, bend=0), train)
    assert torch.allclose(still, train.images, atol=1e-5)
    moved = drawn(controls.CopyWarp(pools=pools), train)
    assert 0.01 < (moved - train.images).abs().mean() < 0.3


def test_one_patient_gives_away_a_single_subject(pools: dict[str, Pool]) -> None:
    control = controls.OnePatient(pools=pools)
    own = pools["train"].images[pools["train"].subjects == "s0"]
    for image in drawn(control, pools["val"]):
        assert any(torch.equal(image, known) for known in own)
    losses = control.losses(
        pools["train"].images, pools["train"].masks, times=(0.2,), seeds=torch.zeros(12)
    )
    assert losses[:2].max() < losses[2:].min()


def test_the_painter_knows_one_grey_a_tissue(pools: dict[str, Pool]) -> None:
    images = drawn(controls.Painter(pools=pools), pools["val"])
    for label in range(4):
        there = images[pools["val"].masks == label]
        known = pools["train"].images[pools["train"].masks == label]
        assert there.std() < 1e-6 and there.mean() == pytest.approx(float(known.mean()), abs=1e-5)


def test_real_controls_show_only_held_out_subjects(pools: dict[str, Pool]) -> None:
    val = pools["val"]
    assert torch.equal(drawn(controls.Heldout(pools=pools), val), val.images)
    soft = drawn(controls.Blurred(pools=pools), val)
    assert soft.std() < val.images.std() and soft.mean() == pytest.approx(
        float(val.images.mean()), abs=0.05
    )
    other = drawn(controls.Vendor(pools=pools), val)
    rare = val.images[4:]
    assert all(any(torch.equal(image, one) for one in rare) for image in other)
    with pytest.raises(ValueError, match="two vendors"):
        controls.Vendor(pools=pools | {"val": val.take(slice(0, 4))})


def test_noise_has_the_spread_of_the_data_and_no_anatomy(pools: dict[str, Pool]) -> None:
    images = drawn(controls.Noise(pools=pools), pools["train"])
    assert 0.5 < float(images.std() / pools["train"].images.std()) < 1.1
    flat, masks = images.flatten().numpy(), pools["train"].masks.flatten().numpy()
    assert abs(np.corrcoef(flat, masks == 1)[0, 1]) < 0.1
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize("kind", [controls.Copy, controls.Mean, controls.Painter])
def test_those_that_know_something_denoise_by_it(
    pools: dict[str, Pool], kind: type[controls.Knowing]
) -> None:
    control, train = kind(pools=pools), pools["train"]
    assert isinstance(control, HasLosses | HasPredict | HasNoised)
    t = torch.full((len(train),), 0.3)
    z = 0.7 * train.images + 0.3 * torch.randn(
        train.images.shape, generator=torch.Generator().manual_seed(0)
    )
    x0, eps = control.predict(z, t, train.masks)
    assert torch.allclose(0.7 * x0 + 0.3 * eps, z, atol=1e-5)


def test_a_memory_denoises_what_it_saw_without_error(pools: dict[str, Pool]) -> None:
    control = controls.Copy(pools=pools)
    seen, unseen = (
        control.losses(pool.images, pool.masks, times=(0.1, 0.3), seeds=torch.arange(len(pool)))
        for pool in (pools["train"], pools["val"])
    )
    assert seen.max() < 1e-6 < unseen.min()
    rows = torch.tensor([5, 2])
    again = control.losses(
        pools["val"].images[rows], pools["val"].masks[rows], times=(0.1, 0.3), seeds=rows
    )
    assert torch.allclose(again, unseen[rows])


def test_images_of_one_real_subject_are_one_subject_of_the_pool(
    pools: dict[str, Pool], tmp_path: Path
) -> None:
    samples = Samples(tmp_path / "samples.h5")
    train, val = pools["train"], pools["val"]
    val = replace(val, table=val.table.assign(thickness_mm=8.0))
    for name, model in {"heldout": controls.Heldout(pools=pools), "copy": controls.Copy(pools=pools)}.items():  # fmt: skip
        synthesise(model, val.masks, samples, name, seed=0, batch=4)
        pool = synthetic_pool(name, samples, val, model)
        shown = val if name == "heldout" else train
        for image, subject in zip(pool.images, pool.subjects, strict=True):
            row = (shown.images - image).flatten(1).abs().sum(1).argmin()
            assert subject == f"synthetic-{shown.subjects[row]:0>5}"
    noise = controls.Noise(pools=pools)
    assert len(set(synthetic_pool("copy", samples, val, noise).subjects)) == len(val)
