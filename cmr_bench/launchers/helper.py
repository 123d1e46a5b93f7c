"""One more process at a training of a cell:
`python -m cmr_bench.launchers.helper RANK KIND DEVICES NODES ADDRESS PORT <config.yaml`, where RANK may be the name of a
variable of the environment.

Started by the process that works on the cell, it makes the cell's pools and network its own, trains along, and ends.
Nothing that it does is kept: locks, files and everything that is no training are the other's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from cmr_bench.interruption import flag
from cmr_bench.ranks import READY, Ranks
from cmr_bench.stages import Stages
from cmr_bench.store import key_of
from cmr_bench.types import Pool


class Helper(Stages):
    """The stages of a cell as seen by a process that helps with one of its trainings."""

    def __init__(self, config: DictConfig, kind: str, place: Ranks) -> None:
        super().__init__(config)
        self.kind, self.place = kind, place

    def help(self) -> None:
        if self.kind == "model":
            self.fitted_model([], None, self.config.callbacks.every_n_steps)
        else:
            getattr(self, {"mask": "mask_source"}.get(self.kind, self.kind))

    def built(
        self, stage: str, kind: str, inputs: Mapping[str, Any], make: Callable[[Path], None]
    ) -> Path:
        folder = self.store.artefact(kind, key_of(inputs))
        if kind == self.kind:
            make(folder)
        return folder

    @contextmanager
    def together(self, kind: str) -> Iterator[Ranks]:
        print(READY, end="", flush=True)
        os.dup2(2, 1)  # nobody reads on
        yield self.place

    def trained(self, kind: str, module: Any, pool: Pool, **how: Any) -> NoReturn:
        super().trained(kind, module, pool, **how)
        sys.exit(0)  # what is made of the network is the first process's affair


def follow(parent: int) -> None:
    """End with the process that started this one, also from within a wait for it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which tells
    threading.Thread(target=follow, args=[os.getppid()], daemon=True).start()
    flag.listen()
    rank, kind, devices, nodes, address, port = sys.argv[1:]
    place = Ranks(int(os.environ.get(rank, rank)), int(devices), int(nodes), address, int(port))
    if place.rank == 0:  # srun starts one for the process that asked, too
        return
    config = OmegaConf.create(yaml.safe_load(sys.stdin))
    assert isinstance(config, DictConfig)
    if config.threads:
        torch.set_num_threads(config.threads)
    Helper(config, kind, place).help()


if __name__ == "__main__":
    main()
