"""The sweeper: every combination of values."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.plugins import Plugins

Plugins.instance()  # Hydra loads its own plugins anew, and a subclass of what was there before has no part in it
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: E402

from cmr_bench.launchers.sweep import Sweep  # noqa: E402


class Grid(BasicSweeper):
    """Hydra's own sweeper, whose look at every cell before the first one starts is what our launchers then go by."""

    __module__ = "hydra_plugins.cmr_bench"

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        if not isinstance(self.launcher, Sweep):
            super().validate_batch_is_legal(batch)
            return
        for overrides in batch:
            self.launcher.compose(overrides)
