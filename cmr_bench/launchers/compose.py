"""Cells of a sweep as configurations, composed as Hydra would, and faster."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from copy import copy, deepcopy
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, open_dict

from cmr_bench.launchers.jobs import choices_of

Composed = tuple[DictConfig, dict[str, str]]
"""A cell's configuration without Hydra's own node, and the chosen options by group."""


class Kept:
    """The configuration files of a repository, each read once; what Hydra makes of one composition spoils none of them."""

    def __init__(self, repository: ConfigRepository) -> None:
        self.repository = repository
        self.read: dict[str, bytes] = {}

    def __deepcopy__(self, memo: object) -> Kept:
        return self

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.read:
            self.read[config_path] = pickle.dumps(self.repository.load_config(config_path))
        return pickle.loads(self.read[config_path])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.repository, name)


class Composer:
    """Composes the cells of one sweep.

    Hydra puts options together (`model=fm`) before it sets values (`seed=3`). Cells with the same options therefore
    share one composition, and each sets its values on a copy of it.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader, self.master = copy(cast(ConfigLoaderImpl, loader)), master
        self.loader.repository = cast(ConfigRepository, Kept(self.loader.repository))
        self.parser = OverridesParser.create(config_loader=loader)
        self.groups: dict[str, bool] = {}
        self.shared: dict[tuple[str, ...], Composed] = {}

    def __call__(self, overrides: Sequence[str]) -> Composed:
        """The cell that the overrides ask for.

        Raises:
            HydraException: if an option or a key does not exist.
        """
        parsed = self.parser.parse_overrides(list(overrides))
        options = tuple(str(o.input_line) for o in parsed if self.is_option(o))
        if options not in self.shared:
            self.shared[options] = self.options(options)
        config, choices = self.shared[options]
        config = deepcopy(config)
        values = [o for o in parsed if not self.is_option(o)]
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        OmegaConf.set_struct(config, False)
        return config, choices

    def options(self, words: Sequence[str]) -> Composed:
        config = self.loader.load_sweep_config(self.master, list(words))
        choices = choices_of(config.hydra)
        with open_dict(config):
            del config["hydra"]
        return config, choices

    def is_option(self, override: Override) -> bool:
        """Whether it chooses from a group, by Hydra's rule."""
        name = override.key_or_group
        if name not in self.groups:
            self.groups[name] = bool(self.loader.get_group_options(name, None))
        return self.groups[name] and not isinstance(override.value(), dict)
