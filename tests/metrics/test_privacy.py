"""Attacks with a known answer: they find what is planted and nothing in unseen subjects."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.stats import norm

from cmr_bench.metrics.privacy.attacks import suspicion
from cmr_bench.metrics.privacy.authenticity import Authenticity
from cmr_bench.metrics.privacy.calibration import share_below, threshold
from cmr_bench.metrics.privacy.copies import Copies, _expected, judged
from cmr_bench.metrics.privacy.fcre import FCRE, band_energy, features
from cmr_bench.metrics.privacy.membership import Membership
from cmr_bench.metrics.privacy.neighbours import Neighbours, nearest, neighbours, other_subject


def named(metric, evidence):
    return {s.name: s for s in metric.scores(evidence)}


def copies_of(train, noise):
    rng = torch.Generator().manual_seed(0)
    images = train.images + noise * torch.randn(train.images.shape, generator=rng)
    return replace(train, name="synthetic", images=images)


def test_neighbours_by_brute_force():
    rng = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(300, 5, generator=rng), torch.randn(80, 5, generator=rng)
    subjects = np.arange(80) // 4
    found = neighbours(queries, gallery, subjects)
    d = np.linalg.norm(queries[:, None].double() - gallery[None].double(), axis=-1)
    assert np.allclose(found.first, d.min(1))
    owner = subjects[d.argmin(1)]
    assert (found.row.numpy() == d.argmin(1)).all()
    others = np.where(subjects[None] == owner[:, None], np.inf, d).min(1)
    assert np.allclose(found.second, others)
    assert (nearest(queries, gallery)[1].numpy() == d.argmin(1)).all()
    own = np.linalg.norm(gallery[:, None].double() - gallery[None].double(), axis=-1)
    own[subjects[:, None] == subjects[None]] = np.inf
    assert np.allclose(other_subject(gallery, subjects), own.min(1))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_memorising_generator_is_caught(judge, train, noise):
    evidence = judge(copies_of(train, noise))
    found = named(Copies(), evidence)
    assert found["privacy/copy_rate"].value > 0.95
    assert found["privacy/copy_rate_features"].value > 0.9
    assert found["privacy/copied_subjects"].value == 1.0
    assert found["privacy/copied_subjects"].extra["in_words"].startswith("12 of 12")
    assert found["privacy/nn_ratio"].value < found["privacy/nn_ratio"].reference
    assert named(Authenticity(), evidence)["privacy/authenticity"].value < 0.05


def test_unseen_subjects_are_called_copies_at_the_stated_rate(judge, new_cohort):
    fpr = 0.1
    flagged = []
    for run in range(10):
        pools = {"test": new_cohort("test", 20, seed=50 + run)}
        fresh = new_cohort("fresh", 20, seed=100 + run)
        evidence = judge(fresh, pools=pools)
        score = named(Copies(fpr=fpr, spaces=["pixels"]), evidence)["privacy/copy_rate"]
        assert score.low <= score.value <= score.high and score.reference <= fpr
        flagged.append(score.value)
    assert 0.04 < np.mean(flagged) < 0.18


def test_slices_of_one_heart_do_not_hide_a_copy(judge, train):
    """The second neighbour is of another subject, so the next slice cannot raise the ratio."""
    twin = train.take(np.arange(len(train)).repeat(2), name="train")
    evidence = judge(copies_of(train, 0.02), pools={"train": twin})
    assert named(Copies(spaces=["pixels"]), evidence)["privacy/copy_rate"].value > 0.95


def test_threshold_is_conformal():
    limit, rate = threshold(np.arange(1, 100), np.arange(99), 0.05)
    assert (limit, rate) == (5, 0.05)
    assert threshold(np.arange(1, 10), range(9), 0.001) == (1, 0.1)  # nine support no lower rate
    rng = np.random.default_rng(0)
    limits = [threshold(rng.normal(size=60), range(60), 0.05)[0] for _ in range(2000)]
    assert np.mean(rng.normal(size=2000) < limits) <= 0.06


def hearts(rng, people, alike, slices=18):
    """(values, subjects) of slices that have the share `alike` of their variance in common with their subject's."""
    who = np.arange(people).repeat(slices)
    own = np.sqrt(alike) * rng.normal(size=people)[who]
    return own + np.sqrt(1 - alike) * rng.normal(size=len(who)), who


