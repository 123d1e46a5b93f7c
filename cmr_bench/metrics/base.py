"""What every metric is: an axis, the pools and answers it needs, and scores or a reason."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.stats import Estimate
from cmr_bench.types import Score


class Metric(ABC):
    """One question about a synthetic set or its model.

    `names` are the scores it always gives (more may follow, one a structure); `needs` is among
    encode, segment, losses, noised. `higher_is_better` speaks of the first name, and of all that are ranked.
    `rankings` are, by score, chains of controls (files of conf/model/control) from best to worst that
    the score must keep on any data, for example {"fidelity/kid": (("heldout", "blurred", "noise"),)};
    every report holds the score against them. `blind_to` are the controls that it cannot see: a fidelity metric
    takes copies for perfect images. `catches` are controls that a privacy score must tell from its
    reference, `spares` are those that it must not accuse. `untested` is why no control tests the metric, where it has none.
    """

    axis: ClassVar[str]
    names: tuple[str, ...]
    pools: ClassVar[tuple[str, ...]]
    needs: tuple[str, ...] = ()
    higher_is_better: ClassVar[bool]
    rankings: ClassVar[Mapping[str, tuple[tuple[str, ...], ...]]] = {}
    blind_to: ClassVar[tuple[str, ...]] = ()
    catches: ClassVar[tuple[str, ...]] = ()
    spares: ClassVar[tuple[str, ...]] = ()
    untested: ClassVar[str] = ""

    def skip(self, evidence: Evidence) -> str | None:
        """Why the question cannot be answered, in one line; None if it can."""
        return evidence.lacks(self.pools, self.needs)

    @abstractmethod
    def compute(self, evidence: Evidence) -> list[Score]:
        """The answer; called only where `skip` gives None."""

    def scores(self, evidence: Evidence) -> list[Score]:
        """The answer, or blanks that say why there is none."""
        reason = self.skip(evidence)
        return self.compute(evidence) if reason is None else self.blank(reason)

    def blank(self, reason: str) -> list[Score]:
        return [Score(name, float("nan"), reason=reason) for name in self.names]


def score(
    name: str,
    estimate: Estimate,
    *,
    n: int,
    better: str,
    unit: str = "subjects",
    reference: float = float("nan"),
    reference_name: str = "",
    extra: Mapping[str, float | str] | None = None,
) -> Score:
    """A Score out of an estimate."""
    value, low, high = estimate
    return Score(
        name,
        value,
        low,
        high,
        n,
        unit,
        better,
        float(reference),
        reference_name,
        extra=dict(extra or {}),
    )
