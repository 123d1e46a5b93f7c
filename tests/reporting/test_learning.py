"""The learning curve is drawn from the scores of few-subject arms, and only from them."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from cmr_bench.reporting.cells import entries
from cmr_bench.reporting.learning import ALONE, _lines, learning_plot
from cmr_bench.store import Store
from cmr_bench.types import Score

PALETTE = {"fm": "#0072b2"}


@pytest.fixture
def found(tmp_path):
    fill(tmp_path, "phantom", "0" * 12, 800)
    return entries(tmp_path)


def fill(root, data, key, steps):
    cell = Store(root).cell("fm", key)
    with cell.attempt():
        cell.write("cell.json", {"model": "fm", "seed": 0, "data": data, "protocol": "strict"})
        config = {"segmenter": {"fit": {"steps": steps}}}
        (cell.folder / "config.yaml").write_text(yaml.safe_dump(config))
        for domain in ("", "external_"):
            for name, n, synthetic, value in (
                ("few4_", 4, "none", 0.6), ("few8_", 8, "none", 0.7), ("real_", 49, "none", 0.85),
                ("", 0, "all", 0.75), ("few4_both_", 4, "all", 0.78), ("both_", 49, "all", 0.86),
            ):  # fmt: skip
                extra = {"on_curve": "true", "real_subjects": n, "synthetic": synthetic}
                words = {"n": 14, "extra": extra}
                score = Score(
                    f"utility/{domain}{name}dice", value, value - 0.1, value + 0.1, **words
                )
                cell.add_scores([score], metric="segmentation")
        cell.add_scores(
            [Score("utility/strong_dice", 0.9, extra={"on_curve": "false"})], metric="s"
        )
        cell.finish()


def test_points_lie_where_their_arms_do(found):
    lines = _lines(found, "utility/")
    assert list(lines) == [ALONE, "fm"]
    np.testing.assert_allclose(lines[ALONE][:, :2], [[4, 0.6], [8, 0.7], [49, 0.85]])
    np.testing.assert_allclose(lines["fm"][0], [0, 0.75, 0.65, 0.85])


def test_one_panel_a_domain_and_none_without_a_curve(found):
    figure = learning_plot(found, PALETTE)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "unseen subjects",
        "external domain",
    ]
    assert learning_plot([], PALETTE) is None


@pytest.mark.parametrize(("data", "steps"), [("acdc", 800), ("phantom", 200)])
def test_other_data_or_another_segmenter_have_panels_of_their_own(found, tmp_path, data, steps):
    fill(tmp_path, data, "1" * 12, steps)
    figure = learning_plot(entries(tmp_path), PALETTE)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == len(set(titles)) == 4
    assert sum(f"({data}, strict" in title for title in titles) >= 2
    assert len(figure.legends[0].get_texts()) == 5  # both groups and the real one
