"""What each cell cost, and where it ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cmr_bench.reporting.cells import Entry
from cmr_bench.store import read_json

STAGES = ("prepare", "masks", "autoencoder", "fit", "sample", "segmenters", "instruments", "score")


def seconds_of(entry: Entry) -> dict[str, float]:
    return {k: float(v) for k, v in (entry.environment.get("seconds") or {}).items()}


def cost(entry: Entry) -> dict[str, Any]:
    """A row of the table, as strings."""
    seconds = seconds_of(entry)
    parameters = entry.about.get("parameters")
    encoder = entry.about.get("autoencoder_parameters")
    memory = entry.environment.get("peak_memory_gib")
    return {
        "group": entry.group,
        "seed": entry.seed,
        "folder": entry.cell.folder.name,
        "state": entry.status.state,
        "detail": entry.status.detail,
        "log": _log(entry),
        "parameters": f"{parameters / 1e6:.2f}" if parameters else "–",
        "autoencoder": f"{encoder / 1e6:.2f}" if encoder else "–",
        "nfe": entry.about.get("nfe") or "–",
        "seconds": {stage: f"{seconds[stage]:.0f}" for stage in STAGES if stage in seconds},
        "total": f"{sum(seconds.values()):.0f}" if seconds else "–",
        "memory": f"{memory:.1f}" if memory else "–",
    }


def _log(entry: Entry) -> str:
    return str(read_json(entry.cell.folder / "failed.json").get("log", ""))


def environments(found: Sequence[Entry]) -> list[dict[str, Any]]:
    """Each distinct environment once, with the cells that ran in it."""
    seen: dict[str, dict[str, Any]] = {}
    for entry in found:
        env = entry.environment
        if not env:
            continue
        versions = ", ".join(f"{k} {v}" for k, v in (env.get("versions") or {}).items())
        facts = {
            "device": env.get("device"),
            "threads": env.get("threads"),
            "devices that trained together": entry.about.get("devices"),
            "host": env.get("host"),
            "commit": env.get("git"),
            "data": env.get("data_hash"),
            "versions": versions,
        }
        known = {k: v for k, v in facts.items() if v}
        seen.setdefault(repr(known), {"facts": known, "cells": []})["cells"].append(
            f"{entry.group} seed {entry.seed}"
        )
    return list(seen.values())
