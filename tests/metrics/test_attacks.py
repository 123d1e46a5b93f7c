"""Attacks on models whose knowledge is known, and the statistics that they are judged by."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from bench.bench_attacks import coverage, permuted
from torchvision.transforms.functional import gaussian_blur

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import judged, named
from cmr_bench.metrics.privacy.autoencoder import AutoencoderAttack
from cmr_bench.metrics.privacy.blind import Blind, Verdict, void
from cmr_bench.metrics.privacy.calibrated import Calibrated
from cmr_bench.metrics.privacy.extraction import Extraction, chosen, gathering, look_alikes
from cmr_bench.metrics.privacy.fcre import FCRE
from cmr_bench.metrics.privacy.frequency import Frequency, reconstructed
from cmr_bench.metrics.privacy.members import Sides, learnt_auc
from cmr_bench.metrics.privacy.membership import Membership
from cmr_bench.metrics.privacy.pia import PIA, gaps
from cmr_bench.metrics.privacy.proxy import Proxy
from cmr_bench.metrics.privacy.secmi import SecMI, step_error
from cmr_bench.metrics.privacy.sima import SimA, norms
from cmr_bench.models.controls import Copy, CopyNoise, Heldout, Painter
from cmr_bench.stats import Estimate

WHITE_BOX = [Membership, SimA, PIA, SecMI, Frequency]
ATTACKS = [*WHITE_BOX, AutoencoderAttack]


def by_name(metric, evidence):
    return {s.name: s for s in metric.scores(evidence)}


class Oracle:
    """A model on the straight path that sees the noise as it is: the image of every mask is known to it."""

    def __init__(self, images, error=0.0):
        self.images, self.error = images, error

    def encode(self, images):
        return images

    def decode(self, z):
        return z

    def path(self, t):
        return 1 - t.double(), t.double()

    def predict(self, z, t, masks):
        b = t.to(z).reshape(-1, 1, 1, 1)
        x0 = self.images + self.error
        return x0, (z - (1 - b) * x0) / b


def test_closed_forms_on_a_model_that_knows_the_image():
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    masks = torch.zeros(3, 1, 8, 8, dtype=torch.int64)
    assert norms(Oracle(x), x, masks, (0.1, 0.3)).abs().max() < 1e-6
    assert step_error(Oracle(x), x, masks, time=0.1, steps=5).abs().max() < 1e-10
    assert torch.allclose(reconstructed(Oracle(x), x, masks, time=0.5, steps=3), x, atol=1e-5)
    assert torch.allclose(
        reconstructed(Oracle(x, 0.02), x, masks, time=0.5, steps=3), x + 0.02, atol=1e-5
    )
    # a constant error e of x0 shows as noise a e / b
    found = norms(Oracle(x, 0.02), x, masks, (0.1, 0.5))
    assert torch.allclose(found, torch.tensor([[0.9 * 0.02 / 0.1, 0.02]]).double(), atol=1e-5)
    # noise of size sqrt(2/pi) everywhere, seen again up to a e / b
    found = gaps(Oracle(x, 0.02), x, masks, (0.5,), start=0.1)
    assert torch.allclose(found, torch.full_like(found, 0.02), atol=1e-5)


@pytest.mark.parametrize("attack", WHITE_BOX)
def test_copies_are_caught_and_a_painter_is_not(attack, judge, train, test):
    pools = {"train": train, "val": test, "test": test}
    caught = by_name(attack(), judge(model=Copy(pools=pools)))
    key = attack.names[0]
    assert caught[key].value > 0.95 and caught[key].low > 0.5
    assert caught[attack.names[1]].value > 0.9
    painter = by_name(attack(), judge(model=Painter(pools=pools)))
    assert painter[key].low < 0.5
    assert "void" not in caught[key].extra


def test_the_autoencoder_attack_needs_an_autoencoder(judge, train):
    class Coder:
        def reconstruct(self, images):
            known = torch.cdist(images.flatten(1), train.images.flatten(1)).amin(1) < 1e-3
            return images + 0.1 * ~known[:, None, None, None]

    assert by_name(AutoencoderAttack(), judge(model=Coder()))["privacy/autoencoder_auc"].value == 1
    bare = AutoencoderAttack().scores(judge(model=object()))
    assert all("no autoencoder" in s.reason for s in bare)

    class Pixels:
        def reconstruct(self, images):
            return images

    pixels = AutoencoderAttack().scores(judge(model=Pixels()))
    assert all("draws in pixels" in s.reason for s in pixels)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_answers_every_attack(family, judge, train, test):
    model = tiny.awake(tiny.FAMILIES[family]())
    small = {"train": train.take(slice(0, 24)), "test": test.take(slice(0, 24))}
    evidence = judge(model=model, pools=small)
    for metric in [*(attack() for attack in (*WHITE_BOX, FCRE)), Extraction(slices=1, repeats=1)]:
        for s in metric.scores(evidence):
            assert s.reason == "" or "support" in s.reason or "needs" in s.reason, s
    found = by_name(AutoencoderAttack(), evidence)["privacy/autoencoder_auc"]
    assert (found.reason == "") == (family == "ldm")


@pytest.mark.parametrize("attack", [*ATTACKS, Blind, Extraction])
def test_too_few_subjects_or_none_give_a_line(attack, judge, train, test):
    class All(Copy):
        def reconstruct(self, images):
            return images + 0.1

    model = All(pools={"train": train, "val": test})
    one = judge(model=model, pools={"test": test.take(test.subjects == "test000")})
    assert all(re.match("needs [36] subjects", s.reason) for s in attack().scores(one))
    none = judge(model=model, pools={"train": train.take(slice(0, 0))})
    assert {s.reason for s in attack().scores(none)} == {"pool train is empty"}


def test_a_rate_that_the_subjects_do_not_support_gives_a_line_and_not_a_number(judge):
    low = by_name(Membership(), judge())["privacy/mia_tpr_at_low_fpr"]
    assert low.value != low.value
    assert low.reason == (
        "8 held-out subjects support no false-positive rate below 0.11; 0.001 needs 999"
    )
    many = Sides(("a",), np.arange(1010).astype(str), np.arange(1010) < 10)
    suspicion = np.where(many.member, 1.0, np.linspace(0, 0.9, 1010))
    scores = judged(named("x"), suspicion, many, fpr=0.01, seed=0)
    assert [s.value for s in scores] == [1, 1, 1]
    assert [s.extra.get("fpr") for s in scores] == [None, 10 / 1001, 1 / 1001]


def test_permuted_labels_are_no_better_than_guessing():
    found = permuted(26, 14, repeats=500, seed=0, fitted=False)
    assert 0.92 <= coverage(found) <= 0.97


def test_a_classifier_finds_no_members_among_permuted_labels():
    found = permuted(26, 14, repeats=500, seed=0, fitted=True)
    assert 0.92 <= coverage(found) <= 0.97
    assert abs(np.mean([auc for auc, _, _ in found]) - 0.5) < 0.03


def test_nobody_is_judged_by_a_classifier_that_knows_their_subject():
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(40), 6)
    fingerprint = rng.normal(size=(40, 60))[subjects]  # enough to learn every subject by heart
    found = Sides(("a",), subjects.astype(str), subjects < 20)
    aucs = [learnt_auc(fingerprint, found, seed=seed).value for seed in range(20)]
    assert abs(np.mean(aucs) - 0.5) < 0.15


def with_vendors(pool, vendors):
    """The pool with a vendor for each subject, who shifts the grey of the images."""
    names = np.unique(pool.subjects)
    at = np.searchsorted(names, pool.subjects)
    which = np.array(vendors)[at % len(vendors)]
    shift = torch.as_tensor([{"A": 0.0, "B": 0.15}[v] for v in which])[:, None, None, None].float()
    table = pool.table.assign(vendor=which)
    return replace(pool, images=(pool.images + shift).clamp(-1, 1), table=table)


def test_the_blind_baseline_voids_a_split_by_vendor_and_not_a_stratified_one(judge, new_cohort):
    """Results on a split by vendor tell scanners apart, whatever the model."""
    train, test = new_cohort("train", 24, seed=1), new_cohort("test", 16, seed=2)
    parted = {"train": with_vendors(train, ["A"]), "test": with_vendors(test, ["B"])}
    evidence = judge(pools=parted)
    blind = by_name(Blind(), evidence)["privacy/blind_auc"]
    assert blind.low > 0.5 and blind.extra["auc_table"] > 0.9
    for metric in (Membership(), FCRE()):
        assert "never sees the model" in metric.scores(evidence)[0].extra["void"]
    mixed = {"train": with_vendors(train, ["A", "B"]), "test": with_vendors(test, ["A", "B"])}
    evidence = judge(pools=mixed)
    blind = by_name(Blind(), evidence)["privacy/blind_auc"]
    assert blind.low < 0.5 and "void" not in blind.extra
    assert all("void" not in s.extra for s in Membership().scores(evidence))


@pytest.mark.parametrize(("low", "high", "void_"), [(0.51, 0.7, 1), (0.3, 0.49, 1), (0.4, 0.6, 0)])
def test_the_blind_baseline_voids_on_either_side_of_a_half(judge, low, high, void_):
    evidence = judge()
    names = ("train", *evidence.held_out)
    evidence.once(("blind", *names), lambda: Verdict(Estimate((low + high) / 2, low, high), {}))
    assert bool(void(evidence)) == bool(void_)
    for metric in (Blind(), Membership(), FCRE(), Extraction()):
        marks = ["void" in s.extra for s in metric.scores(evidence) if not s.reason]
        assert all(marks) if void_ else not any(marks)


def test_gathering_and_look_alikes():
    owner, other = torch.zeros(2, 8, 8), torch.ones(2, 3, 8, 8)
    samples = torch.stack([torch.full((4, 8, 8), 0.25), torch.full((4, 8, 8), 0.5)])
    assert np.allclose(gathering(samples, owner, other), [0.25 / 0.75, 1.0])
    pool = tiny.pool(8)
    found = look_alikes(pool.masks[0], pool, 2, "s0")
    off = (pool.masks != pool.masks[0]).flatten(1).sum(1).double()
    off[:2] = np.inf
    assert torch.equal(found, off.argsort(stable=True)[:2])


class Partly:
    """Knows these masks' images by heart, and paints the others."""

    def __init__(self, known, pools):
        self.known, self.copy, self.painter = known, Copy(pools=pools), Painter(pools=pools)

    def sample(self, masks, *, seeds, steps=None):
        seen = torch.stack([(self.known == m).flatten(1).all(1).any() for m in masks])
        answers = (m.sample(masks, seeds=seeds) for m in (self.copy, self.painter))
        return torch.where(seen[:, None, None, None], *answers)


