"""What a cell is made of: each stage is built once under a key of all that determines it, when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from cmr_bench.cohort import Cohort
from cmr_bench.config import build, plain, stopping
from cmr_bench.data.elsewhere import checksum
from cmr_bench.masks.learned import Learned
from cmr_bench.models.diffusion import Diffusion
from cmr_bench.networks.autoencoder import Autoencoder
from cmr_bench.preparation import FORMAT
from cmr_bench.ranks import DEVICES, Ranks, devices_of, helped
from cmr_bench.seeds import mix
from cmr_bench.store import key_of, write_json
from cmr_bench.store.samples import Samples
from cmr_bench.synthesis import released_pool, synthesise, synthetic_pool
from cmr_bench.tracking.curve import Curve
from cmr_bench.training import fit, load, precision_of
from cmr_bench.types import MaskSource, MaskToImage, Pool


class Stages(Cohort):
    """Data, mask source, autoencoder, model and synthetic pools of one resolved configuration."""

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config)
        self.trainer = partial(build(config.trainer), devices=1, num_nodes=1)

    def trained(self, kind: str, module: Any, pool: Pool, **how: Any) -> Any:
        """A network of the cell after its training, in which all devices of the trainer take part."""
        with self.together(kind) as ranks:
            if ranks:
                write_json(how["folder"] / DEVICES, {"devices": ranks.count})
            return fit(module, pool, trainer=self.trainer, ranks=ranks, **how)

    def together(self, kind: str) -> AbstractContextManager[Ranks | None]:
        """This process among those that train a network; None where it is alone."""
        node, config = self.config.trainer, OmegaConf.to_yaml(self.config, resolve=True)
        return helped(kind, devices_of(node.devices), node.get("num_nodes", 1), config)

    def inputs(self, **more: Any) -> dict[str, Any]:
        node = self.config.trainer
        precision = {
            "precision": precision_of(node.accelerator, node.precision),
            "gradient_clip_val": node.gradient_clip_val,
        }
        return {"format": FORMAT, "data": self.data_hash, "trainer": precision, **more}

    @cached_property
    def autoencoder_inputs(self) -> dict[str, Any]:
        return self.inputs(config=plain(self.config.autoencoder))

    @cached_property
    def autoencoder(self) -> Autoencoder:
        node = self.config.autoencoder

        def make(folder: Path) -> None:
            module = build(node.module)
            self.trained(
                "autoencoder",
                module,
                self.learnt,
                title="autoencoder",
                folder=folder,
                seed=node.module.seed,
                **self.budget(node.fit),
            )
            self.to_device(module).standardise(self.learnt)
            torch.save({"state_dict": module.state_dict()}, folder / "autoencoder.pt")

        folder = self.built("autoencoder", "autoencoder", self.autoencoder_inputs, make)
        return load(build(node.module), folder / "autoencoder.pt")

    @cached_property
    def mask_inputs(self) -> dict[str, Any]:
        return self.inputs(config=plain(self.config.mask))

    @cached_property
    def mask_source(self) -> MaskSource:
        node = self.config.mask
        if "fit" not in node:
            make_source = build(node)
            return make_source(pool=self.pools[make_source.func.pool])

        def make(folder: Path) -> None:
            self.trained(
                "mask",
                build(node.module),
                self.pools["train"],
                title="masks",
                folder=folder,
                seed=node.module.seed,
                **self.budget(node.fit),
            )

        folder = self.built("masks", "mask", self.mask_inputs, make)
        return Learned(self.ready(build(node.module), folder), size=self.config.data.size)

    @property
    def latent(self) -> bool:
        space = self.config.model.get("space")
        return bool(space and space.get("_partial_"))

    @property
    def released(self) -> bool:
        """Whether the images were made elsewhere: nothing is trained and nothing drawn."""
        return "synthetic" in self.config.model

    @cached_property
    def model_inputs(self) -> dict[str, Any]:
        """All that determines the weights: a control has no fit, the sampler counts where images that it draws may end the fit."""
        parts = plain(self.config.model).items()
        stops = stopping(self.config)
        unseen = ("steps",) if stops else ("steps", "sampler")
        trained = {key: part for key, part in parts if key not in unseen}
        autoencoder = key_of(self.autoencoder_inputs) if self.latent else None
        if "space" not in self.config.model:
            return self.inputs(model=trained, autoencoder=None)
        fit = {"fit": plain(self.config.fit), **stops}
        return self.inputs(model=trained, autoencoder=autoencoder, **fit)

    def new_model(self) -> Any:
        node = self.config.model
        if "space" not in node:
            held_out = {name: self.pools[name] for name in ("val", "test") if name in self.pools}
            return build(node, pools={"train": self.learnt, **held_out})
        space = build(node.space)
        space = space(autoencoder=self.autoencoder) if self.latent else space
        return build(node, "space", space=space)

    def fitted_model(
        self, callbacks: Sequence[Callback], logger: Logger | None, every: int | None
    ) -> MaskToImage | None:
        """The trained image generator, its curve written by `logger`; a control needs no training.

        None where the images were made elsewhere.
        """
        if self.released:
            return None
        module = self.new_model()
        if not isinstance(module, Diffusion):
            return module

        def make(folder: Path) -> None:
            self.trained(
                "model",
                self.new_model(),
                self.learnt,
                title=self.config.model._target_.split(".")[-1],
                folder=folder,
                seed=self.config.seed,
                held_out=self.pools["val"],
                callbacks=callbacks,
                logger=[logger, Curve(folder)] if logger else None,
                validate_every=every,
                **self.budget(self.config.fit),
            )

        folder = self.built("fit", "model", self.model_inputs, make)
        return self.ready(module, folder)

    def ready(self, module: Diffusion, folder: Path) -> Diffusion:
        """The module with its trained weights, on its device and in the precision of its training."""
        node = self.config.trainer
        if precision_of(node.accelerator, node.precision) == "bf16-mixed":
            module.precision = torch.bfloat16
        return self.to_device(load(module, folder / "last.ckpt"))

    def budget(self, node: DictConfig) -> dict[str, Any]:
        return {
            **plain(node),
            "augment": build(node.augment),
            "checkpoint_minutes": self.config.checkpoint_minutes,
        }

    def to_device(self, module: Any) -> Any:
        gpu = (
            self.config.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        )
        return module.to("cuda" if gpu else "cpu")

    # --- synthetic pools --------------------------------------------------------------------------

    @cached_property
    def sample_inputs(self) -> dict[str, Any]:
        if self.released:
            reading = plain(self.config.model)
            return {
                "format": FORMAT,
                "reader": 3,  # raised when the same files are read otherwise
                "data": self.data_hash,
                "spacing_mm": self.config.data.spacing_mm,
                "normalise": plain(self.config.data.normalise),
                "files": checksum(reading.pop("synthetic")),
                "reading": reading,
                "seed": self.config.seed,
            }
        return {
            "model": key_of(self.model_inputs),
            "sampling": {key: plain(self.config.model.get(key)) for key in ("steps", "sampler")},
            "masks": key_of(self.mask_inputs),
            "count": self.config.synthesis.count,
            "seed": self.config.seed,
        }

    def synthetic(self, model: MaskToImage | None) -> tuple[Path, dict[str, Pool]]:
        """samples.h5 and its pools: `synthetic` on masks of the mask source, `matched` on the test masks.

        Without a model there is `synthetic` alone, read from the files that were released.
        """
        if model is None:
            return self._read()

        def make(folder: Path) -> None:
            count = self.config.synthesis.count or len(self.pools["train"])
            seeds = torch.tensor([mix(self.config.seed, "mask", i) for i in range(count)])
            masks = {
                "synthetic": self.mask_source.sample(seeds=seeds),
                "matched": self.pools["test"].masks,
            }
            for name, wanted in masks.items():
                synthesise(
                    model,
                    wanted,
                    Samples(folder / "samples.h5"),
                    name,
                    self.config.seed,
                    self.config.synthesis.batch,
                )

        self.mask_source  # noqa: B018 - trained outside the time that sampling is charged for
        folder = self.built("sample", "samples", self.sample_inputs, make)
        samples = Samples(folder / "samples.h5")
        pools = {
            name: synthetic_pool(name, samples, self.pools["test"], model)
            for name in ("synthetic", "matched")
        }
        return samples.path, pools

    def _read(self) -> tuple[Path, dict[str, Pool]]:
        test, normalise = self.pools["test"], plain(self.config.data.normalise)
        read = build(self.config.model)

        def make(folder: Path) -> None:
            read(folder=folder, like=test, normalise=normalise)

        folder = self.built("sample", "samples", self.sample_inputs, make)
        return folder / "samples.h5", {"synthetic": released_pool(folder, test)}
