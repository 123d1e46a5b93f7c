"""The cells of a sweep are composed once each, and as Hydra itself would compose them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from cmr_bench.config import conf_path
from cmr_bench.launchers.compose import Composer
from cmr_bench.launchers.grid import Grid
from cmr_bench.launchers.jobs import choices_of
from cmr_bench.launchers.local import Local


@pytest.fixture
def loader() -> Iterator[Any]:
    """Hydra's loader, which counts how often it composes a cell."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        found = GlobalHydra.instance().config_loader()
        compose, found.composed = found.load_sweep_config, 0  # type: ignore[attr-defined]

        def counted(master: DictConfig, words: list[str]) -> DictConfig:
            found.composed += 1  # type: ignore[attr-defined]
            return compose(master, words)

        found.load_sweep_config = counted  # type: ignore[method-assign]
        yield found


def master_of(loader: Any, *words: str) -> DictConfig:
    return loader.load_configuration("run", list(words), RunMode.MULTIRUN, from_shell=False)


LINES = [
    ["model=ldm", "model/space=pixel", "seed=1", "data.size=32", "++fit.more=1"],
    ["data@external=sunnybrook", "external.root=/x", "+metric/fidelity@metric.mine=kid"],
    ["sweeps=families", "experiment=quick", "metric=[fast,paper]", "fit={steps: 3}", "~tags"],
]


@pytest.mark.parametrize("words", LINES)
def test_a_cell_is_what_hydra_makes_of_it(loader: Any, words: list[str]) -> None:
    master = master_of(loader)
    config, choices = Composer(loader, master)(words)
    wanted = loader.load_sweep_config(master, words)
    assert choices == choices_of(wanted.hydra)
    assert choices["metric"] == ("fast+paper" if "metric=[fast,paper]" in words else "standard")
    whole = OmegaConf.to_container(wanted, resolve=False)
    assert isinstance(whole, dict) and whole.pop("hydra")
    assert OmegaConf.to_container(config, resolve=False) == whole


def test_files_are_read_once_and_no_composition_spoils_the_next(loader: Any) -> None:
    del loader.load_sweep_config  # the counter's
    master = master_of(loader)
    compose = Composer(loader, master)
    wanted = {str(words): loader.load_sweep_config(master, words) for words in LINES}
    read = []
    load = compose.loader.repository.load_config
    for words in [*LINES, *LINES, *LINES]:
        compose.shared.clear()
        config, _ = compose(words)
        read.append(len(compose.loader.repository.read))
        assert config == OmegaConf.masked_copy(wanted[str(words)], list(config))
    assert read[2] == read[-1] and load("model/fm") == load("model/fm")


def test_cells_that_differ_in_values_alone_are_composed_together(loader: Any) -> None:
    compose = Composer(loader, master_of(loader))
    cells = [compose([f"model={m}", f"seed={s}"])[0] for s in range(5) for m in ("ddpm", "fm")]
    assert loader.composed == 2
    assert [cell.seed for cell in cells] == [s for s in range(5) for _ in range(2)]
    assert len({cell.model._target_ for cell in cells}) == 2


@pytest.mark.parametrize("words", [["model=fmm"], ["model=fm", "sede=1"]])
def test_a_slip_is_refused_as_hydra_refuses_it(loader: Any, words: list[str]) -> None:
    with pytest.raises(HydraException):
        Composer(loader, master_of(loader))(words)


def test_sweeper_and_launcher_compose_a_cell_once(loader: Any) -> None:
    context = HydraContext(config_loader=loader, callbacks=None)  # type: ignore[arg-type]
    sweeper, launcher = Grid(max_batch_size=None), Local()
    launcher.setup(hydra_context=context, task_function=None, config=master_of(loader))
    sweeper.launcher = launcher
    batch = [["model=ddpm", f"seed={seed}"] for seed in range(3)]
    sweeper.validate_batch_is_legal(batch)
    assert [config.seed for _, config, _ in launcher.cells(batch)] == [0, 1, 2]
    assert loader.composed == 1
    with pytest.raises(HydraException):
        sweeper.validate_batch_is_legal([*batch, ["model=nothing"]])
