"""Closed forms of the distances, and the orders that fidelity metrics must give."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms
from torchmetrics.image.kid import poly_mmd

from cmr_bench.metrics.fidelity.adherence import Adherence
from cmr_bench.metrics.fidelity.agreement import Agreement, ms_ssim, psnr, ssim
from cmr_bench.metrics.fidelity.equal import equal_rows
from cmr_bench.metrics.fidelity.frechet import FID, frechet, frechet_distance
from cmr_bench.metrics.fidelity.kid import KID, kid
from cmr_bench.metrics.fidelity.lpips import LPIPS
from cmr_bench.metrics.fidelity.prdc import Manifold, prdc
from cmr_bench.stats import expanded_percentile, multiplicities


def normal(n, d, seed=0, *, mean=0.0, scale=1.0):
    rng = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(n, d, generator=rng, dtype=torch.float64)


def test_frechet_of_known_gaussians():
    a, b = torch.tensor([4.0, 9.0]), torch.tensor([1.0, 16.0])
    # diagonal covariances: |m|^2 + sum (sqrt a - sqrt b)^2
    assert frechet(torch.zeros(2), a.diag(), torch.tensor([3.0, 0.0]), b.diag()) == pytest.approx(
        9 + 1 + 1
    )
    turn = torch.linalg.qr(normal(2, 2)).Q.float()
    same = frechet(
        torch.zeros(2), turn @ a.diag() @ turn.T, torch.zeros(2), turn @ b.diag() @ turn.T
    )
    assert same == pytest.approx(2, rel=1e-5)


def test_both_forms_of_the_frechet_distance_agree():
    x, y = normal(30, 20), normal(25, 20, 1, mean=0.3, scale=1.2)
    padded = [torch.cat([v, torch.zeros(len(v), 40)], dim=1) for v in (x, y)]
    assert frechet_distance(*padded) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    by_moments = frechet(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())
    assert frechet_distance(x, y) == pytest.approx(by_moments, rel=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_kid_is_the_reference_estimator():
    x, y = normal(40, 8), normal(30, 8, 1, mean=0.5)
    assert kid(x[:30], y).value == pytest.approx(float(poly_mmd(x[:30], y)), rel=1e-9)

    def mean(a, b, *, same):
        kernel = (a @ b.T / 8 + 1) ** 3
        return kernel[~torch.eye(len(a), dtype=torch.bool)].mean() if same else kernel.mean()

    brute = mean(x, x, same=True) + mean(y, y, same=True) - 2 * mean(x, y, same=False)
    assert kid(x, y).value == pytest.approx(float(brute), rel=1e-9)


def test_kid_of_known_gaussians():
    # k = (ab + 1)^3 in one dimension: E k = 1 + 3 m n + 3 E[a^2] E[b^2] + E[a^3] E[b^3]
    shift = 0.5
    expected = 3 * shift**2 + 3 * (shift**2) ** 2 + (shift**3 + 3 * shift) ** 2
    names = np.arange(3000) % 300
    x, y = normal(3000, 1), normal(3000, 1, 1, mean=shift)
    found = kid(x, y, x_subjects=names, y_subjects=names)
    assert found.low < expected < found.high
    assert found.value == pytest.approx(expected, rel=0.15)


def test_kid_covers_zero_for_equal_distributions_with_subjects():
    inside = 0
    for run in range(100):
        rng = np.random.default_rng(run)
        level = torch.as_tensor(rng.normal(size=(40, 4))).repeat_interleave(3, 0)
        x = level + 0.5 * torch.as_tensor(rng.normal(size=level.shape))
        half, names = len(x) // 2, np.arange(20).repeat(3)
        found = kid(x[:half], x[half:], x_subjects=names, y_subjects=names, repeats=200, seed=run)
        inside += found.low <= 0 <= found.high
    assert inside >= 85


@pytest.mark.parametrize("alike", [0.0, 0.6])
def test_kid_is_unbiased_however_many_slices_a_heart_has(alike):
    """One side of many subjects with one image each, the other of few with many: a perfect generator."""

    def side(rng, subjects, slices):
        heart = rng.normal(size=(subjects, 4)).repeat(slices, 0)
        own = rng.normal(size=heart.shape)
        return torch.as_tensor(alike**0.5 * heart + (1 - alike) ** 0.5 * own), np.arange(subjects).repeat(slices)  # fmt: skip

    found, floor = [], []
    for run in range(60):
        rng = np.random.default_rng(run)
        (fake, f), (test, t), (train, r) = side(rng, 100, 1), side(rng, 14, 9), side(rng, 40, 9)
        found.append(kid(fake, test, x_subjects=f, y_subjects=t, repeats=2).value)
        floor.append(kid(train, test, x_subjects=r, y_subjects=t, repeats=2).value)
    for values in (found, floor):
        assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5


def test_kid_resamples_whole_subjects_and_pairs_none_with_itself(monkeypatch):
    """Its bootstrap sample as rows written down as often as their subject was drawn, for any size of block."""
    x, y, gx, gy = normal(23, 3), normal(17, 3, 1, mean=0.4), np.arange(23) % 7, np.arange(17) % 5

    def mean(a, ga, b, gb, w, v, *, within):
        kernel = (a @ b.T / 3 + 1) ** 3
        counts = torch.as_tensor(np.outer(w[ga], v[gb]) * ~(within & (ga[:, None] == gb[None])))
        return float((kernel * counts).sum() / counts.sum())

    def brute(w, v):
        within = mean(x, gx, x, gx, w, w, within=True) + mean(y, gy, y, gy, v, v, within=True)
        return within - 2 * mean(x, gx, y, gy, w, v, within=False)

    samples = np.array(
        [
            brute(w, v)
            for w, v in zip(
                multiplicities(7, repeats=50, seed=0),
                multiplicities(5, repeats=50, seed=1),
                strict=True,
            )
        ]
    )
    expected = expanded_percentile(brute(np.ones(7), np.ones(5)), samples, 5)
    for block in (4, 1000):
        monkeypatch.setattr("cmr_bench.metrics.fidelity.kid.BLOCK", block)
        found = kid(x, y, x_subjects=gx, y_subjects=gy, repeats=50)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


GROWTH = """
import resource, torch
from cmr_bench.metrics.fidelity.{module} import {name}
x, y = torch.randn(2, 5000, 16).unbind()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{name}(x, y)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize(
    ("module", "name"), [("kid", "kid"), ("prdc", "prdc"), ("frechet", "frechet_distance")]
)
def test_distances_of_sets_never_hold_all_pairs(module, name):
    code = GROWTH.format(module=module, name=name)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 5000**2 * 8


