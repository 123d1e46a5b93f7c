from __future__ import annotations

import math

import pandas as pd
import pytest

from cmr_bench.reporting.axes import origins, triangle

NAN = math.nan


def row(
    value: float, low: float = NAN, high: float = NAN, reference: float = NAN
) -> dict[str, float]:
    return {"value": value, "low": low, "high": high, "reference": reference}


def test_real_data_sit_in_the_corners() -> None:
    scores = {
        "fidelity/adherence": row(0.83, 0.8, 0.86, reference=0.83),
        "fidelity/coverage": row(0.9, reference=0.9),
        "utility/dice_ratio": row(1.0),
        "privacy/mia_auc": row(0.5),
        "privacy/copy_rate": row(0.02, reference=0.02),
    }
    assert {axis: span.value for axis, span in triangle(scores).items()} == {
        "fidelity": 1.0,
        "utility": 1.0,
        "privacy": 1.0,
    }
    better = scores | {"fidelity/adherence": row(0.9, reference=0.83), "privacy/mia_auc": row(0.4)}
    assert triangle(better) == triangle(better | {"fidelity/adherence": row(0.95, reference=0.83)})


def test_an_axis_is_as_strong_as_its_weakest_headline() -> None:
    scores = {
        "fidelity/adherence": row(0.8, 0.7, 0.9, reference=1.0),
        "fidelity/coverage": row(0.5, 0.4, 0.6, reference=0.8),
        "privacy/mia_auc": row(0.6, 0.55, 0.7),
        "privacy/sima_auc": row(0.9, 0.8, 0.95),
        "privacy/copy_rate": row(0.3, 0.2, 0.4, reference=0.1),
    }
    spans = triangle(scores)
    assert spans["fidelity"] == pytest.approx((0.625, 0.5, 0.75))
    assert spans["privacy"] == pytest.approx((0.2, 0.1, 0.4))
    assert "utility" not in spans


@pytest.mark.parametrize("name", ["privacy/mia_auc", "privacy/copy_rate", "fidelity/adherence"])
def test_an_axis_of_which_a_headline_is_missing_is_left_open(name: str) -> None:
    """Images of noise obey no mask less than paint does, and no model told its losses to an attack on images alone."""
    assert triangle({name: row(0.5)}) == triangle({name: row(NAN)}) == triangle({}) == {}


@pytest.mark.parametrize(
    "attack",
    ["sima", "pia", "secmi", "frequency", "calibrated", "autoencoder", "proxy", "extraction"],
)
def test_the_attack_counts_that_surely_finds_most(attack: str) -> None:
    """Not the one with the highest value, which of many is above a half by chance."""
    scores = {
        "privacy/copy_rate": row(0.0, reference=0.0),
        "privacy/mia_auc": row(0.8, 0.4, 0.9),
        f"privacy/{attack}_auc": row(0.7, 0.6, 0.75),
        "privacy/fcre_auc": row(1.0, 0.9, 1.0),
        "privacy/blind_auc": row(1.0, 0.9, 1.0),
        "privacy/canary_auc": row(1.0, 0.9, 1.0),
    }
    assert triangle(scores)["privacy"] == pytest.approx((0.6, 0.5, 0.8))
    mended = scores | {"privacy/fcre_auc_subjects": row(0.9, 0.8, 0.95)}
    assert triangle(mended)["privacy"] == pytest.approx((0.2, 0.1, 0.4))


def test_an_attack_that_is_surely_wrong_tells_members_turned_round() -> None:
    def privacy(*attack: float, **others: dict[str, float]) -> tuple[float, ...]:
        copies = {"privacy/copy_rate": row(0.0, reference=0.0)}
        return triangle({"privacy/mia_auc": row(*attack)} | copies | others)["privacy"]

    assert privacy(0.05, 0.0, 0.12) == pytest.approx(privacy(0.95, 0.88, 1.0))
    assert privacy(0.4, 0.2, 0.6) == pytest.approx((1.0, 0.8, 1.0)), "not for certain"
    sima = {"privacy/sima_auc": row(0.7, 0.6, 0.8)}
    assert privacy(0.05, 0.0, 0.12, **sima) == pytest.approx((0.1, 0.0, 0.24)), "it counts"


def test_it_is_said_what_sets_an_axis_and_what_is_missing() -> None:
    scores = {
        "fidelity/adherence": row(0.8, reference=1.0),
        "privacy/sima_auc": row(0.7, 0.6, 0.8),
        "privacy/mia_auc": row(0.9, 0.1, 1.0),
        "privacy/copy_rate": row(0.0),
    }
    table = pd.DataFrame([{"group": "fm", "name": name} | one for name, one in scores.items()])
    assert origins(table) == {
        "fidelity": {"open for want of coverage": ["fm"]},
        "utility": {"open for want of dice": ["fm"]},
        "privacy": {"set by sima_auc": ["fm"]},
    }


def test_without_an_interval_the_limits_are_the_value() -> None:
    assert triangle({"utility/dice": row(0.8, reference=0.84)})["utility"] == pytest.approx(
        (0.8 / 0.84,) * 3
    )
