"""Fingerprints are found where a model knows them, and by chance as often as is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.canaries import Canaries, extracted, likeness
from cmr_bench.seeds import row_noise, torch_rng
from cmr_bench.types import Pool

START, SIDE, SIZE, COUNT = 3, 8, 32, 30


def canaries(name: str, repeats: tuple[int, ...]) -> Pool:
    """Images of one grey with a random chequered square; the mask's one pixel tells whose it is."""
    rng = torch_rng(name)
    images, masks = torch.zeros(COUNT, 1, SIZE, SIZE), torch.zeros(COUNT, 1, SIZE, SIZE)
    for k in range(COUNT):
        fields = torch.where(torch.randperm(16, generator=rng) < 8, 0.9, -0.9).reshape(4, 4)
        patch = fields.repeat_interleave(2, 0).repeat_interleave(2, 1)
        images[k, 0, START : START + SIDE, START : START + SIDE] = patch
        masks[k, 0, 20, k] = 1
    table = pd.DataFrame({"subject": [f"{name}{k}" for k in range(COUNT)]})
    table = table.assign(repeats=np.resize(repeats, COUNT), start=START, side=SIDE)
    return Pool(name, images, masks.long(), table, 1.0)


class Knows:
    """Draws what it saw often, shifted a little, and otherwise noise; its loss is low on the same images."""

    def __init__(self, pool: Pool, least: int) -> None:
        self.pool, self.least = pool, least

    def _known(self, masks):
        rows = masks[:, 0, 20].argmax(1)
        return rows, torch.as_tensor(self.pool.table["repeats"].to_numpy() >= self.least)[rows]

    def sample(self, masks, *, seeds, steps=None):
        rows, known = self._known(masks)
        noise = row_noise(seeds, (1, SIZE, SIZE)).clamp(-1, 1)
        drawn = self.pool.images[rows].roll((1, -1), dims=(-2, -1)) + 0.3 * noise
        return torch.where(known[:, None, None, None], drawn, noise)

    def losses(self, images, masks, *, times, seeds):
        flat = images.flatten(1)
        mine = torch.cdist(flat, self.pool.images.flatten(1)).amin(1) < 1e-6
        _, known = self._known(masks)
        own = flat @ torch.randn(flat.shape[1], len(times), generator=torch_rng("own"))
        return 1.0 - 0.9 * (mine & known).float()[:, None] + 0.01 * own


def test_what_was_seen_often_is_extracted_and_attacked() -> None:
    known, unknown = canaries("known", (1, 4, 16)), canaries("unknown", (0,))
    pools = {"canaries": known, "canaries_held_out": unknown}
    found = {s.name: s for s in Canaries().scores(Evidence(pools, model=Knows(known, 4)))}
    for often in (4, 16):
        seen = found[f"privacy/canary_extraction_x{often}"]
        assert seen.value == 1 and seen.low > 0.6 and seen.n == 10
        assert found[f"privacy/canary_auc_x{often}"].low > 0.6
    rare = found["privacy/canary_extraction_x1"]
    assert rare.value <= 0.3 and rare.reference == pytest.approx(1 / 31)
    assert found["privacy/canary_auc_x1"].low < 0.5 < found["privacy/canary_auc_x1"].high
    assert found["privacy/canary_extraction"].value == pytest.approx((20 + 10 * rare.value) / 30)
    assert found["privacy/canary_auc"].n == 60


def test_a_model_that_knows_nobody_is_accused_as_often_as_is_said() -> None:
    codes = torch.cat([canaries(f"c{k}", (0,)).images for k in range(10)])
    codes = codes[:, 0, START : START + SIDE, START : START + SIDE]
    noise = torch.randn(300, 2, SIZE, SIZE, generator=torch_rng("noise"))
    like = likeness(noise, codes, START, SIDE)
    others = np.array([np.delete(row, k)[:39] for k, row in enumerate(like)])
    hits, rate = extracted(like.diagonal(), others, 0.05)
    assert rate == pytest.approx(2 / 40)
    assert abs(hits.mean() - rate) < 3 * np.sqrt(rate * (1 - rate) / 300)


def test_a_fingerprint_is_like_itself_alone() -> None:
    pool = canaries("c", (1,))
    codes = pool.images[:, 0, START : START + SIDE, START : START + SIDE]
    like = likeness(pool.images.roll(2, dims=-1), codes, START, SIDE)
    assert np.allclose(like.diagonal(), 1) and (np.argmax(like, 1) == np.arange(COUNT)).all()


def test_without_planted_subjects_or_a_model_it_says_why() -> None:
    (one, two) = Canaries().scores(Evidence({}))
    assert one.reason == two.reason == "no subject was planted: give data.canaries=n"
    for count, fpr, least in ((2, 0.05, 19), (18, 0.05, 19), (7, 0.2, 9)):
        few = [
            canaries(name, often).take(slice(0, count))
            for name, often in (("a", (1, 4, 16)), ("b", (0,)))
        ]
        pools = dict(zip(Canaries.pools, few, strict=True))
        for s in Canaries(fpr=fpr).scores(Evidence(pools, model=Knows(few[0], 1))):
            assert s.reason.endswith(f"there are {count}: give data.canaries={least} or more")
    pools = {"canaries": canaries("a", (1,)), "canaries_held_out": canaries("b", (0,))}
    assert all("no model" in score.reason for score in Canaries().scores(Evidence(pools)))
