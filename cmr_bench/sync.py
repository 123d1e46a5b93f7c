"""Tell W&B what is on disk, from the local logs: `python -m cmr_bench.sync sweep=families`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cmr_bench.commands import verb
from cmr_bench.config import check

KEYS: dict[str, Any] = {
    "store": {"root": str},
    "sweep": str,
    "logger": None,
    "workspace": bool,
}


def task(config: Any) -> None:
    """Every cell of the sweep and its comparison. What was told before is not told again."""
    check(config, KEYS)

    from cmr_bench.progress import each
    from cmr_bench.reporting import triangle
    from cmr_bench.reporting.cells import entries
    from cmr_bench.store import sweeps
    from cmr_bench.tracking.mirror import effective_mode
    from cmr_bench.tracking.replay import Account, replay

    root, logger = Path(config.store.root), config.logger
    mode = effective_mode(logger.mode)
    if mode == "disabled":
        raise ValueError("logger.mode=disabled leaves nothing to do: take online or offline")
    if config.workspace and mode != "online":
        raise ValueError("workspace=true needs a W&B account: wandb login, or export WANDB_API_KEY")
    account = Account(root, mode, logger.project, logger.entity)
    found = entries(root, sweep=config.sweep)
    if not found:
        raise ValueError(
            f"store.root={root}: no cells" + f" of sweep={config.sweep}" * bool(config.sweep)
        )
    failed = []
    for entry in each(found, "W&B"):
        spans = triangle({row["name"]: row for row in entry.scores})
        try:
            words = replay(entry.cell, account, {axis: span.value for axis, span in spans.items()})
        except Exception as error:  # W&B may fail in any way; the next cell may still go through
            failed.append(entry.cell.folder.name)
            words = f"failed: {type(error).__name__}: {error}"
        print(f"{entry.cell.folder.name}: {words or 'nothing new'}")
    for sweep in dict.fromkeys(name for e in found for name in sweeps(e.about)):
        if config.sweep not in (None, sweep):
            continue
        part = [e for e in found if sweep in sweeps(e.about)]
        print(f"{sweep} comparison: {'told' if compared(part, sweep, account) else 'nothing new'}")
    if config.workspace:
        from cmr_bench.reporting.tables import HEADLINES
        from cmr_bench.tracking.workspace import save

        print(save(logger.entity, logger.project, HEADLINES))
    print(f"to {account.target}" + f", files in {root / 'wandb'}" * (mode == "offline"))
    if failed:
        sys.exit(f"cmr_bench: {len(failed)} cells were not told: {', '.join(failed)}")


def compared(found: list[Any], sweep: str, account: Any) -> bool:
    """The table, the triangle and the headlines of one sweep."""
    from cmr_bench.reporting.axes import triangles
    from cmr_bench.reporting.plots import colours, legible, png, triangle_plot
    from cmr_bench.reporting.tables import HEADLINES, compare
    from cmr_bench.tracking.comparison import tell_comparison

    table = compare(found)
    if table.empty:
        return False
    bars = {
        name: dict(zip(rows["group"], rows["value"], strict=True))
        for name, rows in table[table["name"].isin(HEADLINES)]
        .dropna(subset="value")
        .groupby("name")
    }
    shown = table.astype(object).where(table.notna(), None)
    return tell_comparison(
        account,
        sweep,
        columns=list(map(str, shown.columns)),
        rows=shown.to_numpy().tolist(),
        triangle=png(triangle_plot(legible(triangles(table)), colours(found))),
        bars=bars,
    )


def main() -> None:
    verb("sync", task)


if __name__ == "__main__":
    main()
