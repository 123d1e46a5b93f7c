"""Prepared data sets in the store, keyed by their configuration and their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cmr_bench.config import build, plain
from cmr_bench.store import Store

FORMAT = 1
"""Raised when the meaning of stored artefacts changes, so that none made before is taken for a new one."""


def prepared(store: Store, node: DictConfig) -> Path:
    """The folder with data.h5 and manifest.json of a data node."""
    return store.build("data", data_inputs(node), lambda folder: build(node)(folder=folder))


def data_inputs(node: DictConfig) -> dict[str, Any]:
    """What determines prepared data: their configuration, and place below the root, size and date of the files."""
    root = Path(node.get("root") or node.get("synthetic") or ".").expanduser()
    files = [
        (os.path.relpath(path, root), path.stat().st_size, path.stat().st_mtime_ns)
        for path in source_files(node)
    ]
    return {"format": FORMAT, "config": without(plain(node), "root"), "files": files}


def source_files(node: DictConfig) -> Sequence[Path]:
    """The files that a data node, or a model of images made elsewhere, reads; none for data made from a seed."""
    if released := node.get("synthetic"):
        root = Path(released).expanduser()
        return sorted(path for path in (root, *root.rglob("*")) if path.is_file())
    files: Callable[[], Sequence[Path]] | None = (
        getattr(build(node.reader), "files", None) if "reader" in node else None
    )
    return sorted(files()) if files else []


def without(tree: Any, *keys: str) -> Any:
    """A nested mapping less some keys at every depth."""
    if isinstance(tree, Mapping):
        return {key: without(value, *keys) for key, value in tree.items() if key not in keys}
    return tree
