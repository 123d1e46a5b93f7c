"""Which cells were judged alike: only their scores may stand in one ranking or one curve."""

from __future__ import annotations

from collections.abc import Sequence

from cmr_bench.reporting.cells import Entry
from cmr_bench.store import key_of

PARTS = ("data", "external", "protocol", "segmenter")
"""Parts of a configuration that decide what a score is measured on, and with what."""


def setting(entry: Entry) -> str:
    """Data set and protocol of a cell in words, with a key of all else in PARTS."""
    words = [str(entry.about.get(word) or "?") for word in ("data", "protocol")]
    parts = {k: v for k, v in entry.settings.items() if k.split(".")[0] in PARTS}
    return ", ".join([*words, key_of(parts)[:6]])


def alike(found: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The cells of each setting, in their order."""
    parts: dict[str, list[Entry]] = {}
    for entry in found:
        parts.setdefault(setting(entry), []).append(entry)
    return parts
