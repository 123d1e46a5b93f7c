"""The same question in several feature spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.types import Score


def each_space(
    evidence: Evidence,
    names: Sequence[str],
    spaces: Sequence[str],
    answer: Callable[[str, Evidence], list[Score]],
) -> list[Score]:
    """Scores `name` in the default encoder's space and `name_<space>` in others, each with its weights' checksum.

    A space that is not available leaves blanks that say why.
    """
    scores = []
    for space in spaces:
        reason = evidence.lacks_space(space)
        if reason is not None:
            found = [Score(name, float("nan"), reason=reason) for name in names]
        else:
            found = answer(space, evidence)
        suffix = "" if space == "features" else f"_{space}"
        weights = {} if reason is not None else {"encoder": evidence.fingerprint(space)}
        scores += [
            replace(s, name=s.name + suffix, extra={"space": space, **weights, **s.extra})
            for s in found
        ]
    return scores
