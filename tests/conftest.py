"""What every test relies on: one thread, no network, no account, the same numbers each time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

_scratch = tempfile.mkdtemp(prefix="cmr_bench_tests_")
os.environ.update(
    WANDB_MODE="offline",
    WANDB_SILENT="true",
    WANDB_DIR=_scratch,
    WANDB_CACHE_DIR=_scratch,
    WANDB_CONFIG_DIR=_scratch,
    WANDB_DATA_DIR=_scratch,
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two test processes on two cores must not fight for them, and sums must not depend on their number."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def known_randomness() -> Iterator[None]:
    """Draws that name no seed are the same in any order of tests."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
