"""Diversity: closed forms of spreads, and models that do and do not listen to their seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmr_bench.metrics.fidelity.diversity import Diversity, between, one_subject, within


def test_distances_between_groups_are_those_of_all_pairs():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(30, 5, generator=rng)
    group = np.arange(30) % 7
    far = torch.cdist(x.double(), x.double()).square()
    other = torch.as_tensor(group[:, None] != group[None, :])
    found = between(x, group)
    assert found.value == pytest.approx(float(far[other].mean().sqrt()))
    assert found.low < found.value < found.high


def test_the_spread_of_known_gaussians():
    rng = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(4000, 4, generator=rng)
    assert between(x, np.arange(4000), repeats=20).value == pytest.approx(3 * 8**0.5, rel=0.02)
    assert within(x, np.arange(4000) % 2).mean() == pytest.approx(2 * 4 * 9, rel=0.05)


def test_groups_of_equal_rows_have_no_spread_within():
    x = torch.arange(4.0).repeat_interleave(3)[:, None]
    assert within(x, np.arange(12) // 3).tolist() == [0, 0, 0, 0]
    assert between(x, np.arange(12) // 3).value == pytest.approx((20 / 6) ** 0.5)


class Model:
    """Paints the mask, brighter or darker by its seed."""

    def __init__(self, listens):
        self.listens, self.calls = listens, 0

    def sample(self, masks, *, seeds, steps=None):
        self.calls += 1
        light = (seeds % 1000).float() / 1000 - 0.5
        return (masks.float() / 4 - 0.5 + self.listens * light[:, None, None, None]).clamp(-1, 1)


def test_a_model_that_ignores_its_seed_has_no_diversity_within(judge):
    deaf, heard = ({s.name: s for s in Diversity().scores(judge(model=Model(k)))} for k in (0, 1))
    name = "fidelity/diversity_within"
    assert deaf[name].value == 0 < heard[name].low < heard[name].value
    assert heard[name].extra["masks"] == 8 and heard[name].extra["images"] == 4
    assert deaf["fidelity/diversity"].value == heard["fidelity/diversity"].value > 0


def test_real_images_are_as_diverse_as_real_images(judge, test):
    score = Diversity().scores(judge(synthetic=test))[0]
    assert score.value == score.reference and score.extra["share"] == 1


def test_images_are_drawn_once_for_all_and_anew_for_another_model(judge):
    model, other = Model(1), Model(0)
    evidence = judge(model=model)
    first, again = (Diversity().scores(evidence)[1] for _ in range(2))
    assert model.calls == 1 and first.value == again.value > 0
    about = evidence.about(other, {"synthetic": evidence.pools["synthetic"]})
    assert Diversity().scores(about)[1].value == 0 and other.calls == 1
    assert (
        Diversity().scores(judge(model=None))[1].reason == "there is no model to ask, only images"
    )


def test_a_single_test_subject_has_no_other_to_compare_with(judge, test):
    one = test.take(np.flatnonzero(test.subjects == test.subjects[0]))
    across, inside = Diversity().scores(judge(model=Model(1), pools={"test": one}))
    assert across.value > 0 and np.isnan(across.reference) and np.isnan(across.extra["share"])
    assert inside.value > 0 and np.isnan(inside.low) and inside.n == 1


def test_images_of_one_subject_are_compared_with_each_other_and_have_no_interval():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    found, apart = one_subject(x), between(x, range(20))
    assert found.value == pytest.approx(apart.value) and np.isnan(found.low)
