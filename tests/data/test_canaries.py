"""Planted subjects: in the generator's training set alone, each with a fingerprint of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmr_bench.data.acdc import ACDC
from cmr_bench.data.canaries import REPEATS, canary_pools, fingerprints, place, repeated
from cmr_bench.data.phantom_prepare import prepare_phantom
from cmr_bench.data.pools import content_hash, load_pool
from cmr_bench.data.prepare import prepare
from cmr_bench.data.summary import summary
from cmr_bench.store.files import read_json

SPLIT = {"train": 0.5, "val": 0.25, "test": 0.25, "seed": 0}
SMALL: dict[str, Any] = {"subjects": 4, "size": 24, "spacing_mm": 7.0, "split": SPLIT}


def alike(one: Any, other: Any) -> bool:
    return torch.equal(one.images, other.images) and one.table.equals(other.table)


def test_patients_are_what_they_are_without_canaries(tmp_path: Path) -> None:
    plain = prepare_phantom(folder=tmp_path / "plain", **SMALL)
    planted = prepare_phantom(folder=tmp_path / "planted", canaries=6, **SMALL)
    for name in ("train", "val", "test"):
        one, other = (load_pool(folder, name) for folder in (plain, planted))
        assert alike(one, other) and not any("canary" in s for s in other.subjects)
    assert content_hash(plain) != content_hash(planted)
    assert canary_pools(plain) == {} and "canaries" not in read_json(plain / "manifest.json")


def test_each_has_a_fingerprint_that_nobody_else_has(tmp_path: Path) -> None:
    folder = prepare_phantom(folder=tmp_path, canaries=6, **SMALL)
    pools = canary_pools(folder)
    known, unknown = pools["canaries"], pools["canaries_held_out"]
    assert len(known) == len(unknown) == len({*known.subjects, *unknown.subjects}) / 2 == 6
    assert sorted(known.table["repeats"]) == sorted(REPEATS * 2)
    assert not unknown.table["repeats"].any()
    assert set(known.table["vendor"]) == set(known.table["pathology"]) == {"canary"}
    start, side = place(24)
    assert set(known.table["start"]) == {start} and set(known.table["side"]) == {side}
    patch = (..., slice(start, start + side), slice(start, start + side))
    images = torch.cat([known.images, unknown.images])
    codes = images[patch].flatten(1)
    assert codes.abs().unique().tolist() == pytest.approx([0.9]) and codes.sum(1).abs().max() < 1e-5
    assert len(codes.unique(dim=0)) == 12
    patients = load_pool(folder, "train").images[patch].flatten(1)
    assert float(torch.corrcoef(torch.cat([codes, patients]))[:12, 12:].nan_to_num().max()) < 0.9
    assert known.masks[:, 0].flatten(1).any(1).all(), "a heart to draw it by"
    often = repeated(known)
    counts = dict(zip(*np.unique(often.subjects, return_counts=True), strict=True))
    assert counts == dict(zip(known.subjects, known.table["repeats"], strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_no_two_of_many_fingerprints_are_the_same(seed: int) -> None:
    codes = fingerprints(seed, 400, 8)
    assert codes.shape == (400, 8, 8) and len(np.unique(codes.reshape(400, -1), axis=0)) == 400
    assert ((codes > 0).mean((1, 2)) == 0.5).all() and set(np.abs(codes).ravel()) == {
        np.float32(0.9)
    }
    blocks = codes.reshape(400, 4, 2, 4, 2)
    assert (blocks == blocks[:, :, :1, :, :1]).all()


def test_they_are_planted_beside_real_subjects_and_recorded(
    acdc: Callable[..., Path], settings: dict[str, Any]
) -> None:
    folder = prepare(ACDC(acdc(4)), canaries=3, **settings)
    manifest = read_json(folder / "manifest.json")
    about, volumes = manifest["canaries"], manifest["volumes"]
    assert sorted(about["repeats"].values()) == [0, 0, 0, *REPEATS]
    assert not {v["subject"] for v in volumes} & set(about["repeats"])
    pools = canary_pools(folder)
    assert pools["canaries"].images.shape[1:] == (1, 16, 16)
    assert pools["canaries"].spacing_mm == settings["spacing_mm"]
    words = "\n".join(map(str, summary(folder).renderables[1:]))
    assert "planted phantom subjects: 3, and 3 like them" in words


def test_a_number_below_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.canaries=-1: a number of subjects"):
        prepare_phantom(folder=tmp_path, canaries=-1, **SMALL)
    assert not list(tmp_path.iterdir())
    with pytest.raises(
        ValueError, match=r"data\.canaries=6436: there are 12870 fingerprints.*6435"
    ):
        prepare_phantom(folder=tmp_path, canaries=6436, **SMALL)
    assert not list(tmp_path.iterdir())
