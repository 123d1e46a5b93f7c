"""Who judges a model, and what they see: segmenters trained on pools, evidence, the callbacks of the three axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from cmr_bench.callbacks import MetricCallback
from cmr_bench.config import build, plain
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.models.diffusion import Diffusion
from cmr_bench.networks.encoders import Bottleneck, Inception
from cmr_bench.networks.segmenter import Segmenter
from cmr_bench.stages import Stages
from cmr_bench.store import key_of
from cmr_bench.synthesis import join
from cmr_bench.training import fit, load
from cmr_bench.types import Masks, Pool


def segmenter(stages: Stages, pool: Pool, inputs: Mapping[str, Any], seed: int) -> Segmenter:
    """The segmentation network trained on a pool and kept; `inputs` say what determines the pool."""
    node = stages.config.segmenter

    def make(folder: Path) -> None:
        fit_segmenter(stages, pool, seed, folder)

    key = stages.inputs(config=plain(node), pool=dict(inputs), seed=seed)
    folder = stages.built("segmenters", "segmenter", key, make)
    return stages.to_device(load(build(node.module, seed=seed), folder / "last.ckpt"))


def real_segmenter(stages: Stages, seed: int) -> Segmenter:
    """The judge: trained on real data, shared by all cells on the same data."""
    return segmenter(stages, stages.pools["train"], {"arm": "real"}, seed)


def fit_segmenter(stages: Stages, pool: Pool, seed: int, folder: Path, **other: int) -> Segmenter:
    """One fit that is not kept; `other` replaces parts of the budget."""
    node = stages.config.segmenter
    return fit(
        build(node.module, seed=seed),
        pool,
        title=f"segmenter, {pool.name}",
        folder=folder,
        trainer=stages.trainer,
        seed=seed,
        **(stages.budget(node.fit) | other),
    )


def evidence_of(
    stages: Stages, pools: Mapping[str, Pool], model: Any, encode: nn.Module
) -> Evidence:
    """What the metrics of a finished model look at; `reconstructed` are the test images as a latent model could draw them."""
    if isinstance(model, Diffusion) and stages.latent:
        test = pools["test"]
        images = torch.cat([model.reconstruct(part) for part in test.images.split(64)])
        pools = {**pools, "reconstructed": replace(test, name="reconstructed", images=images)}

    def segment(arm: str, seed: int, pool: Pool) -> Masks:
        if arm == "real":
            return real_segmenter(stages, seed).segment(pool.images)
        synthetic = pools["synthetic"]
        training = synthetic if arm == "synthetic" else join("both", pools["train"], synthetic)
        made = {"arm": arm, "samples": key_of(stages.sample_inputs)}
        return segmenter(stages, training, made, seed).segment(pool.images)

    return Evidence(
        pools,
        model=model,
        encode=encode,
        segment=segment,
        spaces=spaces(stages),
        seed=stages.config.seed,
        device=device_of(encode),
    )


def spaces(stages: Stages) -> dict[str, Callable[[], nn.Module]]:
    """The feature spaces beside the default encoder, each made when a metric first asks for it."""
    return {
        "cardiac": lambda: stages.to_device(Bottleneck(real_segmenter(stages, 0).net)),
        "inception": lambda: stages.to_device(Inception()),
    }


def axes(stages: Stages, encode: nn.Module) -> list[MetricCallback]:
    """The callbacks of the three axes; their judges are trained first, so that no family pays for them."""
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
    return callbacks


def axis(node: DictConfig, stages: Stages, encode: nn.Module) -> MetricCallback:
    """The callback of one axis, with evidence that is quick to get."""

    def make_evidence(pools: Mapping[str, Pool], model: Any) -> Evidence:
        def segment(arm: str, seed: int, pool: Pool) -> Masks:
            if arm == "real":
                return real_segmenter(stages, seed).segment(pool.images)
            with TemporaryDirectory() as folder:
                quick = fit_segmenter(
                    stages,
                    pools["synthetic"],
                    seed,
                    Path(folder),
                    steps=node.segmenter_steps,
                )
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
