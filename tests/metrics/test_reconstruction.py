"""What an autoencoder loses is told for latent models alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmr_bench.metrics.fidelity.reconstruction import Reconstruction


def test_a_brighter_reconstruction_loses_what_was_added_and_a_shifted_one_its_dice(judge, test):
    brighter = replace(test, images=test.images + 0.25)
    error, obeyed = Reconstruction().scores(judge(pools={"reconstructed": brighter}))
    assert error.value == pytest.approx(0.25, rel=1e-6) and error.n == 8
    assert obeyed.value == obeyed.reference == 1

    def segment(arm, seed, pool):
        return pool.masks.roll(int(pool.name == "reconstructed"), dims=-1)

    moved = replace(test, name="reconstructed")
    _, obeyed = Reconstruction().scores(judge(segment=segment, pools={"reconstructed": moved}))
    assert 0.5 < obeyed.value < obeyed.reference == 1
    assert obeyed.extra["share"] == pytest.approx(obeyed.value)


def test_a_model_on_pixels_has_nothing_to_lose(judge):
    scores = Reconstruction().scores(judge())
    assert {s.reason for s in scores} == {"the model has no autoencoder"}
