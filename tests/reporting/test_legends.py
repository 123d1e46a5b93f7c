"""Legends keep within their figure, however long the names and however many the models."""

from __future__ import annotations

import warnings

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cmr_bench.reporting.axes import Span
from cmr_bench.reporting.legends import short
from cmr_bench.reporting.plots import trade_off_plot, triangle_plot
from cmr_bench.reporting.tables import AXES


@pytest.mark.parametrize("plot", [triangle_plot, trade_off_plot])
@pytest.mark.parametrize("length", [3, 200])
@pytest.mark.parametrize("count", [2, 12])
def test_the_legend_is_inside_and_the_panels_keep_their_size(plot, length, count):
    spans = dict.fromkeys(AXES, Span(0.5, 0.4, 0.6))
    models = {f"{k:02d}".ljust(length, "m"): spans for k in range(count)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plot(models, dict.fromkeys(models, "#0072b2"))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    box, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y0 >= 0
    assert all(box.y1 <= panel.get_window_extent().y0 + 1 for panel in figure.axes)
    assert min(panel.get_window_extent().height for panel in figure.axes) > 1.9 * figure.dpi


def test_long_names_lose_their_middle():
    assert short("released pairs.h5", 17) == "released pairs.h5"
    assert short("released pairs.h5", 9) == "rele…s.h5" and len(short("ab" * 50, 12)) == 12