@pytest.mark.parametrize("people", [5, 21])
@pytest.mark.parametrize("alike", [0.0, 0.4, 1.0])
def test_the_stated_rate_is_the_most_of_new_subjects_however_few_and_alike_their_slices(
    people, alike
):
    """Slices are not subjects: five people support no rate below a sixth, whatever number of slices they bring."""
    rng = np.random.default_rng(0)
    found = [threshold(*hearts(rng, people, alike), 0.05) for _ in range(500)]
    rates = {rate for _, rate in found}
    assert rates == {1 / (people + 1)}
    truth = np.mean([norm.cdf(limit) for limit, _ in found])
    assert 0.6 / (people + 1) < truth < 1.06 / (people + 1)


def test_each_held_out_subject_has_one_vote():
    """Ninety slices of one subject do not outvote ten others."""
    values, who = np.r_[np.full(90, -1.0), np.arange(10)], np.r_[np.zeros(90), np.arange(1, 11)]
    assert threshold(values, who, 0.2) == (0, 2 / 12)


@pytest.mark.parametrize(("people", "alike"), [(5, 0.4), (21, 0.0), (21, 0.5), (60, 0.3)])
def test_the_share_of_findings_knows_that_its_threshold_is_uncertain(people, alike):
    """Images of nobody: the interval may leave the promised rate out in few cohorts, however alike slices are."""
    accused = 0
    for run in range(150):
        rng = np.random.default_rng(run)
        held_out, who = hearts(rng, people, alike)
        values = rng.normal(size=400)
        found = share_below(values, np.arange(400), held_out, who, 0.05, repeats=300, seed=run)
        accused += found.low > threshold(held_out, who, 0.05)[1]
    assert accused <= 0.06 * 150


def test_nobody_copied_leaves_the_expected_number_of_subjects_in_its_interval():
    """Places drawn at random through `judged` itself: its threshold is uncertain, so is how many subjects pass it."""
    train, images, runs, accused = 49, 920, 40, 0
    names = [f"s{i:02d}" for i in range(train)]
    for run in range(runs):
        rng = np.random.default_rng(run)
        real, people = hearts(rng, 21, 0.5)
        near = {"synthetic": rng.normal(size=images), "test": real}

        def search(name, near=near, rng=rng):
            row = torch.as_tensor(rng.integers(train, size=len(near[name])))
            one = torch.ones(len(row), dtype=torch.float64)
            return Neighbours(one, row, one, row), near[name]

        evidence = Places(
            {"train": names, "test": people, "synthetic": np.arange(images)}, seed=run
        )
        found = judged(("rate", "ratio", "subjects"), search, evidence, 0.05)[0][2]
        accused += found.low > found.reference
    assert accused <= 0.05 * runs


class Places(NamedTuple):
    """Evidence of which nothing but the subjects is known."""

    of: dict
    seed: int
    held_out: tuple = ("test",)

    def subjects(self, *names):
        return np.concatenate([np.asarray(self.of[name], dtype=str) for name in names])


def test_the_share_of_findings_is_the_exact_one_where_the_threshold_is_sure():
    held_out, values = np.linspace(0, 1, 100_000), np.r_[np.zeros(30), np.ones(70)]
    found = share_below(values, np.arange(100), held_out, np.arange(100_000), 0.05, repeats=200)
    assert found.value == 0.3
    assert found[1:] == pytest.approx((0.212, 0.400), abs=0.01)  # Clopper-Pearson
    none = share_below(np.ones(8), np.arange(8), held_out, np.arange(100_000), 0.05, repeats=20)
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(0.369, abs=1e-3)


