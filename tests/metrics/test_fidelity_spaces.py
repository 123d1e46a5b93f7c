"""Feature spaces by name: made once when asked for, and absent with a reason."""

from __future__ import annotations

import pytest
import torch

from cmr_bench.metrics.fidelity.frechet import FID, extrapolated, frechet_distance
from cmr_bench.metrics.fidelity.halves import halves
from cmr_bench.metrics.fidelity.kid import KID
from cmr_bench.metrics.fidelity.prdc import Manifold
from cmr_bench.networks.encoders import FAINT, Cardiac
from cmr_bench.networks.segmenter import dynunet


class Means(torch.nn.Module):
    fingerprint = "0123456789abcdef"

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


def absent():
    raise ValueError("weights are missing: put file.pth at /somewhere")


def test_a_space_is_made_once_and_when_asked_for(judge, test):
    made = []

    def make():
        made.append(1)
        return Means()

    evidence = judge(spaces={"cardiac": make})
    assert not made
    found = evidence.vectors("cardiac", "test", "train")
    assert torch.equal(found, evidence.vectors("cardiac", "test", "train")) and made == [1]
    assert torch.equal(found[: len(test)], Means()(test.images))
    assert evidence.vectors("features", "test").shape[1] == 64


@pytest.mark.parametrize("metric", [KID(repeats=20), FID(), Manifold()])
def test_each_space_has_scores_of_its_own(metric, judge):
    metric.spaces = ("features", "cardiac", "inception")
    evidence = judge(encode=Means(), spaces={"cardiac": Means, "inception": absent})
    scores = {s.name: s for s in metric.scores(evidence)}
    for name in metric.names:
        default, second, third = (scores[name + end] for end in ("", "_cardiac", "_inception"))
        assert default.value == default.value and default.extra["space"] == "features"
        assert second.value == second.value and second.extra["encoder"] == "0123456789ab"
        assert third.value != third.value and third.reason.startswith("weights are missing")
    metric.spaces = ("features",)
    alone = {s.name: s for s in metric.scores(judge(encode=Means()))}
    assert all(scores[name].value == alone[name].value for name in metric.names)


@pytest.mark.parametrize("metric", [KID(repeats=20), FID(), Manifold()])
def test_a_floor_in_sample_says_so(metric, judge):
    class Fitted(Means):
        trained_on = "train"

    metric.spaces = ("features", "cardiac")
    scores = {s.name: s for s in metric.scores(judge(encode=Means(), spaces={"cardiac": Fitted}))}
    for name in type(metric).names:
        assert scores[name].reference_name == "real train against real test"
        assert scores[f"{name}_cardiac"].reference_name == (
            "real train against real test; the encoder was trained on train"
        )
    assert Cardiac.trained_on == "train"


@pytest.mark.parametrize("kind", [KID, FID, Manifold])
@pytest.mark.parametrize("spaces", [("cardiac",), ("pixels", "features"), ("inception", "pixels")])
def test_names_are_those_of_the_spaces(kind, spaces, judge):
    metric = kind(spaces=spaces)
    evidence = judge(spaces={"cardiac": Means, "inception": absent})
    assert [s.name for s in metric.scores(evidence)] == list(metric.names)
    one = judge(pools={"train": evidence.pools["train"].take([0])})
    assert [s.name for s in metric.scores(one)] == list(metric.names)
    assert all(s.reason for s in metric.scores(one))


def test_unknown_spaces_leave_a_reason(judge):
    score = KID(spaces=("features", "cardiak")).scores(judge())[-1]
    assert score.name == "fidelity/kid_cardiak"
    assert score.reason == "space is cardiak, not one of pixels, features"


def cardiac(seed, images):
    torch.manual_seed(seed)
    return Cardiac(dynunet((4, 6, 8)), images)