def test_extraction_asks_for_slices_of_all_subjects(judge, train, test):
    """What is known by heart need not be the slice with the largest heart, nor of a subject among the first twelve."""
    pools = {"train": train, "val": test}
    heart = (train.masks > 0).flatten(1).sum(1).numpy()
    largest = [
        max(np.flatnonzero(train.subjects == s), key=heart.__getitem__)
        for s in np.unique(train.subjects)
    ]
    model = Partly(train.masks[np.setdiff1d(np.arange(len(train)), largest)], pools)
    found = by_name(Extraction(fpr=0.125), judge(model=model))
    assert (
        found["privacy/extraction_auc"].value == 1 and found["privacy/extraction_rate"].value == 1
    )
    assert set(train.subjects[chosen(train, 60, 3, 0)]) == set(train.subjects)
    assert len(chosen(train, 5, 3, 0)) == 15 and len(chosen(train, 60, 99, 0)) == len(train)


def test_masks_nearer_to_those_of_members_extract_nobody(new_cohort):
    """Released under the training masks: a painter, its blur and strangers' images know nobody, and copies are found."""
    accused = dict.fromkeys(("painter", "blurred", "strangers", "copies"), 0)
    for seed in range(6):
        train, test = (
            new_cohort(n, 20, seed=10 * seed + k) for k, n in enumerate(("train", "test"))
        )
        strangers = new_cohort("strangers", 20, seed=10 * seed + 5)
        pools = {"train": train, "val": strangers}
        asked = {"masks": train.masks, "seeds": torch.arange(len(train))}
        paint = Painter(pools=pools).sample(**asked)
        images = {
            "painter": paint,
            "blurred": gaussian_blur(paint, [9, 9], [1.5, 1.5]),
            "strangers": Heldout(pools=pools).sample(**asked),
            "copies": CopyNoise(pools=pools).sample(**asked),
        }
        for name, made in images.items():
            released = replace(train, name="synthetic", images=made)
            evidence = Evidence({"train": train, "test": test, "synthetic": released})
            accused[name] += by_name(Extraction(), evidence)["privacy/extraction_auc"].low > 0.5
    assert accused.pop("copies") == 6 and sum(accused.values()) == 0


