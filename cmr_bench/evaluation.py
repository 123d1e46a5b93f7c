"""Judging a finished model: every metric sees the same evidence and leaves its scores in the cell."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping

from cmr_bench.interruption import flag
from cmr_bench.metrics.base import Metric
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.progress import each
from cmr_bench.types import Score

log = logging.getLogger(__name__)


def judge(
    evidence: Evidence, metrics: Mapping[str, Metric]
) -> Iterator[tuple[str, list[Score], float]]:
    """(name, scores, seconds) of one metric after the other; one that fails on the data says why in its scores."""
    for name, metric in each(metrics.items(), "metrics"):
        flag.between()
        start = time.perf_counter()
        try:
            scores = metric.scores(evidence)
        except ValueError as error:
            log.warning("metric %s: %s", name, error)
            scores = metric.blank(str(error))
        seconds = time.perf_counter() - start
        log.info("metric %s: %.1f s", name, seconds)
        yield name, scores, seconds
