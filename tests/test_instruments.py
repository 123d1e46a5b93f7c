"""Controls are judged on halves of the held-out subjects, once for each data set."""

from __future__ import annotations

from dataclasses import replace

import hydra
import pandas as pd
import pytest
import tiny
import torch

from cmr_bench.config import conf_path
from cmr_bench.instruments import answers, control_pools, instruments, musts
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.adherence import Adherence
from cmr_bench.metrics.fidelity.kid import KID
from cmr_bench.metrics.privacy.copies import Copies
from cmr_bench.metrics.privacy.extraction import Extraction
from cmr_bench.metrics.privacy.fcre import FCRE
from cmr_bench.metrics.privacy.membership import Membership
from cmr_bench.metrics.privacy.pia import PIA
from cmr_bench.metrics.privacy.secmi import SecMI
from cmr_bench.metrics.privacy.sima import SimA
from cmr_bench.reporting.verdicts import verdicts
from cmr_bench.stages import Stages


def cohort(name, subjects, seed):
    """Two slices a subject with a texture of its own, so that each image can be told from all others."""
    pool = tiny.pool(2 * subjects, seed=seed)
    texture = torch.randn(subjects, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    table = pd.DataFrame(
        {
            "subject": [f"{name}{i // 2}" for i in range(2 * subjects)],
            "phase": "ED",
            "slice": [i % 2 for i in range(2 * subjects)],
            "thickness_mm": 8.0,
            "vendor": "A",
        }
    )
    images = (pool.images + 0.3 * texture.repeat_interleave(2, 0)).clamp(-1, 1)
    return replace(pool, name=name, images=images, table=table)


def cohorts(seed=0):
    return {
        name: cohort(name, n, k + 3 * seed)
        for k, (name, n) in enumerate({"train": 14, "val": 4, "test": 12}.items())
    }


@pytest.fixture
def pools():
    return cohorts()


def encoder():
    parts = torch.nn.Flatten(), torch.nn.Linear(256, 32)
    torch.nn.init.orthogonal_(parts[1].weight, generator=torch.Generator().manual_seed(0))
    return torch.nn.Sequential(*parts).requires_grad_(False)


def test_the_halves_share_no_subject_and_leave_out_nobody(pools):
    halves = control_pools(pools)
    one, other = (set(halves[name].subjects) for name in ("val", "test"))
    assert len(one) == len(other) == 8 and not one & other
    assert one | other == {*pools["val"].subjects, *pools["test"].subjects}


def tell(pools, tmp_path, seed=0):
    """The instruments' answers in a store of their own."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        overrides = ["trainer=cpu", "metric=fast", "metric.kid.spaces=[features]"]
        overrides += [
            "metric.copies.fpr=0.0625",
            "segmenter.fit.steps=1",
            "segmenter.fit.batch=2",
        ]
        overrides += [f"store.root={tmp_path}", f"model.seed={seed}"]
        stages = Stages(hydra.compose("run", overrides))
    stages.pools, stages.data_hash = pools, "tiny"
    return instruments(stages, encoder())


def test_a_single_held_out_subject_leaves_the_instruments_untested(pools, tmp_path):
    lone = {**pools, "test": pools["test"].take(slice(0, 2)), "val": pools["val"].take(slice(0, 0))}
    found = tell(lone, tmp_path)
    assert found["metrics"] == {} and found["answers"] == []
    assert found["untested"]["privacy/copy_rate"] == "controls need two subjects in val and test"


def test_good_metrics_pass_and_a_blind_one_is_unfit(pools):
    halves = control_pools(pools)
    evidence = Evidence({k: halves[k] for k in ("train", "test")}, encode=encoder())
    found = [
        *answers(
            {"kid": KID(repeats=200), "copies": Copies(fpr=0.0625, spaces=["pixels"], shift=0)},
            halves,
            evidence,
        )
    ]
    vendor = [row for row in found if row["control"] == "vendor"]
    assert all("two vendors" in row["reason"] for row in vendor)

    def states(rows, **musts):
        metrics = {
            "kid": {
                "names": KID.names,
                "rankings": {"fidelity/kid": [["heldout", "painter", "noise"]]},
            },
            "copies": {"names": Copies.names, **musts},
        }
        return [v.state for v in verdicts({"metrics": metrics, "answers": rows})]

    assert states(found, catches=["copy"], spares=["heldout"]) == ["holds"] * 7
    assert states(found, catches=["heldout"])[1] == "unfit"
    turned = [
        row
        | {"control": {"heldout": "noise", "noise": "heldout"}.get(row["control"], row["control"])}
        for row in found
    ]
    assert states(turned)[0] == "unfit"


def test_every_attack_catches_copies_and_spares_a_painter(pools):
    metrics = {m.__name__: m() for m in (Membership, SimA, PIA, SecMI, FCRE)}
    halves = control_pools(pools)
    evidence = Evidence({k: halves[k] for k in ("train", "test")}, encode=encoder())
    every = verdicts({"metrics": musts(metrics), "answers": [*answers(metrics, halves, evidence)]})
    found = [v for v in every if not v.score.endswith("_tpr_at_low_fpr")]
    asked = {(v.score, v.question) for v in found if v.state == "holds"}
    assert asked >= {(m.names[0], q) for m in metrics.values() for q in ("catch copy", "spare painter")}  # fmt: skip
    assert len(asked) == len(found)
    low = [v for v in every if v not in found]
    assert {v.state for v in low} == {"untested"} and "support no false" in low[0].reason


def test_extraction_catches_copies_and_accuses_others_no_more_often_than_by_chance():
    """A 95 % interval lies wholly above 0.5 in one of forty cohorts in which there is nothing to find."""
    states = []
    for seed in range(30):
        halves = control_pools(cohorts(seed))
        evidence = Evidence({k: halves[k] for k in ("train", "test")}, encode=encoder(), seed=seed)
        metrics = {"extraction": Extraction()}
        rows = [*answers(metrics, halves, evidence)]
        states += verdicts({"metrics": musts(metrics), "answers": rows})
    by_question = {q: [v.state for v in states if v.question == q and v.score == "privacy/extraction_auc"] for q in ("catch copy", "spare painter", "spare heldout")}  # fmt: skip
    assert by_question["catch copy"] == ["holds"] * 30
    for question in ("spare painter", "spare heldout"):
        assert by_question[question].count("unfit") <= 3, question


def test_the_answers_are_built_once_and_shared(pools, tmp_path):
    found = tell(pools, tmp_path)
    assert (
        tell(pools, tmp_path, seed=1) == found
        and len([*tmp_path.glob("instruments/*/done.json")]) == 1
    )
    assert set(found["metrics"]) == {"kid", "adherence", "prdc", "copies", "membership"}
    assert found["untested"] == {"utility/dice": "it trains a network for each model"}
    assert {v.score for v in verdicts(found)} == {
        "fidelity/kid",
        "fidelity/adherence",
        "fidelity/precision",
        "fidelity/recall",
        "fidelity/density",
        "fidelity/coverage",
        *(name + end for name in Copies.names for end in ("", "_features")),
        *Membership.names,
    }


def test_adherence_knows_real_images_from_noise_by_the_donors_own_masks(pools):
    halves = control_pools(pools)
    base = Evidence(
        {k: halves[k] for k in ("train", "test")},
        segment=lambda arm, seed, pool: (pool.images > 0).long() * pool.masks,
    )
    metrics = {"adherence": Adherence()}
    found = [*answers(metrics, halves, base)]
    first = {r["control"]: r for r in found if r["name"] == "fidelity/adherence"}
    assert first["heldout"]["value"] == pytest.approx(first["heldout"]["reference"])
    assert {r["name"] for r in found}.isdisjoint({"fidelity/chain_adherence"})
    (verdict,) = verdicts({"metrics": musts(metrics), "answers": found})
    assert verdict.question == "rank, best first: heldout, noise" and verdict.state == "holds"