def test_extraction_finds_copies_and_nothing_in_a_painter(judge, train, test):
    pools = {"train": train, "val": test}
    caught = by_name(Extraction(fpr=0.125), judge(model=Copy(pools=pools)))
    rate = caught["privacy/extraction_rate"]
    assert rate.value == 1 and rate.low > 0.7 and rate.n == 12
    assert rate.reference == pytest.approx(1 / 9)
    assert caught["privacy/extraction_auc"].value == 1
    blank = by_name(Extraction(fpr=0.125), judge(model=Painter(pools=pools)))
    assert blank["privacy/extraction_rate"].value < 0.4
    few = by_name(Extraction(), judge(model=Copy(pools=pools)))["privacy/extraction_rate"]
    assert few.value != few.value and few.reason == (
        "a false-positive rate of 0.1 needs 9 held-out subjects at least; there are 8"
    )
    assert by_name(Extraction(), judge(pools=pools, model=object()))[
        "privacy/extraction_auc"
    ].reason


def test_extraction_reads_released_images_by_their_masks(judge, train, test):
    """Training images under their own masks, against images of strangers under the same masks."""
    for images, low, high in ((train.images, 0.95, 1), (test.images, 0, 0.8)):
        rows = torch.arange(len(train)) % len(images)
        released = replace(train, name="synthetic", images=images[rows])
        found = by_name(Extraction(repeats=1), judge(released, model=None))[
            "privacy/extraction_auc"
        ]
        assert not found.reason and low <= found.value <= high
    bare = replace(released, labels=())
    assert "without masks" in Extraction().scores(judge(bare, model=None))[0].reason


