"""The dashboard of a project as code: the triangle, the headlines, the curves and the images of all its runs.

Every panel reads a key of `record`. Needs the package wandb-workspaces (`pip install 'cmr_bench[dashboards]'`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

AXES = ("fidelity", "utility", "privacy")


def workspace(entity: str | None, project: str, headlines: Sequence[str]) -> Any:
    """The workspace, built without a network or an account.

    Raises:
        ValueError: wandb-workspaces is not installed.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise ValueError(
            "workspace=true needs wandb-workspaces: pip install 'cmr_bench[dashboards]'"
        )
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as parts

    def summary(name: str) -> Any:
        return panels.SummaryMetric(name)

    corners = [f"triangle/{axis}" for axis in AXES]
    pairs = [(x, y) for i, x in enumerate(corners) for y in corners[i + 1 :]]
    columns = [panels.ParallelCoordinatesPlotColumn(summary(name), name) for name in corners]
    triangle = [
        panels.ParallelCoordinatesPlot(columns=columns, title="triangle, 1 as good as real data"),
        *(panels.ScatterPlot(title=f"{y} on {x}", x=summary(x), y=summary(y)) for x, y in pairs),
        panels.BarPlot(title="triangle", metrics=[summary(name) for name in corners]),
    ]
    scores = [panels.BarPlot(title=name, metrics=[summary(name)]) for name in headlines]
    curves = [panels.LinePlot(title="training loss", x="Step", y=["train/loss"])]
    curves += [
        panels.LinePlot(title=f"{name} while training", x="Step", y=[f"train/{name}"])
        for name in headlines
    ]
    images = [
        panels.MediaBrowser(media_keys=["real and synthetic/test", "real and synthetic/matched"]),
        panels.RunComparer(diff_only=True),
    ]
    return parts.Workspace(
        entity=entity or "",
        project=project,
        name="fidelity, utility, privacy",
        sections=[
            parts.Section(name="Triangle", panels=triangle, is_open=True),
            parts.Section(name="Scores", panels=scores, is_open=True),
            parts.Section(name="Curves", panels=curves),
            parts.Section(name="Images and settings", panels=images),
        ],
        runset_settings=parts.RunsetSettings(pinned_columns=[f"summary:{c}" for c in corners]),
    )


def specification(view: Any) -> dict[str, Any]:
    """What `save` would send, as plain values."""
    import json

    plain: dict[str, Any] = json.loads(view._to_model().model_dump_json(by_alias=True))
    return plain


def save(entity: str | None, project: str, headlines: Sequence[str]) -> str:
    """Save the workspace in the project of an account, by default one's own; returns its address."""
    import wandb

    view = workspace(entity or wandb.Api().default_entity, project, headlines)
    view.save()
    return str(view.url)
