"""The phantom against published anatomy: ACDC's group means and SDs (Bernard et al., IEEE TMI 37(11), 2018), as
`python -m cmr_bench.data.phantom_table --acdc PATH` measures them on 70 training subjects, 14 a group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cmr_bench.data.phantom import Phantom
from cmr_bench.data.phantom_anatomy import GROUPS, diastole, systole
from cmr_bench.data.phantom_table import (
    MEASURES,
    markdown,
    measure,
    phantom_rows,
    table,
    wall_thickness,
)

VOLUMES = {  # mean, SD of LV EDV (ml), LV ESV (ml), LV EF, RV EDV (ml)
    "NOR": ((129, 28), (53, 14), (0.589, 0.053), (151, 39)),
    "DCM": ((282, 48), (230, 50), (0.188, 0.073), (187, 72)),
    "HCM": ((125, 37), (41, 17), (0.676, 0.076), (116, 34)),
    "MINF": ((176, 41), (124, 38), (0.298, 0.085), (106, 36)),
    "RV": ((103, 40), (49, 22), (0.531, 0.063), (196, 49)),
}
CONTRAST = {  # mean, SD over all groups
    "blood_to_myo": (3.08, 0.86),
    "rv_to_lv": (0.78, 0.11),
    "dark_to_blood": (0.050, 0.029),
    "bright_to_blood": (0.87, 0.21),
    "myo_cv": (0.27, 0.08),
}


@pytest.mark.parametrize("name", GROUPS)
def test_group_means_lie_in_the_bands_of_real_subjects(name: str) -> None:
    found = []
    for seed in range(14):
        rng = np.random.default_rng(seed)
        ed = diastole(rng, GROUPS[name])
        es = systole(rng, GROUPS[name], ed)
        found.append((ed.lv_ml(), es.lv_ml(), 1 - es.lv_ml() / ed.lv_ml(), ed.rv_ml()))
        assert es.wall_ml() == pytest.approx(ed.wall_ml(), rel=0.02)
    for value, (mean, sd) in zip(np.mean(found, axis=0), VOLUMES[name], strict=True):
        assert abs(value - mean) < sd


def test_contrast_lies_in_the_bands_of_real_subjects() -> None:
    rows = pd.DataFrame(phantom_rows(Phantom(subjects=10, size=80, spacing_mm=2.0)))
    for name, (mean, sd) in CONTRAST.items():
        assert abs(rows[name].mean() - mean) < sd, name
    assert rows.groupby("group")["wall_max_mm"].mean().idxmax() == "HCM"
    assert rows.groupby("group")["rv_area_cm2"].mean().idxmax() == "RV"


def test_wall_thickness_of_a_ring_is_the_difference_of_its_radii() -> None:
    y, x = np.mgrid[:128, :128] - 63.5
    r = np.hypot(x, y)
    mask = np.where(r < 20, 1, np.where(r < 27, 2, 0))
    np.testing.assert_allclose(wall_thickness(mask, 1.5), 1.5 * 7, rtol=0.05)
    assert len(wall_thickness(np.zeros((8, 8), int), 1.0)) == 0


def test_measures_of_a_cylinder_are_its_closed_form() -> None:
    y, x = np.mgrid[:96, :96] - 47.5
    r = np.hypot(x, y)
    ed = np.where(r < 16, 1, np.where(r < 22, 2, 0))
    ed[(r >= 22) & (r < 30) & (x < 0)] = 3
    es = np.where(r < 8, 1, np.where(r < 17.9, 2, 0))
    image = np.choose(ed, [0.0, 0.9, 0.3, 0.6])
    found = measure(
        np.stack([image] * 6),
        np.stack([ed] * 6),
        es_masks=np.stack([es] * 6),
        spacing_mm=2.0,
        thickness_mm=10.0,
    )
    assert found["lv_edv_ml"] == pytest.approx(np.pi * 32**2 * 60 / 1000, rel=0.02)
    assert found["lv_ef"] == pytest.approx(75, abs=1)
    assert found["wall_mean_mm"] == pytest.approx(12, rel=0.03)
    assert found["rv_area_cm2"] == pytest.approx(np.pi / 2 * (60**2 - 44**2) / 100, rel=0.03)
    assert found["blood_to_myo"] == pytest.approx(3)
    assert found["rv_to_lv"] == pytest.approx(2 / 3)
    assert found["myo_cv"] == pytest.approx(0, abs=1e-6)


def test_table_says_how_many_real_deviations_lie_between() -> None:
    def rows(values: tuple[float, ...]) -> list[dict[str, float | str]]:
        return [{"group": "NOR", **dict.fromkeys(MEASURES, value)} for value in values]

    frame = table(rows((8.0, 10.0, 12.0)), rows((12.0, 13.0, 14.0)))
    np.testing.assert_allclose(frame["difference in SD"], 1.5)
    text = markdown(frame)
    assert text.count("13 ± 1 / 10 ± 2 (+1.50)") == len(MEASURES)
    assert "| NOR |" in text
