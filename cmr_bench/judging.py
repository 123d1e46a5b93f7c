"""What the judges of a model see: the evidence of a finished one, the callbacks of the three axes of one that trains."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from cmr_bench.callbacks.memorisation import Memorisation
from cmr_bench.callbacks.metrics import MetricCallback
from cmr_bench.config import build, plain
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.utility.arms import ARMS, Arm
from cmr_bench.models.diffusion import Diffusion
from cmr_bench.networks.encoders import Cardiac, Inception
from cmr_bench.segmenters import fit_segmenter, real_segmenter, segmenter
from cmr_bench.spaces import Pixel
from cmr_bench.stages import Stages
from cmr_bench.training import fit
from cmr_bench.types import Masks, Pool


def evidence_of(
    stages: Stages, pools: Mapping[str, Pool], model: Any, encode: nn.Module
) -> Evidence:
    """What the metrics of a finished model look at; `reconstructed` are the test images as a latent model could draw them."""
    if isinstance(model, Diffusion) and stages.latent:
        test = pools["test"]
        images = torch.cat([model.reconstruct(part) for part in test.images.split(64)])
        pools = {**pools, "reconstructed": replace(test, name="reconstructed", images=images)}

    def segment(arm: Arm, seed: int, pool: Pool, judge: str = "") -> Masks:
        return segmenter(stages, arm, pools, seed, judge).segment(pool.images)

    others = stages.config.segmenter.get("others") or {}
    return Evidence(
        pools,
        model=model,
        encode=encode,
        segment=segment,
        spaces=spaces(stages),
        judges={str(name): partial(segment, judge=str(name)) for name in others},
        people=stages.people,
        fit=partial(retrained, stages, recipe) if (recipe := lent(stages.config)) else None,
        seed=stages.config.seed,
        device=device_of(encode),
    )


def lent(config: DictConfig) -> DictConfig | None:
    """The recipe after which audits train denoisers of their own: `proxy`, or the model's; None for a control."""
    node = config.get("proxy") or config.model
    return node if "space" in node else None


def retrained(stages: Stages, recipe: DictConfig, pool: Pool) -> Diffusion:
    """A denoiser in pixel space that was trained on the pool after the recipe; kept."""
    new: Callable[[], Diffusion] = partial(build, recipe, "space", space=Pixel())

    def make(folder: Path) -> None:
        fit(
            new(),
            pool,
            title=f"denoiser, {pool.name}",
            folder=folder,
            trainer=stages.trainer,
            seed=stages.config.seed,
            **stages.budget(stages.config.fit),
        )

    seen = hashlib.sha256(pool.images.numpy().tobytes() + pool.masks.numpy().tobytes())
    how = {"recipe": plain(recipe), "fit": plain(stages.config.fit)}
    inputs = stages.inputs(**how, pool=seen.hexdigest())
    folder = stages.built("denoiser", "denoiser", inputs, make)
    return stages.ready(new(), folder)


def spaces(stages: Stages) -> dict[str, Callable[[], nn.Module]]:
    """The feature spaces beside the default encoder, each made when a metric first asks for it."""

    def cardiac() -> nn.Module:
        return stages.to_device(
            Cardiac(real_segmenter(stages, 0).net, stages.pools["train"].images)
        )

    return {
        "cardiac": cardiac,
        "inception": lambda: stages.to_device(Inception()),
    }


def axes(stages: Stages, encode: nn.Module) -> list[MetricCallback]:
    """The callbacks of the axes and the clock; their judges are trained first, so that no family pays for them."""
    config = stages.config.callbacks
    if not config.every_n_steps:
        return []
    callbacks = [axis(node, stages, encode) for node in (config.axes or {}).values()]
    seeds = {
        seed
        for callback in callbacks
        for metric in callback.metrics.values()
        for seed in getattr(metric, "seeds", ())
    }
    for seed in seeds:
        real_segmenter(stages, seed)
    watch = config.get("memorisation")
    if watch and watch.stop and config.every_n_steps > stages.config.fit.steps:
        raise ValueError(
            f"callbacks.memorisation.stop: the clock never looks in fit.steps={stages.config.fit.steps}, "
            f"give callbacks.every_n_steps below {config.every_n_steps}"
        )
    return [*callbacks, clock(watch, stages)] if watch else callbacks


def clock(node: DictConfig, stages: Stages) -> Memorisation:
    """The callback that watches for memorisation; it looks at no subject of test."""

    def make_evidence(pools: Mapping[str, Pool], model: Any) -> Evidence:
        return Evidence(pools, model=model, people=stages.people, device=model.device)

    return Memorisation(
        metrics={key: build(part) for key, part in node.metrics.items()},
        train=stages.pools["train"],
        held_out=stages.pools["val"],
        make_evidence=make_evidence,
        **{str(key): plain(part) for key, part in node.items() if key != "metrics"},
    )


def axis(node: DictConfig, stages: Stages, encode: nn.Module) -> MetricCallback:
    """The callback of one axis, with evidence that is quick to get."""

    def make_evidence(pools: Mapping[str, Pool], model: Any) -> Evidence:
        def segment(arm: Arm, seed: int, pool: Pool) -> Masks:
            if arm == ARMS["real"]:
                return real_segmenter(stages, seed).segment(pool.images)
            steps = node.segmenter_steps
            with TemporaryDirectory() as folder:
                budget = {"steps": steps, "checkpoint_minutes": None}
                quick = fit_segmenter(stages, arm, pools, seed, Path(folder), **budget)
            return stages.to_device(quick).segment(pool.images)

        return Evidence(
            pools, model=model, encode=encode, segment=segment, device=device_of(encode)
        )

    return MetricCallback(
        metrics={key: build(part) for key, part in node.metrics.items()},
        train=stages.pools["train"],
        held_out=stages.pools["val"],
        count=node.count,
        steps=node.steps,
        make_evidence=make_evidence,
    )


def device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