def brute_prdc(real, fake, k):
    """The definitions of Naeem et al. (2020), eq. 1 to 4, word by word."""

    def radius(points):
        return np.sort(np.linalg.norm(points[:, None] - points[None], axis=-1), axis=1)[:, k]

    d, rr, rf = np.linalg.norm(real[:, None] - fake[None], axis=-1), radius(real), radius(fake)
    return (
        np.mean([(d[:, j] < rr).any() for j in range(len(fake))]),
        np.mean([(d[i] < rf).any() for i in range(len(real))]),
        np.mean([(d[:, j] < rr).sum() / k for j in range(len(fake))]),
        np.mean([d[i].min() < rr[i] for i in range(len(real))]),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_prdc_by_definition(k):
    real, fake = normal(60, 3), normal(50, 3, 1, mean=0.7)
    found = [float(v.mean()) for v in prdc(real, fake, k=k)]
    assert found == pytest.approx(brute_prdc(real.numpy(), fake.numpy(), k))


def test_prdc_of_known_sets():
    line = torch.arange(20.0)[:, None]
    assert [float(v.mean()) for v in prdc(line, line, k=2)][::3] == [1.0, 1.0]
    far = [float(v.mean()) for v in prdc(line, line + 100, k=2)]
    assert far == [0, 0, 0, 0]
    one_mode = prdc(line, line[:10] * 1e-3, k=2)  # all fakes crowd at the first real
    assert one_mode.precision.mean() == 1.0
    assert one_mode.coverage.mean() < 0.2


def test_distances_order_blur_and_noise(judge, test):
    def scores(images):
        pool = replace(judge().pools["synthetic"], images=images)
        evidence = judge(pool)
        return (
            KID(repeats=50).scores(evidence)[0],
            FID().scores(evidence)[0],
            Manifold().scores(evidence)[3],
        )

    unseen = judge().pools["synthetic"].images
    grey = unseen.mean((2, 3), keepdim=True).expand_as(unseen)
    noise = torch.rand(unseen.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    good, flat, bad = scores(unseen), scores(grey.contiguous()), scores(noise)
    assert good[0].value < min(flat[0].value, bad[0].value)
    assert good[1].value < min(flat[1].value, bad[1].value)
    assert good[2].value > max(flat[2].value, bad[2].value)
    assert good[1].extra["note"].startswith("fewer images")


def test_equal_rows_follow_the_images(judge):
    evidence = judge()
    rows = equal_rows(evidence, "synthetic", "train")
    assert len(rows["synthetic"]) == len(rows["train"]) == min(len(evidence.pools[n]) for n in rows)
    assert len(rows["train"].unique()) == len(rows["train"])


def test_adherence_of_a_perfect_image_is_the_ceiling(judge):
    scores = {s.name: s for s in Adherence().scores(judge())}
    top = scores["fidelity/adherence"]
    assert top.value == top.reference == top.extra["share_of_ceiling"] == 1.0
    assert scores["fidelity/adherence_hd95_myo"].value == 0.0
    assert scores["fidelity/adherence_area_rv"].value == 0.0
    assert len(scores) == 15


def test_adherence_reads_only_labelled_structures(judge, test, train):
    pools = {"test": replace(test, labels=(1,)), "matched": replace(test, labels=(1,))}
    names = {s.name for s in Adherence().scores(judge(pools=pools))}
    lv = {
        f"fidelity/{n}_lv"
        for n in ("adherence", "adherence_hd95", "adherence_area", "chain_adherence")
    }
    whole = {f"fidelity/{n}" for n in ("adherence", "chain_adherence", "adherence_yield")}
    assert names == lv | whole
    lone = replace(test, name="synthetic", masks=(test.masks == 1).long(), labels=(1,))
    released = {s.name: s for s in Adherence().scores(judge(lone, model=None))}
    assert released["fidelity/chain_adherence"].value == 1, "what was not labelled is not invented"
    assert released["fidelity/adherence_yield"].value == 1


def test_adherence_share_is_relative_to_the_ceiling(judge, test):
    def segment(arm, seed, pool):
        return pool.masks.roll(1 if pool.name == "test" else 2, dims=-1)

    matched = replace(test, name="matched")
    top = Adherence().scores(judge(segment=segment, pools={"matched": matched}))[0]
    assert top.value < top.reference < 1
    assert top.extra["share_of_ceiling"] == pytest.approx(top.value / top.reference)


def test_matched_must_match(judge, test):
    evidence = judge(pools={"matched": test.take(slice(0, 5))})
    for metric in (Adherence(), Agreement()):
        assert metric.skip(evidence) == "pool matched has not one image for each test mask"


def test_agreement_closed_forms():
    a = torch.zeros(2, 1, 64, 64)
    assert psnr(a, a + 0.2).tolist() == pytest.approx([20.0, 20.0])  # 10 log10(4 / 0.04)
    image = normal(3, 64 * 64, 2).reshape(3, 1, 64, 64).float()
    assert ssim(image, image).tolist() == pytest.approx([1, 1, 1])
    assert ms_ssim(image, image).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(("side", "scales"), [(16, 2), (32, 2), (64, 3), (128, 4), (192, 5)])
def test_ms_ssim_weights_sum_to_one_at_every_size(side, scales):
    rng = torch.Generator().manual_seed(0)
    a = torch.rand(1, 1, side, side, generator=rng)
    b = a + 0.3 * torch.rand(1, 1, side, side, generator=rng)
    betas = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    expected = ms(a, b, data_range=2.0, betas=tuple(betas / betas.sum()))
    assert float(ms_ssim(a, b)) == pytest.approx(float(expected), rel=1e-5)


def test_lpips_says_what_is_missing_and_where(judge, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (score,) = LPIPS().scores(judge())
    assert str(tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth") in score.reason
    assert "\n" not in score.reason


def test_lpips_works_where_the_weights_are(judge, test, tmp_path, monkeypatch):
    from torchvision.models import squeezenet1_1

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(squeezenet1_1(weights=None).state_dict(), folder / "squeezenet1_1-b8a52dc0.pth")
    same, other = (
        LPIPS(net="squeeze").scores(judge(pools={"matched": replace(test, images=images)}))[0].value
        for images in (test.images, test.images.flip(-1))
    )
    assert same == pytest.approx(0, abs=1e-6)
    assert other > same


def test_lpips_refuses_an_unknown_backbone():
    with pytest.raises(ValueError, match="alex, vgg, squeeze"):
        LPIPS(net="resnet")
