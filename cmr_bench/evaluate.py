"""Judge images made elsewhere: `python -m cmr_bench.evaluate synthetic=PATH data=acdc data.root=PATH`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cmr_bench.commands import one_line, verb
from cmr_bench.config import check
from cmr_bench.interruption import flag
from cmr_bench.launchers.jobs import CHOICES, KEYS

ABSENT = ("mask", "autoencoder", "synthesis", "dry_run")
OWN: dict[str, Any] = {key: KEYS[key] for key in KEYS if key not in ABSENT}
OWN |= {"synthetic": str, "like": str, "proxy": None}

SHARED = ("data", "protocol", "segmenter", "encoder", "metric", "size", "trainer")
"""The groups that `like` takes from a cell."""


def task(config: Any) -> None:
    """A cell of a run whose images are read instead of drawn; the report says what could not be asked of them."""
    from hydra.core.hydra_config import HydraConfig

    check(config, OWN)
    from cmr_bench.cells import run_cell  # the heavy imports, after the checks that need none
    from cmr_bench.data.elsewhere import found
    from cmr_bench.store import Cell

    found(config.synthetic)
    chosen = dict(HydraConfig.get().runtime.choices)
    if config.like:
        about = Cell(Path(config.like)).about
        chosen |= {name: about[name] for name in about if chosen.get(name) == "like"}
    run_cell(config, {name: str(chosen.get(name, "released")) for name in CHOICES})


def alike(words: Sequence[str]) -> list[str]:
    """The words with like=CELL made options of the groups that Hydra then knows; those that are typed as well win.

    Raises:
        ValueError: if there is no such cell, or a recipe of runs is asked for.
    """
    typed = dict(word.lstrip("+").partition("=")[::2] for word in words)
    if "experiment" in typed:
        raise ValueError("experiment= is for runs: like=runs/cells/NAME judges as that cell was")
    if not (name := typed.get("like")):
        return [*words]
    folder = Path(name).expanduser()
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"like={name}: no cell; give a folder below runs/cells")
    from hydra.core.config_store import ConfigStore

    settings = yaml.safe_load((folder / "config.yaml").read_text())
    add = ConfigStore.instance().store
    for group in SHARED:
        add(group=group, name="like", node=settings[group])
    if settings.get("external"):
        add(group="data", name="like_external", node=settings["external"])
    values = {key: settings[key] for key in ("seed", "fit")}
    values |= {"like": str(folder), "store": {"root": str(folder.absolute().parents[1])}}
    add(group="cell", name="like", node=values, package="_global_")
    kept = [word for word in words if not word.startswith("like=")]
    return [f"{group}=like" for group in SHARED if group not in typed] + ["+cell=like", *kept]


def main() -> None:
    flag.listen()
    with one_line("evaluate"):
        sys.argv[1:] = alike(sys.argv[1:])
    verb("evaluate", task)


if __name__ == "__main__":
    main()
