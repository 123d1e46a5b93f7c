"""Who judges a model, and what they see: segmenters trained on pools, evidence, the callbacks of the three axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig
from torch import nn

from cmr_bench.callbacks import MetricCallback
from cmr_bench.config import build, plain
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.utility.arms import ARMS, Arm, training_pools
from cmr_bench.models.diffusion import Diffusion
from cmr_bench.networks.encoders import Bottleneck, Inception
from cmr_bench.networks.segmenter import Segmenter
from cmr_bench.stages import Stages
from cmr_bench.store import key_of
from cmr_bench.synthesis import join
from cmr_bench.training import fit, load
from cmr_bench.types import Masks, Pool


def segmenter(stages: Stages, arm: Arm, pools: Mapping[str, Pool], seed: int) -> Segmenter:
    """The segmentation network of an arm, kept; one on real subjects alone is shared by all cells on their data."""

    def make(folder: Path) -> None:
        fit_segmenter(stages, arm, pools, seed, folder)

    made: dict[str, Any] = {"arm": arm.kind}
    there = len(set(pools["train"].subjects))
    made |= {"subjects": arm.subjects} if arm.few and arm.subjects != there else {}
    made |= {"ratio": arm.ratio} if arm.ratio else {}
    made |= {"pretrain": True} if arm.pretrain else {}
    made |= {"samples": key_of(stages.sample_inputs)} if arm.kind != "real" else {}
    node = stages.config.segmenter
    recipe = {"module": plain(node.module), "fit": recipe_of(node, arm)}
    key = stages.inputs(config=recipe, pool=made, seed=seed)
    folder = stages.built("segmenters", "segmenter", key, make)
    return stages.to_device(load(build(node.module, seed=seed), folder / "last.ckpt"))


def real_segmenter(stages: Stages, seed: int) -> Segmenter:
    """The judge: trained on all real data."""
    return segmenter(stages, ARMS["real"], stages.pools, seed)


def recipe_of(node: DictConfig, arm: Arm) -> dict[str, Any]:
    """Steps, batch and augmentation of an arm: the same for all but for the strong augmentation."""
    if arm.strong and not node.get("strong"):
        raise ValueError(f"arm {arm.name} needs the strong augmentation: give segmenter.strong")
    return plain(node.fit) | ({"augment": plain(node.strong)} if arm.strong else {})


def fit_segmenter(
    stages: Stages,
    arm: Arm,
    pools: Mapping[str, Pool],
    seed: int,
    folder: Path,
    **other: int,
) -> Segmenter:
    """One fit; the last step counts in every arm. `other` replaces parts of the recipe.

    Its curve is in `curve/version_K/metrics.csv`, one file each time that the fit was started or resumed.
    """
    node = stages.config.segmenter
    recipe = recipe_of(node, arm) | other
    recipe["augment"] = build(recipe["augment"])
    parts = training_pools(arm, pools["train"], pools.get("synthetic"), seed)
    module = build(node.module, seed=seed)

    def phase(pool: Pool, folder: Path, steps: int) -> Segmenter:
        return fit(
            module.train(),
            pool,
            title=f"segmenter, {arm.name}",
            folder=folder,
            trainer=stages.trainer,
            logger=CSVLogger(folder, name="curve"),
            seed=seed,
            **(recipe | {"steps": steps}),
        )

    if not arm.pretrain:
        return phase(join(arm.name, *parts), folder, recipe["steps"])
    real, synthetic = parts
    before = recipe["steps"] // 2
    phase(synthetic, folder / "pretraining", before)
    return phase(real, folder, recipe["steps"] - before)


def evidence_of(
    stages: Stages, pools: Mapping[str, Pool], model: Any, encode: nn.Module
) -> Evidence:
    """What the metrics of a finished model look at; `reconstructed` are the test images as a latent model could draw them."""
    if isinstance(model, Diffusion) and stages.latent:
        test = pools["test"]
        images = torch.cat([model.reconstruct(part) for part in test.images.split(64)])
        pools = {**pools, "reconstructed": replace(test, name="reconstructed", images=images)}

    def segment(arm: Arm, seed: int, pool: Pool) -> Masks:
        return segmenter(stages, arm, pools, seed).segment(pool.images)

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
        def segment(arm: Arm, seed: int, pool: Pool) -> Masks:
            if arm == ARMS["real"]:
                return real_segmenter(stages, seed).segment(pool.images)
            steps = node.segmenter_steps
            with TemporaryDirectory() as folder:
                quick = fit_segmenter(stages, arm, pools, seed, Path(folder), steps=steps)
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
