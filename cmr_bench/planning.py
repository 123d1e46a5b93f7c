"""What a run would do: for each step of a cell what is done, where it would go on, and how long it may take.

Nothing is built. Where data are not prepared yet, the keys of the work that waits for them stand in for the true
ones; none of it can be there.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from cmr_bench.cells import judges, refuse_misfit
from cmr_bench.config import build, plain
from cmr_bench.data.pools import content_hash
from cmr_bench.metrics.fidelity.adherence import Adherence
from cmr_bench.metrics.utility.arms import Arm, named
from cmr_bench.preparation import data_inputs
from cmr_bench.segmenters import segmenter_inputs
from cmr_bench.stages import Stages
from cmr_bench.store import Store, key_of
from cmr_bench.store.past import Past

STEPS = ("prepare", "masks", "autoencoder", "model", "samples", "segmenters", "metrics")


@dataclass(frozen=True)
class Step:
    """One step of a cell: "done", "to do", "resume at ...", "running ...", or "–" where a cell has none.

    `missing` names what would be made, each with the seconds that it may still take (nan: the store has seen
    nothing like it). Cells that share a piece of work name it alike.
    """

    state: str
    missing: Mapping[str, float] = field(default_factory=dict)


UNPREPARED = "unprepared "
NONE, DONE = Step("–"), Step("done")
Plan = dict[str, Step]
"""The steps of a cell by name, in the order of STEPS."""
Asked = tuple[Arm, int, str]
"""The arm, seed and architecture of a segmentation network."""
Planned = tuple[Sequence[str], Plan]
"""The overrides that ask for a cell, and its plan."""


class Planner:
    """Plans the cells of one store; what they have in common is looked at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.past = Past(store)
        self._hashes: dict[Path, str] = {}
        self._arms: dict[str, set[Asked]] = {}

    def plan(self, stages: Stages, choices: Mapping[str, str]) -> Plan:
        """What is left of one cell; leaves the hash of the data, or what stands in for it, in `stages`."""
        config = stages.config
        data = {
            name: data_inputs(config[name]) for name in ("data", "external") if config.get(name)
        }
        hashes = {name: self._hash(key_of(inputs)) for name, inputs in data.items()}
        stages.data_hash = hashes["data"]
        if stages.data_hash.startswith(UNPREPARED):
            stages.training_subjects = 0  # not known, and nothing is prepared to know it
        samples = stages.sample_inputs
        judged = judges(config, hashes.get("external"))
        cell = self.store.cell(choices["model"], key_of({"samples": samples, "judges": judged}))
        status = cell.status
        learned, latent, trained = "fit" in config.mask, stages.latent, "space" in config.model
        if status.state == "done":
            has = {"masks": learned, "autoencoder": latent, "model": trained}
            return {name: DONE if has.get(name, True) else NONE for name in STEPS}
        steps = {"prepare": self._step("data", *data.values())}
        steps["masks"] = (
            self._training("mask", stages.mask_inputs, config.mask) if learned else NONE
        )
        steps["autoencoder"] = (
            self._training("autoencoder", stages.autoencoder_inputs, config.autoencoder)
            if latent
            else NONE
        )
        steps["model"] = self._training("model", stages.model_inputs, config) if trained else NONE
        steps["samples"] = self._samples(samples)
        steps["segmenters"] = self._segmenters(stages)
        scored = {row.get("metric") for row in cell.scores()} & set(config.metric)
        share = len(scored) / max(1, len(config.metric))
        seconds = {f"metrics {cell.folder.name}": self.past.judging(choices) * (1 - share)}
        steps["metrics"] = Step(_resume(len(scored), len(config.metric)), seconds)
        if status.state == "running":
            now = next(name for name, step in steps.items() if step.missing)
            steps[now] = replace(steps[now], state=f"running {status.detail}")
        return steps

    def _hash(self, key: str) -> str:
        folder = self.store.artefact("data", key)
        if not self._there("data", key):
            return f"{UNPREPARED}{key}"
        if folder not in self._hashes:
            self._hashes[folder] = content_hash(folder)
        return self._hashes[folder]

    def _there(self, kind: str, key: str) -> bool:
        return (self.store.artefact(kind, key) / "done.json").exists()

    def _step(
        self, kind: str, *wanted: Mapping[str, Any], state: str = "to do", share: float = 0
    ) -> Step:
        """A step that makes these artefacts, of which a share is made already."""
        missing = {
            f"{kind} {key}": self.past.seconds(kind, inputs) * (1 - share)
            for inputs in wanted
            if not self._there(kind, key := key_of(inputs))
        }
        return Step(state, missing) if missing else DONE

    def _training(self, kind: str, inputs: Mapping[str, Any], node: Any) -> Step:
        at, steps = reached(self.store.artefact(kind, key_of(inputs))), node.fit.steps
        return self._step(kind, inputs, state=_resume(at, steps, "step "), share=at / steps)

    def _samples(self, inputs: Mapping[str, Any]) -> Step:
        written, wanted = drawn(self.store.artefact("samples", key_of(inputs)) / "samples.h5")
        state = _resume(written, wanted, "image ")
        return self._step("samples", inputs, state=state, share=written / max(1, wanted))

    def _segmenters(self, stages: Stages) -> Step:
        """Those that the metrics ask for by their `seeds`, `arms` and `spaces`, adherence of every architecture."""
        others = [*(stages.config.segmenter.get("others") or {})]
        asked = self._asked(plain(stages.config.metric), others)
        wanted = {
            key_of(inputs): inputs for inputs in (segmenter_inputs(stages, *one) for one in asked)
        }
        made = sum(self._there("segmenter", key) for key in wanted)
        state = _resume(made, len(wanted))
        return self._step("segmenter", *wanted.values(), state=state) if wanted else NONE

    def _asked(self, metrics: Mapping[str, Any], others: Sequence[str]) -> set[Asked]:
        key = key_of([metrics, others])
        if key not in self._arms:
            built = [build(metric) for metric in metrics.values()]
            self._arms[key] = {
                (arm, seed, judge)
                for metric in built
                for judge in ("", *(others if isinstance(metric, Adherence) else ()))
                for arm in map(named, getattr(metric, "arms", ("real",)))
                for seed in getattr(metric, "seeds", ())[: arm.fits]
            }
            if any("cardiac" in getattr(metric, "spaces", ()) for metric in built):
                self._arms[key].add((named("real"), 0, ""))
        return self._arms[key]


