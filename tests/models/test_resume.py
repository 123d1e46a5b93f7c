"""A run killed and resumed ends in the same weights, bit for bit, as one left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from lightning.pytorch.callbacks import Callback

from cmr_bench import checkpoints
from cmr_bench.data.batches import Augment
from cmr_bench.interruption import EXIT_CODE, Stopped, flag

STEPS = 6
AUGMENT = Augment(rotation=10, zoom=0.1, shift=0.05, gamma=0.1)


class Stop(Callback):
    """Ends training after a step: by an exception, or as the kernel does."""

    def __init__(self, after: int, *, kill: bool) -> None:
        self.after, self.kill = after, kill

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.after:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise InterruptedError


def run(family: str, folder: Path, *callbacks: Callback) -> dict:
    """Weights, averages and optimiser at the end; a checkpoint after each step, five rows, batches of four."""
    tiny.trained(
        tiny.FAMILIES[family](), tiny.pool(5), folder,
        steps=STEPS, augment=AUGMENT, ema=0.9, callbacks=callbacks, checkpoint_minutes=1e-6,
    )  # fmt: skip
    return torch.load(folder / "last.ckpt", weights_only=True)


def same(one: dict, other: dict) -> None:
    for key in (
        "state_dict",
        "averaging_state",
        "optimizer_states",
        "lr_schedulers",
        "global_step",
    ):
        torch.testing.assert_close(one[key], other[key], atol=0, rtol=0)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_interrupted_in_the_middle_of_an_epoch(family, tmp_path):
    alone = run(family, tmp_path / "alone")
    with pytest.raises(InterruptedError):
        run(family, tmp_path / "twice", Stop(3, kill=False))
    half = torch.load(tmp_path / "twice" / "last.ckpt", weights_only=True)
    assert half["global_step"] == 3
    same(run(family, tmp_path / "twice"), alone)


def test_interrupted_at_each_step(tmp_path):
    alone = run("fm", tmp_path / "alone")
    for step in range(1, STEPS):
        with pytest.raises(InterruptedError):
            run("fm", tmp_path / "often", Stop(step, kill=False))
    same(run("fm", tmp_path / "often"), alone)


def test_killed_process(tmp_path):
    alone = run("ddpm", tmp_path / "alone")
    code = f"from test_resume import Path, Stop, run; run('ddpm', Path({str(tmp_path)!r}) / 'killed', Stop(4, kill=True))"
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "killed" / "last.ckpt", weights_only=True)["global_step"] == 4
    same(run("ddpm", tmp_path / "killed"), alone)


def test_a_finished_run_stays_as_it_is(tmp_path):
    one = run("fm", tmp_path)
    same(run("fm", tmp_path), one)


def test_averages_are_what_is_kept(tmp_path):
    """w_ema(k) = 0.9 w_ema(k - 1) + 0.1 w(k), started from w(1); the checkpoint's weights are these."""
    seen: list[dict] = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            seen.append({k: v.clone() for k, v in pl_module.state_dict().items()})

    kept = run("fm", tmp_path, Watch())["state_dict"]
    want = seen[0]
    for now in seen[1:]:
        want = {key: 0.9 * want[key] + 0.1 * now[key] for key in want}
    assert len(seen) == STEPS
    torch.testing.assert_close({k: kept[k] for k in want}, want, atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(kept[key], seen[-1][key]) for key in want)


def test_a_torn_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    alone = run("fm", tmp_path / "alone")
    with pytest.raises(InterruptedError):
        run("fm", tmp_path / "torn", Stop(4, kill=False))
    last = tmp_path / "torn" / "last.ckpt"
    before = torch.load(checkpoints.previous(last), weights_only=True)
    assert before["global_step"] == 3
    os.truncate(last, 1000)
    same(run("fm", tmp_path / "torn"), alone)
    assert "cannot be read" in caplog.text and not checkpoints.previous(last).exists()


def test_a_wish_to_stop_is_answered_between_two_steps(tmp_path, monkeypatch):
    class Ask(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            flag.raised = trainer.global_step == 2

    monkeypatch.setattr(flag, "raised", False)
    alone = run("fm", tmp_path / "alone")
    with pytest.raises(Stopped) as stopped:
        run("fm", tmp_path / "asked", Ask())
    assert stopped.value.code == EXIT_CODE
    half = torch.load(tmp_path / "asked" / "last.ckpt", weights_only=True)
    assert half["global_step"] == 3
    flag.raised = False
    same(run("fm", tmp_path / "asked"), alone)


def test_a_wish_to_stop_at_the_step_of_a_validation_loses_no_validation(tmp_path, monkeypatch):
    seen: list[int] = []

    class Ask(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            flag.raised |= trainer.global_step == 1  # of which the validation follows at step 2

        def on_validation_epoch_end(self, trainer, pl_module):
            seen.append(trainer.global_step)

    def half(*callbacks: Callback) -> None:
        watched = {"held_out": tiny.pool(4, seed=1), "validate_every": 2, "callbacks": callbacks}
        tiny.trained(
            tiny.fm(), tiny.pool(5), tmp_path, steps=STEPS, checkpoint_minutes=60, **watched
        )

    monkeypatch.setattr(flag, "raised", False)
    ask = Ask()
    with pytest.raises(Stopped):
        half(ask)
    flag.raised = False
    ask.on_train_batch_start = lambda *_: None
    half(ask)
    assert seen == [2, 4, 6]


def test_a_training_that_diverges_is_refused_and_writes_no_checkpoint_over(tmp_path):
    with pytest.raises(ValueError, match=r"test: the training diverged, .* take a smaller"):
        tiny.trained(tiny.fm(optimizer=tiny.adam(1e30)), tiny.pool(5), tmp_path, steps=4)
    assert not list(tmp_path.glob("*.ckpt"))


def test_counts_and_averages_that_mean_nothing_are_refused(tmp_path):
    for wrong, reason in (({"steps": 0}, "steps is 0"), ({"batch": 0}, "batch is 0"), ({"ema": 1.0}, "ema is 1.0")):  # fmt: skip
        with pytest.raises(ValueError, match=reason):
            tiny.trained(tiny.fm(), tiny.pool(5), tmp_path, **wrong)
