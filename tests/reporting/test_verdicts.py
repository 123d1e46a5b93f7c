"""A metric is fit where its answers about controls are those that it must give."""

from __future__ import annotations

import pytest

from cmr_bench.reporting.axes import triangle
from cmr_bench.reporting.cells import entries
from cmr_bench.reporting.page import page
from cmr_bench.reporting.paired import paired
from cmr_bench.reporting.tables import compare, terminal
from cmr_bench.reporting.verdicts import caught, order_verdict, struck, verdicts
from cmr_bench.seeds import numpy_rng
from cmr_bench.store import Store
from cmr_bench.types import Score

KID = {"names": ["fidelity/kid"], "rankings": {"fidelity/kid": [["heldout", "painter", "noise"]]}}
COPIES = {"names": ["privacy/copy_rate", "privacy/nn_ratio"], "catches": ["copy"], "spares": ["heldout"], "spaces": ["pixels", "features"]}  # fmt: skip


def answer(control, value, half=0.05, *, name="fidelity/kid", better="lower", reference=None, **extra):  # fmt: skip
    row = {"control": control, "metric": "m", "name": name, "value": value, "better": better}
    return row | {"low": value - half, "high": value + half, "reference": reference, "extra": extra}


def record(metric, *answers):
    return {"metrics": {"m": metric}, "answers": list(answers)}


def states(*args):
    return [verdict.state for verdict in verdicts(record(*args))]


def kid(*values, **more):
    return [answer(c, v, **more) for c, v in zip(("heldout", "painter", "noise"), values, strict=True)]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "state"),
    [((0.1, 0.5, 0.9), "holds"), ((0.1, 0.9, 0.5), "unfit"), ((0.1, 0.12, 0.15), "unresolved")],
)
def test_an_order_holds_if_it_is_monotone_and_its_ends_lie_apart(values, state):
    assert states(KID, *kid(*values)) == [state]
    turned = [1 - value for value in values]
    assert states(KID, *kid(*turned, better="higher")) == [state]


@pytest.mark.parametrize(
    ("worse", "half", "state"),
    [(0.09, 1.1, "unresolved"), (0.02, 0.05, "unfit"), (0.04, 0.05, "unresolved")],
)
def test_a_reversal_counts_only_beyond_the_interval_of_the_difference(worse, half, state):
    chain = [answer("heldout", 0.1, half), answer("painter", worse, half)]
    assert states({"names": ["fidelity/kid"], "rankings": {"fidelity/kid": [["heldout", "painter"]]}}, *chain) == [state]  # fmt: skip
    turned = [row | {"value": -row["value"], "low": -row["high"], "high": -row["low"], "better": "higher"} for row in chain]  # fmt: skip
    assert order_verdict(turned)[0] == state


def test_controls_of_one_law_seldom_break_an_order():
    draw, broken = numpy_rng("one law"), 0
    for a, b in draw.normal(size=(2000, 2)):
        chain = [answer("heldout", a, 1.96), answer("vendor", b, 1.96)]
        broken += order_verdict(chain)[0] == "unfit"
    assert 0.015 < broken / 2000 < 0.035


def test_a_chain_is_held_at_its_ends_too():
    rising = [answer(c, v, 0.05) for c, v in zip("abc", (0.1, 0.05, 0.0), strict=True)]
    assert order_verdict(rising) == ("unfit", "c scores better than a")


def test_a_reversal_names_the_controls():
    (verdict,) = verdicts(record(KID, *kid(0.1, 0.9, 0.5)))
    assert verdict.reason == "noise scores better than painter"
    assert verdict.question == "rank, best first: heldout, painter, noise"


def copies(name="privacy/copy_rate", *, copy, heldout, half=0.02, high=0.1):
    more = {"name": name, "reference": 0.05, "reference_low": 0.0, "reference_high": high}
    return answer("copy", copy, half, **more), answer("heldout", heldout, half, **more)


@pytest.mark.parametrize(
    ("copy", "heldout", "expected"),
    [
        (1.0, 0.06, ["holds", "holds"]),
        (0.05, 0.06, ["unfit", "holds"]),
        (0.11, 0.06, ["unfit", "holds"]),
        (0.55, 0.06, ["holds", "holds"]),
        (1.0, 0.11, ["holds", "holds"]),  # its lower limit is within what real subjects score
        (1.0, 0.3, ["holds", "unfit"]),
    ],
)
def test_copies_are_caught_and_held_out_subjects_are_spared(copy, heldout, expected):
    assert states(COPIES, *copies(copy=copy, heldout=heldout)) == expected


@pytest.mark.parametrize(
    ("better", "value", "half", "verdict"),
    [
        ("lower", 0.51, 0.1, ("unfit", "sees 49% of control copy")),
        ("lower", 0.53, 0.1, ("holds", "")),
        ("lower", 0.53, 0.51, ("unresolved", "")),
        ("lower", 0.03, 0.1, ("unfit", "misses control copy")),
        ("higher", 0.03, 0.01, ("unfit", "sees 25% of control copy")),
        ("higher", 0.01, 0.01, ("holds", "")),
    ],
)
def test_a_rate_must_find_half_of_what_is_there(better, value, half, verdict):
    row = answer("copy", value, half, name="privacy/copy_rate_x", better=better, reference=0.04)
    assert caught(row) == verdict
    if better == "lower":  # an AUC need only lie above its reference for certain
        state = "holds" if row["low"] > 0.04 else "unfit" if value < 0.04 else "unresolved"
        assert caught(row | {"name": "privacy/mia_auc"})[0] == state


def attack(control, name, value, half):
    return answer(control, value, half, name=f"privacy/{name}", reference=0.5)


