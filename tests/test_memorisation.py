"""The clock: its rule, its score, its curve, and a training that it ends and that can be resumed."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import hydra
import numpy as np
import pytest
import tiny
import torch
from lightning.pytorch.callbacks import Callback

from cmr_bench.callbacks.memorisation import Memorisation, begun, memorisation_step, power
from cmr_bench.config import build, conf_path
from cmr_bench.launchers.jobs import job_of
from cmr_bench.metrics.base import Metric
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.membership import Membership
from cmr_bench.reporting.cells import Entry
from cmr_bench.reporting.clock import clock_plot, curves
from cmr_bench.reporting.page import page
from cmr_bench.reporting.paired import paired
from cmr_bench.reporting.tables import compare
from cmr_bench.seeds import mix
from cmr_bench.stages import Stages
from cmr_bench.store import Cell, Status, key_of
from cmr_bench.types import Score


def test_it_begins_where_an_unbroken_run_begins_that_lasts_to_the_end() -> None:
    assert begun({}, 1) is None
    assert begun({10: True}, 1) == 10 and begun({10: True}, 2) is None
    assert begun({30: True, 10: True, 20: False, 40: True}, 2) == 30
    assert begun({10: True, 20: True, 30: False}, 2) is None


def rows(*shown: bool) -> list[dict]:
    clock = [
        {"step": 10 * (k + 1), "name": "memorisation/shows", "value": float(s)}
        for k, s in enumerate(shown)
    ]
    return [*clock, {"step": 99, "name": "model/loss", "value": 1.0}]


def test_the_score_lies_between_two_checkpoints_or_says_why_there_is_none() -> None:
    rule = {"patience": 2, "stop": False, "planned": 100}
    assert memorisation_step([], **rule) == []
    (score,) = memorisation_step(rows(False, True, False, True, True), **rule)
    assert (score.value, score.low, score.high, score.n) == (40, 30, 40, 5) and not score.extra
    (score,) = memorisation_step(rows(True, True), **rule | {"stop": True})
    assert (score.value, score.low, score.extra) == (10, 0, {"stopped": 20})
    void = [{"step": 10, "name": "memorisation/void", "value": 1.0}]
    (score,) = memorisation_step([*rows(True, True), *void], **rule)
    assert "never sees the model" in score.reason
    (score,) = memorisation_step(rows(False, True), **rule)
    assert score.reason == "no memorisation showed by step 20 (2 checkpoints)"
    sides = [{"step": 10, "name": f"memorisation/{side}", "value": 4.0} for side in ("members", "others")]  # fmt: skip
    (score,) = memorisation_step([*rows(False), *sides], **rule)
    assert score.reason.endswith("4 against 4 subjects: only an AUC of 1.00 could show")


def test_the_power_of_more_subjects_is_more() -> None:
    assert power(2, 40).endswith("nothing could show")
    least = [float(re.search(r"AUC of (\S+)", power(n, n)).group(1)) for n in (4, 8, 24)]
    assert least == sorted(least, reverse=True) and least[-1] < 0.8


class Told(Metric):
    """An attack that succeeds from step 4 on, whatever it sees."""

    axis = "privacy"
    names = ("privacy/mia_auc",)
    pools = ("train",)
    higher_is_better = False

    def compute(self, evidence: Evidence) -> list[Score]:
        low = 0.6 if evidence.model.global_step >= 4 else 0.4
        return [Score(self.names[0], low + 0.1, low, 1.0, reference=0.5)]


class Break(Callback):
    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.after:
            raise InterruptedError


def clock(**changes) -> Memorisation:
    settings = {
        "metrics": {"told": Told()},
        "signs": ["privacy/mia_auc"],
        "patience": 2,
        "stop": True,
        "times": [0.3],
        "repeats": 1,
        "train": tiny.pool(6),
        "held_out": tiny.pool(6, seed=1),
        "count": 6,
        "steps": 2,
        "make_evidence": lambda pools, model: Evidence(pools, model=model),
    }
    return Memorisation(**settings | changes)


def train(folder, *callbacks: Callback, steps: int = 12) -> dict:
    options = {"steps": steps, "ema": 0.9, "checkpoint_minutes": 1e-6, "validate_every": 2}
    data = tiny.pool(6)
    tiny.trained(tiny.fm(), data, folder, held_out=data, callbacks=callbacks, **options)
    return torch.load(folder / "last.ckpt", weights_only=True)


def test_training_ends_where_memorisation_has_begun_and_resumes_to_the_same_weights(
    tmp_path,
) -> None:
    alone = train(tmp_path / "alone", clock())
    assert alone["global_step"] == 6, "shown at 4 and at 6"
    for after in (3, 5):
        with pytest.raises(InterruptedError):
            train(tmp_path / "twice", Break(after), clock())
    twice = train(tmp_path / "twice", clock())
    again = train(tmp_path / "twice", clock())  # its end did not reach the store
    for other in (twice, again):
        assert other["global_step"] == 6
        for key in ("state_dict", "averaging_state", "optimizer_states", "lr_schedulers"):
            torch.testing.assert_close(other[key], alone[key], atol=0, rtol=0)
    free = train(tmp_path / "free", clock(stop=False))
    assert free["global_step"] == 12


def test_losses_and_limits_are_logged() -> None:
    logged: dict[str, float] = {}
    logger = SimpleNamespace(log_metrics=lambda values, step: logged.update(values))
    trainer = SimpleNamespace(loggers=[logger], global_step=2, should_stop=False)

    model = tiny.awake(tiny.fm())
    watch = clock(metrics={"m": Membership(times=[0.3], repeats=1, blind=False)}, patience=1)
    watch.told(trainer, watch.seen(model))
    seeds = torch.full((6,), mix(0, "losses", 0))
    losses = model.losses(watch.train.images, watch.train.masks, times=[0.3], seeds=seeds)
    assert logged["memorisation/train_loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert logged["memorisation/mia_auc"] == logged["train/privacy/mia_auc"]
    assert logged["memorisation/mia_auc_reference"] == 0.5
    assert logged["memorisation/members"] == len(set(watch.train.subjects))
    shows = logged["memorisation/mia_auc_low"] > 0.5
    assert logged["memorisation/shows"] == shows and watch.shown == {2: shows}


def test_the_metrics_of_the_configuration_answer() -> None:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        node = hydra.compose("run").callbacks.memorisation
    metrics = {key: build(part) for key, part in node.metrics.items()}
    held_out = replace(tiny.pool(24, seed=1), name="val")
    watch = clock(metrics=metrics, signs=node.signs, held_out=held_out, count=24)
    trainer = SimpleNamespace(loggers=[], global_step=2, should_stop=False)
    found = {s.name for s in watch.told(trainer, watch.seen(tiny.awake(tiny.fm())))}
    assert {*node.signs, "privacy/copy_rate"} <= found
    assert watch.shown.keys() == {2}


def test_a_stop_is_part_of_the_key_and_the_clock_alone_is_not(tmp_path) -> None:
    def keys(*more: str) -> tuple[str, str]:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
            config = hydra.compose("run", ["trainer=cpu", f"store.root={tmp_path}", *more])
        stages = Stages(config)
        stages.data_hash = "tiny"
        choices = dict.fromkeys(("model", "data", "mask", "metric", "protocol"), "x")
        return key_of(stages.model_inputs), job_of(config, choices).folder.name

    plain, quiet = keys(), keys("callbacks.memorisation.count=5")
    stop, late = (
        keys("callbacks.memorisation.stop=true", f"callbacks.memorisation.patience={k}")
        for k in (2, 3)
    )
    assert plain == quiet
    assert len({plain[0], stop[0], late[0]}) == len({plain[1], stop[1], late[1]}) == 3


def test_the_curve_shows_the_gap_the_limits_and_the_step(tmp_path) -> None:
    cell = Cell(tmp_path / "fm-0")
    for step in (10, 20, 30):
        values = {"train_loss": 1 - step / 100, "held_out_loss": 1.0, "mia_auc": step / 30}
        values |= {"mia_auc_low": step / 40, "mia_auc_high": 1.0, "mia_auc_reference": 0.5}
        cell.log(step, {f"memorisation/{name}": value for name, value in values.items()})
    found = curves(cell.logged())
    assert found["loss_gap"][:, 1] == pytest.approx([0.1, 0.2, 0.3])
    assert found["mia_auc"][1] == pytest.approx([20, 20 / 30, 0.5, 1, 0.5])
    began = {"name": "privacy/memorisation_step", "axis": "privacy", "value": 30.0}
    began |= {"low": 20, "high": 30, "reference": None, "n": 3, "reason": "", "better": "higher", "unit": "", "reference_name": ""}  # fmt: skip
    entry = Entry(cell, {}, {}, Status("done"), [began], {}, "fm")
    quiet = Entry(cell, {}, {}, Status("done"), [], {}, "fm")
    for one, said in ((entry, True), (quiet, False)):
        assert ("Dashed" in page([one], compare([one]), paired([one]))) == said
    figure = clock_plot([entry], {"fm": "#000000"})
    assert len(figure.axes) == 2
    dashed = [line for line in figure.axes[1].lines if line.get_linestyle() == "--"]
    assert [float(np.unique(line.get_xdata()).item()) for line in dashed] == [30.0]
    assert (
        clock_plot([Entry(Cell(tmp_path / "x"), {}, {}, Status("done"), [], {}, "x")], {}) is None
    )
