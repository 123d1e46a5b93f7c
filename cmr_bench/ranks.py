"""One training on several devices: a process a device, the first of which does all that is no training alone.

The batch is cut into equal parts, and what is random is drawn for the whole batch in every process: the training is
the same as on one device, up to the order in which floating-point numbers are added.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from torch import distributed

DEVICES = "devices.json"
"""Beside weights that several devices trained together: how many."""

READY = "ready\n"
"""What a helper says when it has begun."""

THREADS = "OMP_NUM_THREADS"
KEPT = (THREADS, "MASTER_ADDR", "MASTER_PORT")


class Ranks(LightningEnvironment):
    """The place `rank` of this process among those that train one network: `devices` on each of `nodes` machines.

    A context around one training: threads and connections are afterwards as they were before it.
    """

    def __init__(self, rank: int, devices: int, nodes: int, address: str, port: int) -> None:
        super().__init__()
        self.rank, self.devices, self.nodes = rank, devices, nodes
        self.address, self._main_port = address, port

    @property
    def count(self) -> int:
        return self.devices * self.nodes

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.address

    def local_rank(self) -> int:
        return self.rank % self.devices

    def node_rank(self) -> int:
        return self.rank // self.devices

    @property
    def options(self) -> dict[str, Any]:
        """What the trainer is told; a batch is cut by `Batches`, not by a sampler."""
        places = {"devices": self.devices, "num_nodes": self.nodes}
        return {**places, "strategy": "ddp", "use_distributed_sampler": False}

    def __enter__(self) -> Ranks:
        self.before = {key: os.environ.get(key) for key in KEPT}
        os.environ[THREADS] = str(torch.get_num_threads())  # or Lightning divides the cores anew
        return self

    def __exit__(self, *_: object) -> None:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        for key, value in self.before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


def part(module: pl.LightningModule, rows: int) -> tuple[int, slice]:
    """(rows of the whole batch, those of this process) where this process sees `rows` of them."""
    trainer = module._trainer
    count, rank = (trainer.world_size, trainer.global_rank) if trainer is not None else (1, 0)
    return count * rows, slice(rank * rows, (rank + 1) * rows)


@contextmanager
def helped(kind: str, devices: int, nodes: int, config: str) -> Iterator[Ranks | None]:
    """Start the other processes of a training (`cmr_bench.launchers.helper`) and end them with it; None if there are none.

    `config` is the resolved configuration as YAML, `kind` says which of the cell's networks is trained. Those on
    other nodes are started by srun, inside the job that this process belongs to.

    Raises:
        RuntimeError: if one of them dies before the training begins; later deaths break the connection.
    """
    if devices * nodes == 1:
        yield None
        return
    address = "127.0.0.1" if nodes == 1 else socket.gethostname()
    with socket.socket() as listener:
        listener.bind(("", 0))
        port = listener.getsockname()[1]
    words = [kind, str(devices), str(nodes), address, str(port)]
    module = [sys.executable, "-m", "cmr_bench.launchers.helper"]
    lines = [[*module, str(rank), *words] for rank in range(1, devices)]
    if nodes > 1:
        tasks = [f"--nodes={nodes}", f"--ntasks={nodes * devices}", f"--ntasks-per-node={devices}"]
        step = ["srun", "--overlap", *tasks]
        lines = [[*step, *module, "SLURM_PROCID", *words]]
    started: list[subprocess.Popen[str]] = []
    try:
        for line in lines:
            pipe = subprocess.PIPE
            started.append(subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True))
        for helper in started:
            assert helper.stdin is not None and helper.stdout is not None
            with suppress(BrokenPipeError), helper.stdin as stream:
                stream.write(config)
        for helper in started:
            assert helper.stdout is not None
            for _ in range((devices * nodes - 1) // len(started)):
                if helper.stdout.readline() != READY:
                    raise RuntimeError("a process that helps with the training did not start")
        yield Ranks(0, devices, nodes, address, port)
    finally:
        for helper in started:  # the first process has all that counts
            helper.kill()
            helper.wait()


def devices_of(wanted: int | str) -> int:
    """How many devices of a machine are meant; "auto" means every visible GPU, or one CPU process."""
    return max(1, torch.cuda.device_count()) if wanted == "auto" else int(wanted)
