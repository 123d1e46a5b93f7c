"""Every score that a metric promises is explained on the page."""

from __future__ import annotations

import importlib
import pkgutil

from cmr_bench import metrics
from cmr_bench.metrics.base import Metric
from cmr_bench.reporting.meanings import meaning


def below(kind: type) -> list[type]:
    return [one for child in kind.__subclasses__() for one in (child, *below(child))]


def test_every_score_of_a_metric_has_a_sentence():
    for module in pkgutil.walk_packages(metrics.__path__, "cmr_bench.metrics."):
        importlib.import_module(module.name)
    ours = [kind for kind in below(Metric) if kind.__module__.startswith("cmr_bench.")]
    names = {name for kind in ours for name in getattr(kind, "names", ()) if isinstance(name, str)}
    assert len(names) > 40
    assert sorted(name for name in names if meaning(name) == name) == []
    assert "nearest training row" in meaning("privacy/nn_ratio_cardiac")
    assert meaning("privacy/else") == "privacy/else"


def test_the_axis_is_no_part_of_the_name():
    assert "share of synthetic images that lie within" in meaning("fidelity/precision")
    assert "Fréchet" in meaning("fidelity/fid") and "Fréchet" not in meaning("fidelity/adherence")
