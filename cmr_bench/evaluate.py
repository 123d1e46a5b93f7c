"""Judge images made elsewhere: `python -m cmr_bench.evaluate synthetic=PATH data=acdc data.root=PATH`."""

from __future__ import annotations

from typing import Any

from cmr_bench.commands import verb
from cmr_bench.config import check
from cmr_bench.interruption import flag
from cmr_bench.launchers.jobs import CHOICES, KEYS

ABSENT = ("mask", "autoencoder", "synthesis", "dry_run")
OWN: dict[str, Any] = {key: KEYS[key] for key in KEYS if key not in ABSENT}
OWN |= {"synthetic": str, "proxy": None}


def task(config: Any) -> None:
    """A cell of a run whose images are read instead of drawn; the report says what could not be asked of them."""
    from hydra.core.hydra_config import HydraConfig

    check(config, OWN)
    from cmr_bench.cells import run_cell  # the heavy imports, after the checks that need none
    from cmr_bench.data.elsewhere import found

    found(config.synthetic)
    chosen = HydraConfig.get().runtime.choices
    run_cell(config, {name: str(chosen.get(name, "released")) for name in CHOICES})


def main() -> None:
    flag.listen()
    verb("evaluate", task)


if __name__ == "__main__":
    main()