def test_the_cardiac_space_holds_what_the_last_normalisation_of_each_level_divides_by():
    images = torch.rand(70, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    encoder = cardiac(0, images)
    features = encoder(images)
    assert features.shape == (70, 4 + 6 + 8)
    torch.testing.assert_close(features.mean(0), torch.zeros(18), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(0), torch.ones(18))
    first = encoder.network.input_block
    with torch.no_grad():
        entering = first.conv2(first.lrelu(first.norm1(first.conv1(images))))
    spread = (entering.std((2, 3)) + FAINT).log()
    torch.testing.assert_close(features[:, :4], (spread - spread.mean(0)) / spread.std(0))
    assert encoder.fingerprint == cardiac(0, images[:9]).fingerprint
    assert encoder.fingerprint != cardiac(1, images).fingerprint


def test_the_cardiac_space_does_not_see_the_gain_of_a_scanner():
    images = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    encoder = cardiac(0, images)
    torch.testing.assert_close(encoder(2 * images), encoder(images), atol=0.02, rtol=0)
    assert (encoder(images.square()) - encoder(images)).abs().mean() > 0.2


def test_fid_at_infinite_n_of_known_gaussians():
    rng = torch.Generator().manual_seed(0)
    plain, limits = [], []
    for run in range(8):
        x, y = torch.randn(2, 300, 10, generator=rng, dtype=torch.float64)
        plain.append(frechet_distance(x, y + 0.2))
        limits.append(extrapolated(x, y + 0.2, seed=run)[0])
    truth = 10 * 0.2**2
    plain, limits = torch.tensor(plain), torch.tensor(limits)
    assert plain.mean() > truth + 0.05
    assert abs(limits.mean() - truth) < 0.3 * (plain.mean() - truth)


def test_fid_at_infinite_n_of_rows_that_belong_together():
    """Five rows a subject that say nearly the same: thinning rows would leave every subject in."""
    rng = torch.Generator().manual_seed(0)
    subjects = torch.arange(150).repeat_interleave(5)
    plain, by_row, by_subject = [], [], []
    for run in range(8):
        x, y = torch.randn(2, 150, 6, generator=rng, dtype=torch.float64)[:, subjects]
        x, y = (v + 0.1 * torch.randn(v.shape, generator=rng, dtype=torch.float64) for v in (x, y))
        plain.append(frechet_distance(x, y))
        by_row.append(extrapolated(x, y, seed=run)[0])
        known = {"x_subjects": subjects, "y_subjects": subjects}
        by_subject.append(extrapolated(x, y, **known, seed=run)[0])
    plain, by_row, by_subject = (torch.tensor(v).mean() for v in (plain, by_row, by_subject))
    assert by_row > 0.7 * plain > 0.1  # the truth is 0
    assert abs(by_subject) < 0.35 * plain


def test_fid_at_infinite_n_of_two_subjects_is_not_known():
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    limit, error = extrapolated(x, x + 1, x_subjects=[0, 1] * 4, y_subjects=[0, 1] * 4)
    assert limit != limit and error != error


def test_fid_at_infinite_n_needs_more_images_than_dimensions(judge):
    """With fewer the distance of equal laws falls too slowly to be drawn out to 0: 478 to 389 at n = 100, d = 400."""
    x, y = torch.randn(2, 100, 80, generator=torch.Generator().manual_seed(0))
    assert all(found != found for found in extrapolated(x, y))
    assert abs(extrapolated(x[:, :8], y[:, :8])[0]) < 0.3 * frechet_distance(x[:, :8], y[:, :8])
    limit = FID().scores(judge())[1]
    assert limit.value != limit.value and "more images than the 64 dimensions" in limit.reason


def test_the_interval_of_fid_at_infinite_n_holds_the_error_of_the_line(judge):
    plain, limit = FID().scores(judge(encode=Means()))
    half = (limit.high - limit.low) / 2
    assert limit.value - limit.low == pytest.approx(half)
    assert half > (plain.high - plain.value) * (1 + 1e-9)
    assert half > 2 * limit.extra["line_error"] > 0


def test_halves_share_no_subject_and_lose_no_row():
    subjects = [f"s{i // 3}" for i in range(21)]
    splits = list(halves(subjects, repeats=5, seed=0))
    for a, b in splits:
        assert sorted([*a, *b]) == list(range(21))
        assert not {subjects[i] for i in a} & {subjects[i] for i in b}
        assert len({subjects[i] for i in a}) == 3
    assert len({tuple(a) for a, _ in splits}) > 1


def test_halves_of_one_population_are_closer_than_another_population(judge):
    near = KID(repeats=20).scores(judge())[0]
    assert near.extra["halves_mean"] <= near.extra["halves_largest"]
    shifted = judge().pools["synthetic"]
    far = KID(repeats=20).scores(judge(pools={"synthetic": shifted.take(slice(None))}, encode=None))
    assert far[0].value != far[0].value
    assert (
        abs(near.extra["halves_mean"])
        < KID(repeats=20)
        .scores(
            judge(
                pools={
                    "synthetic": type(shifted)(
                        "synthetic",
                        -shifted.images,
                        shifted.masks,
                        shifted.table,
                        shifted.spacing_mm,
                    )
                }
            )
        )[0]
        .value
    )
