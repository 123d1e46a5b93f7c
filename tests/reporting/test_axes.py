from __future__ import annotations

import math

import pytest

from cmr_bench.reporting.axes import triangle

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
        "privacy/fcre_auc": row(0.9, 0.8, 0.95),
        "privacy/copy_rate": row(0.3, 0.2, 0.4, reference=0.1),
    }
    spans = triangle(scores)
    assert spans["fidelity"] == pytest.approx((0.625, 0.5, 0.75))
    assert spans["privacy"] == pytest.approx((0.2, 0.1, 0.4))
    assert "utility" not in spans


@pytest.mark.parametrize("name", ["privacy/mia_auc", "privacy/copy_rate", "fidelity/adherence"])
def test_a_score_that_is_not_there_says_nothing(name: str) -> None:
    assert triangle({name: row(NAN)}) == {}
    assert triangle({}) == {}


def test_without_an_interval_the_limits_are_the_value() -> None:
    assert triangle({"utility/dice": row(0.8, reference=0.84)})["utility"] == pytest.approx(
        (0.8 / 0.84,) * 3
    )
