"""The same question in several feature spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.types import Score


def in_space(name: str, space: str, default: str = "features") -> str:
    """What the score of this name is called in a space."""
    return name if space == default else f"{name}_{space}"


def in_spaces(names: Sequence[str], spaces: Sequence[str]) -> tuple[str, ...]:
    """Names of the scores that `each_space` gives."""
    return tuple(in_space(name, space) for space in spaces for name in names)


def each_space(
    evidence: Evidence,
    names: Sequence[str],
    spaces: Sequence[str],
    answer: Callable[[str, Evidence], list[Score]],
    default: str = "features",
) -> list[Score]:
    """Scores `name` in the default space, the encoder's, and `name_<space>` in others, each with its weights' checksum.

    A space that is not available leaves blanks that say why. Where the encoder was trained on a pool,
    the reference says so: a floor that compares that pool with another is no fair one.
    """
    scores = []
    for space in spaces:
        reason = evidence.lacks_space(space)
        if reason is not None:
            found = [Score(name, float("nan"), reason=reason) for name in names]
        else:
            found = answer(space, evidence)
        weights = {} if reason is not None else {"encoder": evidence.fingerprint(space)}
        trained = evidence.trained_on(space) if reason is None else ""
        seen = f"; the encoder was trained on {trained}" if trained else ""
        scores += [
            replace(
                s,
                name=in_space(s.name, space, default),
                reference_name=s.reference_name + (seen if s.reference_name else ""),
                extra={"space": space, **weights, **s.extra},
            )
            for s in found
        ]
    return scores
