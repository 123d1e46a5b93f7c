"""`python -m cmr_bench`: which verbs there are."""

from __future__ import annotations

VERBS = {
    "run": "train generators, synthesise, judge; -m for a sweep",
    "prepare": "read a data set, list its faults, show its splits",
    "evaluate": "judge images made elsewhere with the same metrics",
    "report": "what is on disk: cells, tables, triangle, page",
    "export": "the synthetic pairs that obey their masks, as files",
    "sync": "replay local logs to W&B",
}

print("python -m cmr_bench.VERB; each has --help")
for name, words in VERBS.items():
    print(f"  {name:8s} {words}")