def test_a_proxy_finds_members_in_released_copies_and_not_in_images_of_others(judge, train, test):
    def fit(pool):
        return Copy(pools={"train": pool, "val": pool})

    def released(images):
        return by_name(Proxy(), judge(images, model=None, fit=fit))["privacy/proxy_auc"]

    assert released(replace(train, name="synthetic")).value > 0.95
    assert released(None).low < 0.5
    assert "recipe" in Proxy().scores(judge())[0].reason


def test_a_proxy_of_images_without_masks_is_asked_without_them(judge, train):
    asked = []

    class Told(Copy):
        def losses(self, images, masks, *, times, seeds):
            asked.append(masks.any())
            return super().losses(images, masks, times=times, seeds=seeds)

    def fit(pool):
        return Told(pools={"train": pool, "val": pool})

    for labels, told in (((), False), ((1, 2, 3), True)):
        asked.clear()
        Proxy().scores(judge(replace(train, name="synthetic", labels=labels), model=None, fit=fit))
        assert asked and all(masks == told for masks in asked)


def test_a_reference_takes_out_what_is_hard_for_every_model(judge, new_cohort):
    """Losses that are nine parts the image and one part memory: the plain attack is nearly blind."""
    train, test = new_cohort("train", 24, seed=1), new_cohort("test", 24, seed=2)
    seen = []

    class Learnt:
        def __init__(self, known):
            self.known = known

        def losses(self, images, masks, *, times, seeds):
            hard = images.double().square().flatten(1).mean(1)
            inside = torch.cdist(images.flatten(1), self.known.images.flatten(1)).amin(1) < 1e-3
            return (hard - 0.02 * inside)[:, None].repeat(1, len(times))

    def fit(pool):
        seen.extend(pool.subjects)
        return Learnt(pool)

    evidence = judge(pools={"train": train, "test": test}, model=Learnt(train), fit=fit)
    plain = by_name(Membership(), evidence)["privacy/mia_auc"]
    found = by_name(Calibrated(), evidence)["privacy/calibrated_auc"]
    assert plain.value < 0.85 and found.value > 0.95 and found.low > plain.high
    judged_on = evidence.tables["attack_calibrated"]
    assert found.n == len(judged_on) == 24 and not set(judged_on["subject"]) & set(seen)
    assert {name[:2] for name in seen} == {"tr", "te"}, "the reference learns from both sides"
    no_recipe = judge(pools={"train": train, "test": test}, model=Learnt(train))
    assert "recipe" in Calibrated().scores(no_recipe)[0].reason


def test_few_slices_of_every_subject_are_enough_to_ask(judge, train, test):
    asked = []

    class Counting(Copy):
        def predict(self, z, t, masks):
            asked.append(len(z))
            return super().predict(z, t, masks)

    evidence = judge(model=Counting(pools={"train": train, "val": test}))
    found = by_name(SimA(slices=2), evidence)["privacy/sima_auc"]
    assert sum(asked) == 2 * 20 and found.n == 20 and found.value > 0.95
