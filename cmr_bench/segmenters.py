"""The segmentation networks that judge images and what they teach: one for each arm, seed and architecture, trained once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig

from cmr_bench.config import build, plain
from cmr_bench.metrics.utility.arms import ARMS, Arm, training_pools
from cmr_bench.networks.segmenter import Segmenter
from cmr_bench.stages import Stages
from cmr_bench.store import key_of
from cmr_bench.training import fit, load
from cmr_bench.types import Pool, join


def segmenter(
    stages: Stages, arm: Arm, pools: Mapping[str, Pool], seed: int, judge: str = ""
) -> Segmenter:
    """The segmentation network of an arm, kept; one on real subjects alone is shared by all cells on their data.

    `judge` names one of segmenter.others: another architecture under the same recipe.
    """

    def make(folder: Path) -> None:
        fit_segmenter(stages, arm, pools, seed, folder, judge)

    inputs = segmenter_inputs(stages, arm, seed, judge)
    folder = stages.built("segmenters", "segmenter", inputs, make)
    module = build(module_of(stages.config.segmenter, judge), seed=seed)
    return stages.to_device(load(module, folder / "last.ckpt"))


def segmenter_inputs(stages: Stages, arm: Arm, seed: int, judge: str = "") -> dict[str, Any]:
    """What determines the segmentation network of an arm."""
    made: dict[str, Any] = {"arm": arm.kind}
    if arm.few and arm.subjects != stages.training_subjects:
        made["subjects"] = arm.subjects
    made |= {"ratio": arm.ratio} if arm.ratio else {}
    made |= {"pretrain": True} if arm.pretrain else {}
    made |= {"samples": key_of(stages.sample_inputs)} if arm.kind != "real" else {}
    node = stages.config.segmenter
    recipe = {"module": plain(module_of(node, judge)), "fit": recipe_of(node, arm)}
    return stages.inputs(config=recipe, pool=made, seed=seed)


def module_of(node: DictConfig, judge: str) -> DictConfig:
    """The segmentation network's own node, or that of another architecture by its name."""
    return node.others[judge] if judge else node.module


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
    judge: str = "",
    **other: int | None,
) -> Segmenter:
    """One fit; the last step counts in every arm. `other` replaces parts of the recipe.

    Its curve is in `curve/version_K/metrics.csv`, one file each time that the fit was started or resumed.
    """
    node = stages.config.segmenter
    kept = {"checkpoint_minutes": stages.config.checkpoint_minutes}
    recipe = recipe_of(node, arm) | kept | other
    recipe["augment"] = build(recipe["augment"])
    parts = training_pools(arm, pools["train"], pools.get("synthetic"), seed)
    module = build(module_of(node, judge), seed=seed)

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
