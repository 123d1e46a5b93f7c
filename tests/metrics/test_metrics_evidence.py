"""Evidence: asked once, independent of batches, honest about what is missing."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from cmr_bench.metrics.fidelity.adherence import Adherence
from cmr_bench.metrics.fidelity.agreement import Agreement
from cmr_bench.metrics.fidelity.frechet import FID
from cmr_bench.metrics.fidelity.kid import KID
from cmr_bench.metrics.fidelity.prdc import Manifold
from cmr_bench.metrics.needs import FROM_POOLS
from cmr_bench.metrics.privacy.authenticity import Authenticity
from cmr_bench.metrics.privacy.copies import Copies
from cmr_bench.metrics.privacy.fcre import FCRE
from cmr_bench.metrics.privacy.membership import Membership
from cmr_bench.metrics.utility.segmentation import Segmentation

METRICS = [
    KID, FID, Manifold, Adherence, Agreement, Copies, Authenticity, Membership, FCRE, Segmentation,
]  # fmt: skip
ORDERED = [m for m in METRICS if m is not FCRE]  # the study's attack draws its split by row


def numbers(scores):
    return {
        s.name: pytest.approx(
            (s.value, s.low, s.high, s.reference), rel=1e-4, abs=1e-6, nan_ok=True
        )
        for s in scores
    }


@pytest.mark.parametrize("metric", METRICS)
def test_scores_carry_their_evidence(metric, judge):
    scores = metric().scores(judge())
    assert set(metric.names) <= {s.name for s in scores}
    assert len({s.name for s in scores}) == len(scores)
    for s in scores:
        assert s.axis == metric.axis
        if s.name.endswith(("_tpr_at_low_fpr", "fid_infinity")):  # so few images support neither
            assert "support" in s.reason or "images" in s.reason
            continue
        assert s.reason == ""
        assert s.n > 0
        assert s.low <= s.value <= s.high or s.name == "fidelity/kid"
        json.dumps(asdict(s))
        assert s.better in {"higher", "lower", ""}


@pytest.mark.parametrize("metric", METRICS)
def test_batches_do_not_matter(metric, judge):
    expected = numbers(metric().scores(judge()))
    for s in metric().scores(judge(batch_size=7)):
        assert (s.value, s.low, s.high, s.reference) == expected[s.name]


@pytest.mark.parametrize("metric", ORDERED)
def test_order_of_images_does_not_matter(metric, judge, train, test):
    plain = judge()
    pools = {}
    for name, pool in plain.pools.items():
        seed = 0 if name in {"test", "matched"} else 1  # rows of the two belong together
        pools[name] = pool.take(
            torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).numpy()
        )
    expected = numbers(metric().scores(plain))
    for s in metric().scores(judge(pools=pools)):
        assert (s.value, s.low, s.high, s.reference) == expected[s.name]


@pytest.mark.parametrize("metric", METRICS)
def test_missing_and_empty_pools_are_named(metric, judge, test):
    last = metric.pools[-1]
    empty = judge(pools={last: judge().pools[last].take(slice(0, 0))})
    for s in metric().scores(empty):
        assert s.reason == f"pool {last} is empty: {FROM_POOLS[last]}"
        assert s.value != s.value
    empty.pools.pop(last)
    assert metric().skip(empty) == f"there is no pool {last}: {FROM_POOLS[last]}"


@pytest.mark.parametrize(
    ("metric", "words"),
    [(KID, "encoder"), (Adherence, "segmenter"), (Membership, "losses"), (FCRE, "denoiser")],
)
def test_missing_answers_are_named(metric, words, judge):
    bare = judge(encode=None, segment=None, model=object())
    assert words in metric().skip(bare)
    assert [s.name for s in metric().scores(bare)] == list(metric.names)


def test_answers_are_made_once(judge, train):
    calls = []

    def encode(images):
        calls.append(len(images))
        return images.flatten(1)

    evidence = judge(encode=encode)
    first = evidence.features("train", "test")
    assert torch.equal(first, evidence.features("train", "test"))
    assert sum(calls) == len(evidence.pools["train"]) + len(evidence.pools["test"])


def test_noise_is_common_to_all_images(judge, train):
    class Echo:
        def losses(self, images, masks, *, times, seeds):
            return seeds[:, None].double().repeat(1, len(times))

    losses = judge(model=Echo()).losses("train", (0.1, 0.2), 3)
    assert losses.shape == (len(train), 3, 2)
    assert torch.equal(losses, losses[:1].expand_as(losses))
    assert len(losses[0, :, 0].unique()) == 3


def test_unknown_space_is_refused(judge):
    with pytest.raises(ValueError, match="not one of pixels, features"):
        judge().vectors("latent", "train")
