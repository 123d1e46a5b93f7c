"""Named sweeps: each composes, and each of its cells is a configuration that is accepted."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import hydra
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from cmr_bench.config import check, conf_path
from cmr_bench.run import KEYS

FOLDER = Path(__file__).parents[1] / "sweeps"
SWEEPS = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def compose(*overrides: str, hydra_too: bool = False) -> DictConfig:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        return hydra.compose("run", list(overrides), return_hydra_config=hydra_too)


def cells(name: str) -> list[list[str]]:
    """The overrides of each cell, as Hydra's sweeper makes them."""
    params = compose(f"sweeps={name}", hydra_too=True).hydra.sweeper.params
    words = [f"{key}={value}" for key, value in params.items()]
    axes = [
        [f"{o.key_or_group}={value}" for value in o.sweep_string_iterator()]
        for o in OverridesParser.create().parse_overrides(words)
    ]
    return [[f"sweeps={name}", *one] for one in product(*axes)]


def test_all_that_were_promised_are_there() -> None:
    wanted = {"families", "limited_data", "steps", "conditioning", "cross_domain", "latent"}
    assert set(SWEEPS) == wanted


@pytest.mark.parametrize("name", SWEEPS)
def test_every_cell_of_a_sweep_is_accepted_and_differs(name: str) -> None:
    assert compose(f"sweeps={name}", hydra_too=True).hydra.mode.name == "MULTIRUN"
    made = []
    for overrides in cells(name):
        config = compose(*overrides)
        assert config.sweep == name
        check(config, KEYS)
        made.append(repr(config))
    assert len(made) > 1 and len(set(made)) == len(made)
    check(compose(f"sweeps={name}", "experiment=quick"), KEYS)


def test_the_family_and_the_budget_can_be_chosen_beside_a_sweep() -> None:
    config = compose("sweeps=conditioning", "experiment=quick", "model=fm", "fit.steps=7")
    assert config.model._target_.endswith("FlowMatching") and config.fit.steps == 7
    assert config.data.size == 32


def test_the_search_by_wandb_names_keys_that_exist() -> None:
    search = yaml.safe_load((FOLDER / "wandb.yml").read_text())
    fixed = [word for word in search["command"] if "=" in word]
    for name, about in search["parameters"].items():
        check(compose(*fixed, f"{name}={about.get('values', [about.get('min')])[-1]}"), KEYS)
    assert search["method"] == "bayes" and search["metric"]["name"].startswith("fidelity/")
