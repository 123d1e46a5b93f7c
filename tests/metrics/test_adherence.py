"""Adherence of single pairs, of the chain, by level, and by several judges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cmr_bench.metrics.fidelity.adherence import Adherence
from cmr_bench.metrics.fidelity.obedience import each_pair, share_of


@pytest.fixture
def synthetic(new_cohort):
    """Each image its own subject, as `synthesis.synthetic_pool` makes it."""
    pool = new_cohort("synthetic", 4, seed=3)
    table = pool.table.assign(phase="", slice=0, level="")
    table["subject"] = [f"synthetic-{i:05d}" for i in range(len(table))]
    return replace(pool, table=table)


def test_a_pair_is_judged_alone_and_in_millimetres(new_cohort):
    pool = new_cohort("test", 1)
    masks = torch.zeros_like(pool.masks)
    masks[..., 4:12, 4:12] = 1
    drawn = masks.roll(2, dims=-1)
    drawn[1] = 0
    masks[2], drawn[2] = 0, 0
    found = each_pair(replace(pool, masks=masks), [drawn], [1, 3])
    assert found["row"].tolist() == list(range(6))
    assert found["dice"][0] == found["dice_lv"][0] == pytest.approx(2 * 48 / 128)
    assert found["hd95_mm"][0] == pytest.approx(3.0)  # two pixels of 1.5 mm
    assert found["area_error"][0] == 0 and found["area_error"][1] == 1
    assert found["dice"][1] == 0 and np.isnan(found["dice"][2])
    assert found["dice_rv"].isna().all()
    assert found["subject"].tolist() == pool.subjects.tolist()


def test_single_pairs_are_means_over_the_judges(new_cohort):
    pool = new_cohort("test", 2)
    one, other = pool.masks.roll(1, dims=-1), pool.masks.roll(2, dims=-1)
    both = each_pair(pool, [one, other], [1, 2, 3])
    apart = [each_pair(pool, [drawn], [1, 2, 3])["dice"] for drawn in (one, other)]
    assert np.allclose(both["dice"], sum(apart) / 2)


def test_one_judge_who_invents_a_structure_does_not_speak_for_all(new_cohort):
    pool = new_cohort("test", 1)
    masks = torch.zeros_like(pool.masks)
    masks[..., 4:12, 4:12] = 1
    invents = masks.clone()
    invents[0, ..., :2, :2] = 3
    found = each_pair(replace(pool, masks=masks), [masks, masks, masks, invents], [1, 3])
    assert found["dice_rv"][0] == pytest.approx(3 / 4) and found["dice_rv"][1:].isna().all()
    assert found["dice"][0] == pytest.approx((1 + 3 / 4) / 2)
    assert found["area_error_rv"][0] == pytest.approx(1 / 4) and found["hd95_mm_rv"][0] > 0


def test_the_chain_is_scored_beside_the_real_masks(judge, synthetic):
    def segment(arm, seed, pool):
        return pool.masks.roll({"test": 0, "matched": 1, "synthetic": 2}[pool.name], dims=-1)

    matched = replace(judge().pools["test"], name="matched")
    evidence = judge(synthetic=synthetic, segment=segment, pools={"matched": matched})
    scores = {s.name: s for s in Adherence().scores(evidence)}
    chain, direct = scores["fidelity/chain_adherence"], scores["fidelity/adherence"]
    assert chain.value < direct.value < direct.reference == chain.reference == 1
    assert chain.n == len(synthetic) and chain.unit == "images"
    assert chain.extra["share_of_ceiling"] == pytest.approx(chain.value)
    assert chain.low < chain.value < chain.high
    structures = [scores[f"fidelity/chain_adherence_{k}"].value for k in ("lv", "myo", "rv")]
    assert chain.value == pytest.approx(np.mean(structures))


def test_pairs_that_do_not_obey_are_listed_and_counted(judge, synthetic):
    def segment(arm, seed, pool):
        drawn = pool.masks.clone()
        if pool.name == "synthetic":
            drawn[:6] = 0
        return drawn

    evidence = judge(synthetic=synthetic, segment=segment)
    scores = {s.name: s for s in Adherence(obeys=0.9).scores(evidence)}
    kept = scores["fidelity/adherence_yield"]
    assert kept.value == 18 / 24 and kept.reference == 1
    table = evidence.tables["adherence_images"].query("pool == 'synthetic'")
    assert table.loc[table["dice"] < 0.9, "row"].tolist() == list(range(6))


def test_levels_are_told_apart(judge, test):
    level = np.array(["base", "middle", "apex"])[test.table["slice"]]
    test = replace(test, table=test.table.assign(level=level))

    def segment(arm, seed, pool):
        drawn = pool.masks.clone()
        drawn[pool.table["level"].to_numpy() == "apex"] = 0
        return drawn

    pools = {"test": test, "matched": replace(test, name="matched")}
    evidence = judge(segment=segment, pools=pools, synthetic=replace(test, name="synthetic"))
    Adherence().scores(evidence)
    table = evidence.tables["adherence_breakdown"].query("by == 'level' and structure == 'lv'")
    dice = table[table["images"] == "matched"].set_index("group")["dice"]
    assert dice.to_dict() == {"apex": 0.0, "base": 1.0, "middle": 1.0}


def test_several_architectures_judge_and_their_spread_is_told(judge):
    shifted = {"unet": lambda arm, seed, pool: pool.masks.roll(2, dims=-1)}
    alone = Adherence().scores(judge())[0]
    both = Adherence().scores(judge(judges=shifted))[0]
    assert alone.extra["judges"] == 1 and both.extra["judges"] == 2
    assert both.value < alone.value == 1
    assert both.extra["judge_lowest"] == pytest.approx(1)
    assert both.extra["judge_highest"] == pytest.approx(1)


def test_a_share_of_two_independent_groups():
    rng = np.random.default_rng(0)
    found, possible = rng.normal(0.8, 0.05, 400), rng.normal(0.9, 0.05, 100)
    share = share_of(found, possible)
    assert share.value == pytest.approx(found.mean() / possible.mean())
    assert share.low < share.value < share.high
    # delta method: the two relative errors add in quadrature
    error = share.value * np.hypot(0.05 / 20 / 0.8, 0.05 / 10 / 0.9)
    assert share.high - share.low == pytest.approx(2 * 1.96 * error, rel=0.15)
