"""What is on disk: artefacts keyed by their inputs, cells, and the writers that keep both whole."""

from __future__ import annotations

from cmr_bench.store.artefacts import Store
from cmr_bench.store.cell import JUDGED, Cell, Status, sweeps
from cmr_bench.store.environment import environment
from cmr_bench.store.files import (
    append_jsonl,
    atomic,
    key_of,
    read_json,
    read_jsonl,
    write_json,
)
from cmr_bench.store.job import Job
from cmr_bench.store.locks import Busy

__all__ = [
    "JUDGED",
    "Busy",
    "Cell",
    "Job",
    "Status",
    "Store",
    "append_jsonl",
    "atomic",
    "environment",
    "key_of",
    "read_json",
    "read_jsonl",
    "sweeps",
    "write_json",
]