def test_each_score_of_a_metric_is_tested_and_but_for_the_first_falls_alone():
    names = ["privacy/fcre_auc", "privacy/fcre_auc_subjects"]
    fcre = {"names": names, "catches": ["copy"], "spares": ["painter"]}
    first = [attack("copy", "fcre_auc", 0.95, 0.04), attack("painter", "fcre_auc", 0.5, 0.1)]
    rest = [attack("copy", "fcre_auc_subjects", 0.4, 0.1), attack("painter", "fcre_auc_subjects", 0.9, 0.1)]  # fmt: skip
    unfit = [row["unfit"] for row in struck([{"name": n} for n in names], record(fcre, *first, *rest))]  # fmt: skip
    assert unfit == ["", "unfit here: misses control copy; accuses control painter"]
    turned = {"fcre_auc": "fcre_auc_subjects", "fcre_auc_subjects": "fcre_auc"}
    rows = [r | {"name": f"privacy/{turned[r['name'].split('/')[1]]}"} for r in (*first, *rest)]
    assert all(r["unfit"] for r in struck([{"name": n} for n in names], record(fcre, *rows)))
    both = [attack("copy", name, 0.4, 0.1) for name in turned]
    unfit = [row["unfit"] for row in struck([{"name": n} for n in names], record(fcre, *both))]
    assert (
        unfit == ["unfit here: misses control copy"] * 2
    )  # said once, though both verdicts strike the second


def test_each_space_has_a_verdict_of_its_own_and_strikes_its_own_scores():
    rows = [*copies(copy=1.0, heldout=0.0), *copies("privacy/copy_rate_features", copy=0.0, heldout=0.0)]  # fmt: skip
    scores = [{"name": f"privacy/{n}"} for n in ("copy_rate", "nn_ratio", "copy_rate_features", "nn_ratio_features")]  # fmt: skip
    unfit = [row["unfit"] for row in struck(scores, record(COPIES, *rows))]
    assert unfit == ["", "", *["unfit here: misses control copy"] * 2]


def test_a_score_whose_controls_could_not_answer_is_untested_and_says_why():
    blank = answer("noise", 0.0) | {"value": None, "reason": "too few"}
    (verdict,) = verdicts(record(KID, answer("heldout", 0.1), blank))
    assert verdict.state == "untested" and verdict.reason == "untested here: too few"
    assert verdict.question == "rank, best first: heldout, painter, noise"
    blanks = [row | {"value": None, "reason": "too few"} for row in copies(copy=0, heldout=0)]
    (verdict,) = verdicts(record(COPIES, *blanks))
    assert (verdict.question, verdict.state) == ("catch copy, spare heldout", "untested")
    (row,) = struck([{"name": "privacy/copy_rate"}], record(COPIES, *blanks))
    assert row["unfit"] == ""
    unknown = answer("copy", 0.4, name="privacy/nn_ratio", better="")
    assert [v.score for v in verdicts(record(COPIES, *copies(copy=1, heldout=0), unknown)) if v.state == "untested"] == ["privacy/nn_ratio"]  # fmt: skip
    assert verdicts({}) == [] and struck([{"name": "a"}], {}) == [{"name": "a", "unfit": ""}]


def test_unfit_scores_are_struck_everywhere_and_leave_the_triangle(tmp_path):
    for model in ("ddpm", "fm"):
        cell = Store(tmp_path).cell(model, "0" * 12)
        cell.write("cell.json", {"model": model, "seed": 0, "data": "phantom"})
        cell.add_scores([Score("privacy/copy_rate", 0.9, 0.8, 1.0, n=9, better="lower"), Score("privacy/mia_auc", 0.5, 0.4, 0.6, n=9)], metric="m")  # fmt: skip
        cell.write(
            "instruments.json",
            record(COPIES, *copies(copy=0.0, heldout=0.0))
            | {"untested": {"privacy/proxy_auc": "no recipe"}},
        )
    found = entries(tmp_path)
    table = compare(found)
    reason = "unfit here: misses control copy"
    assert list(table["unfit"]) == [reason, reason, "", ""]
    text = terminal(table)
    assert text.count("✗ privacy/copy_rate: " + reason) == 1 and text.count("] ✗") == 2
    html = page(found, table, paired(found))
    assert html.count(reason) == 1 and 'class="unfit">0.9' in html and "misses control copy" in html
    assert "privacy" not in triangle({row["name"]: row for row in found[0].scores})
    assert "open for want of copy_rate (ddpm, fm)" in html
    assert html.count("Not tested on these data: proxy_auc (no recipe).") == 1


def test_a_score_of_one_structure_is_no_space():
    rows = [*kid(0.1, 0.5, 0.9), *(row | {"name": "fidelity/kid_lv"} for row in kid(0.9, 0.5, 0.1))]
    assert [v.score for v in verdicts(record(KID, *rows))] == ["fidelity/kid"]


def test_an_order_strikes_its_own_score_alone():
    names = ["fidelity/precision", "fidelity/recall"]
    prdc = {"names": names, "rankings": {key: [["heldout", "noise"]] for key in names}}
    rows = [answer(c, v, 0.05) | {"name": n, "better": "higher"} for n, pair in zip(names, [(0.9, 0.1), (0.1, 0.9)], strict=True) for c, v in zip(("heldout", "noise"), pair, strict=True)]  # fmt: skip
    unfit = [row["unfit"] for row in struck([{"name": n} for n in names], record(prdc, *rows))]
    assert unfit == ["", "unfit here: noise scores better than heldout"]


def test_without_intervals_nothing_is_certain():
    bare = [row | {"low": None, "high": None} for row in kid(0.1, 0.9, 0.5)]
    assert states(KID, *bare) == ["unresolved"]
