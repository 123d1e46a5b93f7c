"""The comparison of a sweep as one W&B run: its table, its triangle and a bar chart for each headline score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cmr_bench.store import key_of, read_json, write_json
from cmr_bench.tracking import runs
from cmr_bench.tracking.replay import Account


def tell_comparison(
    account: Account,
    sweep: str,
    *,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    triangle: bytes,
    bars: Mapping[str, Mapping[str, float]],
) -> bool:
    """Tell W&B how the models of a sweep compare, unless it knows; whether there was anything to tell.

    `bars` holds for each headline score the value of each model, `triangle` is a PNG.
    """
    import io

    import wandb
    from PIL import Image

    path = account.folder / "wandb.json"
    place, now = f"{account.target} {sweep}", key_of([list(columns), [list(row) for row in rows]])
    if read_json(path).get(place) == now:
        return False
    words = {
        "id": key_of({"comparison": sweep}),
        "name": f"{sweep} comparison",
        "group": sweep,
        "job_type": "comparison",
        "project": account.project,
        "entity": account.entity,
        "tags": ["comparison"],
        "config": {"sweep": sweep},
    }
    run = runs.open_run(account.folder, account.mode, words, account.patience)
    runs.log_frame(run, "comparison", columns, rows)
    run.log({"triangle of models": wandb.Image(Image.open(io.BytesIO(triangle)))})
    for name, values in bars.items():
        runs.log_bars(run, name, values)
    run.finish(exit_code=0)
    write_json(path, {**read_json(path), place: now})
    return True