def reached(folder: Path) -> int:
    """The step of the last readable checkpoint of a training; 0 without one."""
    for path in sorted(folder.glob("last.ckpt*")):
        try:
            state = torch.load(path, map_location="meta", weights_only=True, mmap=True)
            return int(state["global_step"])
        except Exception:  # a torn file can fail in any way; the training itself warns of it
            continue
    return 0


def drawn(path: Path) -> tuple[int, int]:
    """(images there, images wanted) of a file of samples."""
    if not path.exists():
        return 0, 0
    with h5py.File(path, "r", locking=False) as file:
        flags = [group["written"][()] for group in file.values()]
    return int(sum(flag.sum() for flag in flags)), sum(map(len, flags))


def look_ahead(config: Any, choices: Mapping[str, str], overrides: Sequence[str]) -> Planned:
    """The plan of one cell, named by how it was asked for; one that its networks cannot work with is refused here too."""
    stages = Stages(config)
    refuse_misfit(stages)
    return overrides, planner(stages.store.root).plan(stages, choices)


@cache
def planner(root: Path) -> Planner:
    """One planner a store and process."""
    return Planner(Store(root))


def table(plans: Sequence[Planned], width: int = 110) -> str:
    """Cells by steps as text, with what is left in all; work that cells share counts once."""
    view = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", *STEPS, "left"):
        view.add_column(column, overflow="fold")
    every: dict[str, float] = {}
    shared = set.intersection(*(set(words) for words, _ in plans)) if len(plans) > 1 else set()
    for words, steps in plans:
        name = " ".join(word for word in words if word not in shared and "dry_run" not in word)
        name = name or next((word for word in words if word.startswith("model=")), "")
        left = {piece: s for step in steps.values() for piece, s in step.missing.items()}
        every |= left
        view.add_row(name, *(_words(steps[step]) for step in STEPS), duration(left.values()))
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, legacy_windows=False).print(view)
    open_cells = sum(any(step.missing for step in steps.values()) for _, steps in plans)
    line = f"{len(plans) - open_cells} of {len(plans)} cells done"
    if every:
        line += f"; left, with shared work counted once: {duration(every.values())}"
        unknown = sorted({piece.split()[0] for piece, s in every.items() if math.isnan(s)})
        if unknown and len(unknown) < len({piece.split()[0] for piece in every}):
            line += f", and {', '.join(unknown)}, never timed in this store"
    return "\n".join(row.rstrip() for row in stream.getvalue().splitlines()) + f"\n{line}\n"


def duration(seconds: Iterable[float]) -> str:
    """The sum of what is known, rounded for reading; "unknown" if nothing is."""
    every = list(seconds)
    known = [s for s in every if not math.isnan(s)]
    if not known:
        return "unknown" if every else ""
    total = sum(known)
    for size, unit in ((3600, "h"), (60, "min")):
        if total >= 1.5 * size:
            return f"{total / size:.{1 if total < 10 * size else 0}f} {unit}"
    return f"{total:.0f} s"


def _resume(at: int, of: int, unit: str = "") -> str:
    return f"resume at {unit}{at} of {of}" if at else "to do"


def _words(step: Step) -> str:
    known = any(not math.isnan(s) for s in step.missing.values())
    return step.state + (f"\n{duration(step.missing.values())}" if known else "")
