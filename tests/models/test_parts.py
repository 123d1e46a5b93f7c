"""What a process sees of a batch that it shares with others is what a single one would see there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import Callback

from cmr_bench.ranks import Ranks, devices_of, part

POOL = tiny.pool(6)
MODULES = {**tiny.FAMILIES, "autoencoder": tiny.autoencoder}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("count", [2, 3])
def test_the_mean_loss_of_the_parts_is_that_of_the_batch(name: str, count: int) -> None:
    def loss(rank: int, ranks: int) -> torch.Tensor:
        module = MODULES[name]()
        module._trainer = SimpleNamespace(world_size=ranks, global_rank=rank, global_step=7)
        module.log = lambda *_, **__: None
        rows = slice(rank * 6 // ranks, (rank + 1) * 6 // ranks)
        with torch.no_grad():
            return module.training_step((POOL.images[rows], POOL.masks[rows]), 0)

    parts = torch.stack([loss(rank, count) for rank in range(count)])
    torch.testing.assert_close(parts.mean(), loss(0, 1), atol=1e-6, rtol=1e-5)
    assert parts.unique().numel() == count


def test_a_module_without_a_trainer_sees_all() -> None:
    assert part(tiny.fm(), 4) == (4, slice(0, 4))


def test_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices_of(1) == 1 and devices_of("2") == 2
    for visible, wanted in ((0, 1), (3, 3)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda visible=visible: visible)
        assert devices_of("auto") == wanted


def test_a_place_is_counted_by_node_and_device() -> None:
    places = [Ranks(rank, 2, 3, "n0", 1) for rank in range(6)]
    assert [(p.node_rank(), p.local_rank()) for p in places] == [
        (n, d) for n in range(3) for d in range(2)
    ]
    assert {p.count for p in places} == {6}


def test_a_batch_that_cannot_be_cut_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="a batch of 4 cannot be cut into 3 equal parts"):
        tiny.trained(tiny.fm(), POOL, tmp_path, ranks=Ranks(0, 3, 1, "", 1))


class Enough(Callback):
    """What the first process alone decides at a validation."""

    def on_validation_epoch_end(self, trainer, pl_module):
        trainer.should_stop = True


def share(rank: int, port: int, folder: Path) -> None:
    """One of two processes at a training of eight steps."""
    tiny.trained(
        tiny.fm(), POOL, folder, steps=8, held_out=tiny.pool(4, seed=1), validate_every=2,
        callbacks=[Enough()] if rank == 0 else [], ranks=Ranks(rank, 2, 1, "127.0.0.1", port),
    )  # fmt: skip


def test_a_training_that_one_process_ends_ends_in_all(tmp_path) -> None:
    with socket.socket() as listener:
        listener.bind(("", 0))
        port = listener.getsockname()[1]
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    code = f"from test_parts import Path, share; share({{}}, {port}, Path({str(tmp_path)!r}))"
    both = [
        subprocess.Popen([sys.executable, "-c", code.format(rank)], env=os.environ | {"PYTHONPATH": paths})
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        assert [process.wait(timeout=120) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2
