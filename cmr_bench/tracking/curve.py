"""The log of a training beside its weights, whichever cells train it one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from cmr_bench.store import Cell


class Curve(Logger):
    """`log.jsonl` in the folder of the weights, with the rows of a cell's log.

    A cell that goes on with the training of another one, which was killed, has its own half in its own log; here are
    both.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.rows = Cell(folder)

    @property
    def name(self) -> str:
        return "curve"

    @property
    def version(self) -> str:
        return self.rows.folder.name

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.rows.log(step or 0, {k: v for k, v in metrics.items() if k != "epoch"})

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: `inputs.json` in the folder has them."""

    def missing(self, cell: Cell) -> list[dict[str, Any]]:
        """Rows that the log of the cell does not have."""
        known = {(row["step"], row["name"]) for row in cell.logged()}
        return [row for row in self.rows.logged() if (row["step"], row["name"]) not in known]
