"""Configuration: mistakes are refused before any work, in one line that names the key and the nearest right one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from cmr_bench.config import build, check, conf_path, mistakes
from cmr_bench.diffusion.paths import Chain
from cmr_bench.run import KEYS


def run(*overrides: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "cmr_bench.run", *overrides]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_build_makes_the_object_and_hands_more_arguments_on() -> None:
    node = {"_target_": "cmr_bench.diffusion.paths.Chain", "steps": 10, "first": 0.1}
    assert build(node).steps == 10
    assert build(node, "steps", steps=7).steps == 7
    part = build({**node, "_partial_": True})
    assert not isinstance(part, Chain) and part().steps == 10


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"stepz": 10}, "path.stepz is not a key: did you mean path.steps?"),
        ({"steps": "ten"}, "path.steps is 'ten', not int"),
        ({"steps": True}, "path.steps is True, not int"),
        ({"steps": 1.5}, "path.steps is 1.5, not int"),
        ({"steps": 5, "first": 1}, None),
        ({"steps": 5, "schedule": 3}, "path.schedule is 3, not str"),
    ],
)
def test_a_node_is_held_against_the_signature_of_its_target(node: dict, words: str | None) -> None:
    found = list(mistakes({"path": {"_target_": "cmr_bench.diffusion.paths.Chain", **node}}))
    assert found == ([words] if words else [])


def test_a_target_that_does_not_exist_is_named() -> None:
    (found,) = mistakes({"model": {"_target_": "cmr_bench.models.gan.GAN"}})
    assert found.startswith(
        "model._target_ names cmr_bench.models.gan.GAN, which cannot be imported"
    )


def test_the_plain_part_has_keys_and_types_too() -> None:
    allowed = {"seed": int, "fit": {"steps": int}, "data": None}
    check(OmegaConf.create({"seed": 1, "fit": {"steps": 2}, "data": {"anything": 1}}), allowed)
    for wrong, words in (
        ({"sead": 1}, "sead is not a key: did you mean seed?"),
        ({"seed": "a"}, "seed is 'a', not int"),
        ({"fit": {"stepps": 2}}, "fit.stepps is not a key: did you mean fit.steps?"),
        ({"seed": "???"}, "seed is missing: give seed=VALUE"),
    ):
        with pytest.raises(ValueError, match=words.replace("?", "[?]")):
            check(OmegaConf.create(wrong), allowed)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sede=1", "sede is not a key: did you mean seed?"),
        ("nope=1", "protocol, size, mask, model, autoencoder, segmenter"),
        ("data.subjects=-3", "data.subjects is -3, not an int of at least 1"),
        ("data.limit=0", "data.limit is 0, not an int of at least 1"),
        ("threads=0", "threads is 0, not an int of at least 1"),
        ("logger.mode=offlin", "logger.mode is 'offlin', not one of auto, online, offline"),
        ("+sede=1", "sede is not a key: did you mean seed?"),
        ("model.stepz=3", "model.stepz is not a key: did you mean model.steps?"),
        (
            "+model.sampler.etaa=0",
            "model.sampler.etaa is not a key: did you mean model.sampler.eta?",
        ),
        ("model=fmm", "model=fmm is not an option: did you mean model=fm?"),
        ("seed=one", "seed is 'one', not int"),
        ("model.sampler.eta=a", "model.sampler.eta is 'a', not float"),
        ("fit.steps=many", "fit.steps is 'many', not an int of at least 1"),
        ("fit.steps=-5", "fit.steps is -5, not an int of at least 1"),
        (
            "model=control/copyy",
            "model=control/copyy is not an option: did you mean model=control/copy?",
        ),
        ("model/samplr=heun", "model/samplr is not a key: did you mean model/sampler?"),
        ("model/control=copy", "model/control is a folder of options: give model=control/NAME"),
        ("metric/fidelity=kid", "give +metric/fidelity@metric.NAME=NAME, one of adherence"),
        ("external.root=/data", "there is no external domain yet: take data@external=OPTION"),
        ("experiment=quik", "experiment=quik is not an option: did you mean experiment=quick?"),
        ("+experiment=quik", "experiment=quik is not an option: did you mean experiment=quick?"),
        (
            "data@external=sunnybrok",
            "data@external=sunnybrok is not an option: did you mean data@external=sunnybrook?",
        ),
        ("sweeps=famlies", "sweeps=famlies is not an option: did you mean sweeps=families?"),
        ("metric=[fast,papr]", "metric=papr is not an option: did you mean metric=paper?"),
        (
            "hydra/launcher=slrm",
            "hydra/launcher=slrm is not an option: did you mean hydra/launcher=slurm?",
        ),
        (
            "model/space=latnt",
            "model/space=latnt is not an option: did you mean model/space=latent?",
        ),
        ("data=acdc", "data.root is missing: give data.root=VALUE"),
        ("sweep=families", "names the group of this one cell: type sweeps=families"),
        ("store.root=/dev/null", "store.root=/dev/null: Not a directory: /dev/null/hydra"),
    ],
)
def test_a_wrong_override_is_one_line_and_nothing_is_made(
    override: str, words: str, tmp_path: Path
) -> None:
    done = run(override, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "runs" / "data").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to train on")
def test_a_gpu_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    done = run("trainer=gpu", cwd=tmp_path)
    assert done.returncode != 0 and "not done: ddpm: trainer=gpu: no GPU is visible" in done.stderr
    assert not (tmp_path / "runs" / "data").exists()


def test_conf_is_found_from_any_directory(tmp_path: Path) -> None:
    assert (Path(conf_path()) / "run.yaml").is_file()
    done = run("--cfg", "job", "model=ldm", cwd=tmp_path)
    assert done.returncode == 0 and "cmr_bench.models.ldm.LDM" in done.stdout


def test_top_level_keys_are_those_that_the_verb_reads() -> None:
    text = (Path(conf_path()) / "run.yaml").read_text()
    tree = OmegaConf.create(text)
    assert set(tree) - {"defaults", "hydra"} <= set(KEYS)