def test_the_share_of_subjects_to_expect_is_that_of_images_of_nobody():
    """Every training subject is as likely as any other to be nearest; the held-out subjects that tell are few."""
    rng, subjects, rate, images = np.random.default_rng(0), 49, 0.05, 920
    hits = rng.random((400, images)) < rate
    truth = np.mean([len(set(rng.integers(subjects, size=int(h.sum())))) / subjects for h in hits])
    found = []
    for _ in range(50):
        people = np.arange(21).repeat(18)
        favourite = rng.integers(subjects, size=21)[people]
        owners = np.where(rng.random(len(people)) < 0.5, favourite, rng.integers(subjects, size=len(people)))  # fmt: skip
        found.append(_expected(owners, people, subjects, rate, images))
    assert np.mean(found) == pytest.approx(truth, abs=0.03)


def test_loss_attack_on_a_model_that_remembers(judge):
    found = named(Membership(), judge())
    auc, tpr = found["privacy/mia_auc"], found["privacy/mia_tpr_at_fpr"]
    assert auc.value == auc.high == 1.0
    assert 0.5 < auc.low < 1
    assert auc.n == 20
    assert tpr.value == 1.0
    assert tpr.extra["fpr"] == pytest.approx(1 / 9)
    assert tpr.low < 0.8, "twelve of twelve members are not all members"


def test_loss_attack_on_a_model_that_knows_nobody(judge, memory, new_cohort):
    inside = 0
    for run in range(20):
        pools = {"test": new_cohort("train", 8, seed=200 + run)}
        model = memory(new_cohort("stranger", 6, seed=300 + run).images)
        score = named(Membership(repeats=1), judge(model=model, pools=pools))["privacy/mia_auc"]
        inside += score.low <= 0.5 <= score.high
    assert inside >= 16


def test_validation_subjects_join_the_others(judge, new_cohort):
    pools = {"val": new_cohort("val", 4, seed=9)}
    assert named(Membership(), judge(pools=pools))["privacy/mia_auc"].extra["others"] == 12


def test_no_time_outweighs_the_others():
    losses = torch.rand(50, 3, 2, generator=torch.Generator().manual_seed(0))
    scaled = losses * torch.tensor([1.0, 1000.0])
    assert np.allclose(suspicion(losses), suspicion(scaled))
    assert suspicion(losses)[0] > suspicion(losses + torch.eye(50)[0][:, None, None])[0]


def test_band_energy_keeps_middle_frequencies():
    n = 64
    y = torch.arange(n) / n
    wave = {
        f: torch.cos(2 * torch.pi * f * y)[None, None, :, None].expand(1, 1, n, n)
        for f in (2, 16, 30)
    }
    assert float(band_energy(wave[16])) == pytest.approx(0.5, rel=1e-4)
    assert float(band_energy(wave[2])) < 1e-6
    assert float(band_energy(wave[30])) < 1e-6
    white = torch.randn(64, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    assert float(band_energy(white).mean()) == pytest.approx(0.549, abs=0.01)


def test_attack_features_of_a_perfect_prediction_are_zero():
    x = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(features(x, x), torch.zeros(3, 2), atol=1e-5)


def test_study_attack_finds_a_model_that_remembers(judge):
    found = named(FCRE(), judge())
    assert found["privacy/fcre_auc"].value > 0.9
    assert found["privacy/fcre_auc"].unit == "slices"
    assert found["privacy/fcre_auc_subjects"].value > 0.9
    assert found["privacy/fcre_auc_subjects"].n == 20


def test_study_attack_needs_subjects_for_its_halves(judge, test):
    few = judge(pools={"test": test.take(test.subjects < "test003")})
    assert all("needs 6 subjects" in s.reason for s in FCRE().scores(few))
