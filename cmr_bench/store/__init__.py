"""What is on disk: artefacts keyed by their inputs, cells, and the writers that keep both whole."""

from __future__ import annotations

from cmr_bench.store.artefacts import Store
from cmr_bench.store.cell import Cell, Status
from cmr_bench.store.environment import environment
from cmr_bench.store.files import (
    append_jsonl,
    atomic,
    key_of,
    read_json,
    read_jsonl,
    write_json,
)

__all__ = [
    "Cell",
    "Status",
    "Store",
    "append_jsonl",
    "atomic",
    "environment",
    "key_of",
    "read_json",
    "read_jsonl",
    "write_json",
]
