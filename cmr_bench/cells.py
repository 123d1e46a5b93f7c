"""One cell from its configuration to `done.json`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from cmr_bench.callbacks import MetricCallback
from cmr_bench.config import build, plain
from cmr_bench.evaluation import judge
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.models.diffusion import Diffusion
from cmr_bench.networks.segmenter import Segmenter
from cmr_bench.reporting import triangle
from cmr_bench.reporting.grids import save_grid
from cmr_bench.stages import Stages
from cmr_bench.store import Cell, append_jsonl, environment, key_of, read_jsonl
from cmr_bench.synthesis import join
from cmr_bench.tracking.tracker import Tracker
from cmr_bench.types import Masks, Pool

log = logging.getLogger("cmr_bench")


def run_cell(config: DictConfig, choices: Mapping[str, str]) -> Cell:
    """Bring one cell to its end, doing only what is missing; a failure stays in the cell and is raised on."""
    if config.threads:
        torch.set_num_threads(config.threads)
    stages = Stages(config)
    key = key_of({"samples": stages.sample_inputs, "judges": judges(config, stages.external_hash)})
    cell = stages.store.cell(choices["model"], key)
    if cell.status.state == "done":
        log.info("%s is done: %s", choices["model"], cell.folder)
        return cell
    with cell.attempt():
        if (cell.folder / "done.json").exists():  # made by another process while this one waited
            return cell
        cell.write(
            "cell.json",
            {
                **choices,
                "key": key,
                "seed": config.seed,
                "tags": plain(config.tags),
                "sweep": config.sweep,
            },
        )
        OmegaConf.save(config, cell.folder / "config.yaml", resolve=True)
        tracker = build(config.logger, cell=cell, config=plain(config))
        try:
            work(cell, stages, tracker)
            cell.finish()
        except BaseException:
            tracker.finish(1)
            raise
        tracker.finish(0)
    return cell


def judges(config: DictConfig, external: str | None) -> dict[str, Any]:
    """What determines the scores of given samples."""
    names = ("metric", "segmenter", "encoder")
    return {name: plain(config[name]) for name in names} | {"external": external}


def work(cell: Cell, stages: Stages, tracker: Tracker) -> None:
    config = stages.config
    encode = stages.to_device(build(config.encoder))
    model = train(cell, stages, tracker, encode)
    path, synthetic = stages.synthetic(model)
    link(cell.folder / "samples.h5", path)
    pools = {**stages.pools, **synthetic}
    grid = cell.folder / "grid.png"
    save_grid(grid, pools["test"], pools["matched"])
    tracker.log_grid("real and synthetic", pools["test"], pools["matched"])
    tracker.log_grid("synthetic", pools["synthetic"])

    def segment(arm: str, seed: int, pool: Pool) -> Masks:
        if arm == "real":
            return real_segmenter(stages, seed).segment(pool.images)
        synthetic = pools["synthetic"]
        training = synthetic if arm == "synthetic" else join("both", pools["train"], synthetic)
        made = {"arm": arm, "samples": key_of(stages.sample_inputs)}
        return stages.segmenter(training, made, seed).segment(pool.images)

    evidence = Evidence(
        pools,
        model=model,
        encode=encode,
        segment=segment,
        seed=config.seed,
        device=device_of(encode),
    )
    metrics = {name: build(node) for name, node in config.metric.items()}
    for name, scores, seconds in judge(evidence, metrics):
        cell.add_scores(scores, metric=name, seconds=seconds)
        tracker.summarise(scores)
    spans = triangle({row["name"]: row for row in cell.scores()})
    tracker.summarise([], **{f"triangle/{axis}": span.value for axis, span in spans.items()})
    cell.write("environment.json", environment(data_hash=stages.data_hash, seconds=stages.seconds))


def train(cell: Cell, stages: Stages, tracker: Tracker, encode: Any) -> Any:
    """The model with its curve in the cell's log, whether it is trained now or was trained before."""
    config = stages.config
    every = config.callbacks.every_n_steps
    callbacks = (
        [axis(node, stages, encode) for node in (config.callbacks.axes or {}).values()]
        if every
        else []
    )
    for callback in callbacks:  # the judges are trained first: no family pays for them
        for seed in {
            s for metric in callback.metrics.values() for s in getattr(metric, "seeds", ())
        }:
            real_segmenter(stages, seed)
    model = stages.fitted_model(callbacks, tracker, every)
    about: dict[str, Any] = {}
    if isinstance(model, Diffusion):
        curve = stages.store.artefact("model", key_of(stages.model_inputs)) / "log.jsonl"
        if cell.logged() and not curve.exists():
            shutil.copy(cell.folder / "log.jsonl", curve)
        elif curve.exists() and not cell.logged():
            append_jsonl(cell.folder / "log.jsonl", read_jsonl(curve))
        about = {
            "parameters": sum(p.numel() for p in model.denoiser.parameters()),
            "autoencoder_parameters": sum(p.numel() for p in model.space.parameters()),  # type: ignore[attr-defined]
            "nfe": model.sampler.nfe(model.steps),
        }
    cell.write("cell.json", {**cell.about, **about})
    return model


def axis(node: DictConfig, stages: Stages, encode: Any) -> MetricCallback:
    """The callback of one axis, with evidence that is quick to get."""

    def make_evidence(pools: Mapping[str, Pool], model: Any) -> Evidence:
        def segment(arm: str, seed: int, pool: Pool) -> Masks:
            if arm == "real":
                return real_segmenter(stages, seed).segment(pool.images)
            with TemporaryDirectory() as folder:
                quick = stages.fit_segmenter(
                    pools["synthetic"], seed, Path(folder), steps=node.segmenter_steps
                )
            return stages.to_device(quick).segment(pool.images)

        return Evidence(
            pools, model=model, encode=encode, segment=segment, device=device_of(encode)
        )

    metrics = {key: build(part) for key, part in node.metrics.items()}
    return MetricCallback(
        metrics=metrics,
        train=stages.pools["train"],
        held_out=stages.pools["val"],
        count=node.count,
        steps=node.steps,
        make_evidence=make_evidence,
    )


def real_segmenter(stages: Stages, seed: int) -> Segmenter:
    """The judge: trained on real data, shared by all cells on the same data."""
    return stages.segmenter(stages.pools["train"], {"arm": "real"}, seed)


def device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def link(name: Path, target: Path) -> None:
    """A relative link to an artefact, so that a store can be moved."""
    name.unlink(missing_ok=True)
    name.symlink_to(Path("..") / ".." / target.relative_to(name.parents[2]))
