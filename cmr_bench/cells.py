"""One cell from its configuration to `done.json`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from cmr_bench.callbacks.memorisation import memorisation_step
from cmr_bench.config import build, plain
from cmr_bench.evaluation import judge
from cmr_bench.instruments import instruments
from cmr_bench.judging import axes, evidence_of
from cmr_bench.models.diffusion import Diffusion
from cmr_bench.ranks import DEVICES
from cmr_bench.reporting import triangle
from cmr_bench.reporting.grids import save_grid, save_pairs
from cmr_bench.reporting.verdicts import struck
from cmr_bench.stages import Stages
from cmr_bench.store import JUDGED, Cell, append_jsonl, atomic, environment, key_of, read_json
from cmr_bench.tracking.curve import Curve
from cmr_bench.tracking.tracker import Tracker
from cmr_bench.training import refuse_absent

log = logging.getLogger("cmr_bench")


def run_cell(
    config: DictConfig,
    choices: Mapping[str, str],
    announce: Callable[[Cell], None] = lambda cell: None,
) -> Cell:
    """Bring one cell to its end, doing only what is missing; a failure stays in the cell and is raised on.

    `announce` hears which cell it is as soon as that is known, which is when its data are prepared.

    Raises:
        Busy: if another process works on it.
        Stopped: between two pieces of work, if this process was asked to stop.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    refuse_absent(config.trainer.accelerator)
    stages = Stages(config)
    refuse_misfit(stages)
    if stages.released:
        stages.synthetic(None)  # images that cannot be read have no cell
    key = key_of({"samples": stages.sample_inputs, "judges": judges(config, stages.external_hash)})
    cell = stages.store.cell(choices["model"], key)
    announce(cell)
    if cell.status.state == "done":
        cell.join(config.sweep)
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
                "sweep": cell.about.get("sweep", config.sweep),
                "sweeps": cell.join(config.sweep),
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


def refuse_misfit(stages: Stages) -> None:
    """Refuse a space or an image size that the networks of a cell cannot work with, before any work."""
    config = stages.config
    if "space" in config.model:
        _refuse_generator(stages)
    least = 2 ** (len(config.segmenter.module.widths) - 1)
    for name in ("data", "external"):
        size = (config.get(name) or {}).get("size", 0)
        if size % least:
            raise ValueError(f"{name}.size={size}: the segmenter needs a multiple of {least}")


def _refuse_generator(stages: Stages) -> None:
    config = stages.config
    space = build(config.model.space)
    space = space(autoencoder=build(config.autoencoder.module)) if stages.latent else space
    if space.reads != "images":
        raise ValueError("model/space=labels is for stage 1: take pixel or latent")
    networks = {"model": (config.model, space.factor)}
    if module := config.mask.get("module"):
        networks["mask"] = (module, module.get("space", {}).get("factor", 1))
    for name, (node, factor) in networks.items():
        denoiser, size = node.get("denoiser", {}), config.data.size
        halvings = len(denoiser.get("widths", [0])) - 1
        least = max(denoiser.get("reduction", 1), factor) * 2**halvings
        if size % least:
            raise ValueError(f"data.size={size}: this {name} needs a multiple of {least}")


def judges(config: DictConfig, external: str | None) -> dict[str, Any]:
    """What determines the scores of given samples."""
    names = ("metric", "segmenter", "encoder")
    lent = ("proxy", "fit") if "proxy" in config else ()
    found = {name: plain(config[name]) for name in (*names, *lent)}
    return found | {"external": external, "judged": JUDGED}


def work(cell: Cell, stages: Stages, tracker: Tracker) -> None:
    config = stages.config
    encode = stages.to_device(build(config.encoder))
    model = train(cell, stages, tracker, encode)
    if clock := config.callbacks.get("memorisation"):
        rule = {"patience": clock.patience, "stop": clock.stop, "planned": config.fit.steps}
        began = memorisation_step(cell.logged(), **rule)
        cell.add_scores(began, metric="memorisation")
        tracker.summarise(began)
    path, synthetic = stages.synthetic(model)
    link(cell.folder / "samples.h5", path)
    pools = {**stages.pools, **synthetic}
    if "canaries" in pools and "canaries" not in config.metric:
        log.warning("no metric asks for the planted subjects: take experiment=canaries")
    grid = cell.folder / "grid.png"
    if "matched" in pools:
        save_grid(grid, pools["test"], pools["matched"])
        tracker.log_grid("real and synthetic", pools["test"], pools["matched"])
    else:
        save_grid(grid, None, pools["synthetic"])
    tracker.log_grid("synthetic", pools["synthetic"])

    evidence = evidence_of(stages, pools, model, encode)
    answered = cell.answered()
    metrics = {name: build(node) for name, node in config.metric.items() if name not in answered}
    for name, scores, seconds in judge(evidence, metrics):
        for title, table in evidence.tables.items():
            with atomic(cell.folder / f"{title}.csv") as temporary:
                table.to_csv(temporary, index=False)
        # Scores come last: a metric that has them is whole.
        cell.add_scores(scores, metric=name, seconds=seconds)
        tracker.summarise(scores)
    cell.write("instruments.json", tested := instruments(stages, encode))
    worst = save_pairs(cell.folder, pools["synthetic"], pools["train"])
    if worst is not None:
        tracker.log_image("near copies", worst[None, None])
    spans = triangle({row["name"]: row for row in struck(cell.scores(), tested)})
    tracker.summarise([], **{f"triangle/{axis}": span.value for axis, span in spans.items()})
    cell.write("environment.json", environment(data_hash=stages.data_hash, seconds=stages.seconds))


def train(cell: Cell, stages: Stages, tracker: Tracker, encode: Any) -> Any:
    """The model with its curve in the cell's log, whether it is trained now or was trained before."""
    config = stages.config
    model = stages.fitted_model(axes(stages, encode), tracker, config.callbacks.every_n_steps)
    about: dict[str, Any] = {}
    if isinstance(model, Diffusion):
        weights = stages.store.artefact("model", key_of(stages.model_inputs))
        curve = Curve(weights)
        append_jsonl(cell.folder / "log.jsonl", curve.missing(cell))
        about = {
            **read_json(weights / DEVICES),
            "parameters": sum(p.numel() for p in model.denoiser.parameters()),
            "autoencoder_parameters": sum(p.numel() for p in model.space.parameters()),  # type: ignore[attr-defined]
            "nfe": model.sampler.nfe(model.steps),
        }
    cell.write("cell.json", {**cell.about, **about})
    return model


def link(name: Path, target: Path) -> None:
    """A relative link to an artefact, so that a store can be moved."""
    name.unlink(missing_ok=True)
    name.symlink_to(Path("..") / ".." / target.relative_to(name.parents[2]))
