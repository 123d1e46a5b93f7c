"""Every YAML keeps its promise: a new file under conf/ is tested by being there."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import hydra
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from cmr_bench.config import build, check, conf_path, missing_keys
from cmr_bench.data.batches import Augment, SliceData
from cmr_bench.instruments import controls_of
from cmr_bench.metrics.base import Metric
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.models.diffusion import Diffusion
from cmr_bench.networks.autoencoder import Autoencoder
from cmr_bench.run import KEYS
from cmr_bench.training import quiet, trainer
from cmr_bench.types import HasLosses, MaskToImage, Pool

CONF = Path(conf_path())
TINY = ["size.widths=[32,32]", "size.attention=[false,true]", "size.inner=32"]


def names(group: str) -> list[str]:
    return sorted(
        p.relative_to(CONF / group).with_suffix("").as_posix()
        for p in (CONF / group).rglob("*.yaml")
    )


def compose(*overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return hydra.compose("run", list(overrides), return_hydra_config=False)


@pytest.fixture(scope="module")
def pool() -> Pool:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 4, (8, 1, 16, 16), generator=generator)
    images = (masks.float() / 1.5 - 1).clamp(-1, 1)
    table = pd.DataFrame(
        {
            "subject": [f"s{i // 2}" for i in range(8)],
            "phase": "ED",
            "slice": 0,
            "thickness_mm": 8.0,
            "vendor": ["A", "B"] * 4,
        }
    )
    return Pool("train", images, masks, table, 2.5)


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    node = compose().autoencoder.module
    return build(node, widths=[16, 16, 16]).eval()


def model_of(config: DictConfig, pool: Pool, autoencoder: Autoencoder) -> MaskToImage:
    node = config.model
    if "space" not in node:
        return build(node, pools={"train": pool, "val": pool, "test": pool})
    space = build(node.space)
    return build(
        node,
        "space",
        space=space(autoencoder=autoencoder) if node.space.get("_partial_") else space,
    )


FAMILIES = ("ddpm", "ldm", "fm")
PARTS = [
    f"model={family}"
    for family in names("model")
    if family != "released" and ("/" not in family or family.startswith("control/"))
]  # images made elsewhere draw nothing: tests/test_evaluate.py
PARTS += [
    f"model={f} model/{part}={name}"
    for f, part in product(("fm", "ldm"), ("denoiser", "sampler", "law"))
    for name in names(f"model/{part}")
]
PARTS += [
    f"model=ddpm model/path={p} model/target={t}"
    for p, t in product(names("model/path"), names("model/target"))
]
PARTS += ["model=fm model/space=latent"]


REFUSED = {
    "model=ddpm model/path=linear model/target=epsilon",
    "model=ddpm model/path=ddpm model/target=flow",
    "model=ddpm model/path=scaled model/target=flow",
}


@pytest.mark.parametrize("point", PARTS)
def test_every_point_of_the_algebra_fits_and_samples(
    point: str, pool: Pool, autoencoder: Autoencoder
) -> None:
    config = compose(*point.split(), *TINY)
    check(config, KEYS)
    try:
        model = model_of(config, pool, autoencoder)
        fit(model, pool)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    assert bool(refused) == (point in REFUSED), refused
    if refused:
        assert "take model/" in refused, "a refusal names the remedy"
        return
    seeds = torch.arange(4)
    images = model.sample(pool.masks[:4], seeds=seeds)
    assert images.shape == (4, 1, 16, 16) and images.dtype == torch.float32
    assert images.isfinite().all() and images.abs().max() <= 1
    torch.testing.assert_close(
        model.sample(pool.masks[2:3], seeds=seeds[2:3]), images[2:3], atol=1e-3, rtol=0
    )
    if isinstance(model, HasLosses):
        losses = model.losses(
            pool.images, pool.masks, times=(0.2, 0.7), seeds=torch.zeros(8, dtype=torch.int64)
        )
        assert losses.shape == (8, 2) and losses.isfinite().all()


def fit(model: MaskToImage, pool: Pool) -> None:
    if not isinstance(model, Diffusion):
        return
    before = [p.clone() for p in model.denoiser.parameters()]
    with quiet():
        run = trainer(
            accelerator="auto",
            devices=1,
            precision="bf16-mixed",
            gradient_clip_val=1.0,
            max_steps=2,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        run.fit(model, SliceData(pool, batch=4, seed=0, augment=Augment()))
    assert any(
        not torch.equal(a, b.cpu())
        for a, b in zip(before, model.denoiser.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", [n for n in names("metric") if "/" in n])
def test_every_metric_says_what_it_is_and_answers_or_says_why_not(name: str) -> None:
    metric = build(OmegaConf.load(CONF / f"metric/{name}.yaml"))
    assert isinstance(metric, Metric) and metric.axis == name.split("/")[0]
    assert all(score.startswith(metric.axis + "/") for score in metric.names)
    assert bool(metric.untested) != bool(controls_of(metric)), "what no control tests says why"
    scores = metric.scores(Evidence({}))
    assert scores and all(score.value != score.value and score.reason for score in scores)


@pytest.mark.parametrize(
    "group",
    [
        "trainer",
        "mask",
        "metric",
        "callbacks",
        "protocol",
        "size",
        "logger",
        "encoder",
        "segmenter",
    ],
)
def test_every_option_composes_and_passes_the_checks(group: str) -> None:
    for name in names(group):
        if "/" not in name:
            check(compose(f"{group}={name}"), KEYS)


@pytest.mark.parametrize("name", names("experiment"))
def test_every_experiment_composes(name: str) -> None:
    plain = compose(f"experiment={name}")
    groups = [group for group in ("data", "external") if "root" in (plain.get(group) or {}).keys()]  # noqa: SIM118
    check(compose(f"experiment={name}", *(f"{group}.root=/somewhere" for group in groups)), KEYS)


@pytest.mark.parametrize("name", names("experiment"))
@pytest.mark.parametrize("bundle", [n for n in names("metric") if "/" not in n])
def test_every_experiment_goes_with_every_bundle(name: str, bundle: str) -> None:
    config = compose(f"experiment={name}", f"metric={bundle}")
    for key in missing_keys(OmegaConf.to_container(config)):
        OmegaConf.update(config, key, "/somewhere")
    check(config, KEYS)
    assert all("_target_" in node for node in config.metric.values())
    assert compose(f"metric={bundle}").metric.keys() <= config.metric.keys()


def test_settings_of_a_metric_that_is_not_there_are_refused_in_one_line() -> None:
    with pytest.raises(
        ValueError, match=r"^metric\.kidd has no _target_.*add \+metric/AXIS@metric"
    ) as found:
        check(compose("+metric.kidd.repeats=3"), KEYS)
    assert "\n" not in str(found.value)


def test_settings_of_a_domain_that_is_not_there_are_refused_in_one_line() -> None:
    bare = compose("experiment=acdc64", "~data@external", "data.root=/somewhere")
    with pytest.raises(ValueError, match=r"^external has no _target_.*external=null$"):
        check(bare, KEYS)


def test_the_families_have_comparable_sizes(autoencoder: Autoencoder, pool: Pool) -> None:
    sizes = {
        family: sum(
            p.numel()
            for p in model_of(compose(f"model={family}"), pool, autoencoder).denoiser.parameters()
        )  # type: ignore[attr-defined]
        for family in FAMILIES
    }
    assert max(sizes.values()) <= 1.1 * min(sizes.values()), sizes
