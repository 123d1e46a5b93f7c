from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from cmr_bench.store import (
    Store,
    append_jsonl,
    atomic,
    environment,
    key_of,
    read_json,
    read_jsonl,
    sweeps,
    write_json,
)
from cmr_bench.types import Score


def python(code: str, *args: object) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, seconds: float = 20) -> None:
    end = time.time() + seconds
    while not path.exists():
        assert time.time() < end, f"{path} did not appear"
        time.sleep(0.02)


# Limits the size of any file to 64 KiB: to a writer this is a disk that fills up half-way.
SMALL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
"""


def test_key_depends_on_the_values_and_not_on_their_order_or_container() -> None:
    key = key_of({"a": 1, "b": {"c": (1, 2.5), "d": None}})
    assert key == key_of({"b": {"d": None, "c": [1, 2.5]}, "a": 1})
    assert len(key) == 12 and int(key, 16) >= 0
    others = [{"a": 2}, {"a": "1"}, {"a": 1.5}, {"a": True}, {"a": [1]}, {"b": 1}, {}]
    assert len({key_of(value) for value in others} | {key_of({"a": 1})}) == len(others) + 1


def test_key_is_the_same_for_numpy_values_and_in_another_process() -> None:
    value = {"x": np.float64(0.5), "n": np.int64(3), "v": np.arange(2), "p": Path("a/b")}
    assert key_of(value) == key_of({"x": 0.5, "n": 3, "v": [0, 1], "p": "a/b"})
    code = "from cmr_bench.store import key_of; print(key_of({'b': 1, 'a': ['x', 0.1]}))"
    assert python(code).communicate()[0].strip() == key_of({"a": ["x", 0.1], "b": 1})


@pytest.mark.parametrize("value", [{"a": object()}, {1: 2}, {"f": print}])
def test_a_value_that_is_not_plain_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"plain|string keys"):
        key_of(value)


def test_a_failed_write_leaves_the_old_file_and_no_stray(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"x": 1, "bad": float("nan")})
    assert read_json(path) == {"x": 1, "bad": None}
    with pytest.raises(KeyError), atomic(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise KeyError("stop")
    assert read_json(path)["x"] == 1
    assert [p.name for p in path.parent.iterdir()] == ["value.json"]


WRITERS = {
    "json": "write_json(path, {'x': ['0123456789'] * 20000})",
    "jsonl": "append_jsonl(path, [{'x': '0123456789' * 20000}])",
    "hdf5": """
with atomic(path) as temporary, h5py.File(temporary, "w") as file:
    file["x"] = np.zeros(200000)
""",
    "torch": """
import torch
with atomic(path) as temporary:
    torch.save(torch.zeros(200000), temporary)
""",
}


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_a_full_disk_is_one_clear_line_and_keeps_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "value"
    append_jsonl(path, [{"old": 1}])
    code = f"""
import sys, h5py, numpy as np
from cmr_bench.store import append_jsonl, atomic, write_json
{SMALL_DISK}
path = sys.argv[1]
try:
{textwrap.indent(WRITERS[kind].strip(), "    ")}
except OSError as error:
    print(error)
"""
    out, err = python(code, path).communicate()
    assert (
        out.count("\n") == 1 and f"could not write {path}" in out and "run the same line" in out
    ), err
    assert read_jsonl(path) == [{"old": 1}]
    assert os.listdir(tmp_path) == ["value"]


def test_a_full_disk_is_one_clear_line_for_samples_too(tmp_path: Path) -> None:
    path = tmp_path / "samples.h5"
    code = f"""
import sys, numpy as np
from pathlib import Path
from cmr_bench.store.samples import Samples
{SMALL_DISK}
try:
    Samples(Path(sys.argv[1])).reserve("all", masks=np.zeros((40, 64, 64)), seeds=np.arange(40))
except OSError as error:
    print(error)
"""
    out, err = python(code, path).communicate()
    assert out.count("\n") == 1 and f"could not write {path}" in out, err
    assert os.listdir(tmp_path) == []


def test_torn_lines_are_passed_over_and_the_next_append_repairs_them(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = [{"step": k, "value": k / 7} for k in range(3)]
    append_jsonl(path, rows)
    whole = path.read_bytes()
    first, second = whole.index(b"\n") + 1, whole.rindex(b"\n", 0, -1) + 1
    for cut in range(second, len(whole)):
        path.write_bytes(whole[:cut])
        kept = 3 if cut == len(whole) - 1 else 2  # only the newline is missing: the row is whole
        assert read_jsonl(path) == rows[:kept]
        append_jsonl(path, [{"step": 9}])
        assert read_jsonl(path) == [*rows[:kept], {"step": 9}]
        assert path.read_bytes().count(b"\n") == kept + 1
    path.write_bytes(whole[:first] + b"\0\0\0\n" + whole[first:])
    assert read_jsonl(path) == rows


def test_an_artefact_is_made_once_and_its_marker_comes_last(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def make(folder: Path) -> None:
        calls.append(sorted(p.name for p in folder.iterdir()))
        (folder / "weights").write_text("w")

    inputs = {"size": 3, "data": {"name": "phantom"}}
    folder = store.build("autoencoder", inputs, make)
    assert store.build("autoencoder", {"data": {"name": "phantom"}, "size": 3}, make) == folder
    assert folder == store.artefact("autoencoder", key_of(inputs))
    assert calls == [[]]
    assert read_json(folder / "inputs.json") == inputs
    assert read_json(folder / "done.json")["seconds"] >= 0
    assert store.build("autoencoder", {"size": 4}, make) != folder and len(calls) == 2


def test_a_builder_that_raises_blocks_nobody_and_its_work_is_resumed(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def half(folder: Path) -> None:
        (folder / "half").write_text("1")
        (folder / ".x.abc.tmp").write_text("stray")
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        store.build("data", {"a": 1}, half)
    folder = store.artefact("data", key_of({"a": 1}))
    assert not (folder / "done.json").exists()
    seen: list[str] = []
    store.build("data", {"a": 1}, lambda f: seen.extend(p.name for p in f.iterdir()))
    assert seen == ["half"] and (folder / "done.json").exists()


def test_what_an_artefact_cost_counts_the_attempts_that_ended_early(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def stopped(folder: Path) -> None:
        time.sleep(0.3)
        raise SystemExit(75)

    for _ in range(2):
        with pytest.raises(SystemExit):
            store.build("model", {"a": 1}, stopped)
    folder = store.build("model", {"a": 1}, lambda folder: None)
    assert 0.6 <= read_json(folder / "done.json")["seconds"] < 30
    assert [path.name for path in folder.parent.iterdir() if "spent" in path.name] == []


def test_a_cell_belongs_to_every_sweep_that_asked_for_it(tmp_path: Path) -> None:
    cell = Store(tmp_path).cell("fm", "0123")
    assert cell.join("families") == ["families"] and not cell.about, "it is not begun yet"
    cell.write("cell.json", {"sweep": "families"})
    assert cell.join("latent") == ["families", "latent"] == cell.join("families")
    assert sweeps(cell.about) == ["families", "latent"] and cell.about["sweep"] == "families"


BUILD = """
import logging, os, sys, time
from pathlib import Path
from cmr_bench.store import Store
logging.basicConfig()
def make(folder):
    (folder / f"made-by-{os.getpid()}").write_text("")
    time.sleep(float(sys.argv[2]))
print(Store(sys.argv[1]).build("data", {"a": 1}, make))
"""


def test_builders_at_the_same_moment_build_once_and_name_the_other(tmp_path: Path) -> None:
    folder = Store(tmp_path).artefact("data", key_of({"a": 1}))
    processes = [python(BUILD, tmp_path, 3) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [out.strip() for out, _ in outputs] == [str(folder)] * 2
    makers = [p.name.removeprefix("made-by-") for p in folder.glob("made-by-*")]
    assert len(makers) == 1
    waiting = [err for _, err in outputs if "waiting for data" in err]
    assert len(waiting) == 1 and f"process {makers[0]} on" in waiting[0]
    assert waiting[0].count("waiting") == 1


def test_a_killed_builder_blocks_nobody(tmp_path: Path) -> None:
    folder = Store(tmp_path).artefact("data", key_of({"a": 1}))
    first = python(BUILD, tmp_path, 600)
    wait_for(folder / f"made-by-{first.pid}")
    second = python(BUILD, tmp_path, 0)
    time.sleep(0.5)
    assert not (folder / "done.json").exists()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    out, err = second.communicate(timeout=60)
    assert out.strip() == str(folder), err
    assert {p.name for p in folder.glob("made-by-*")} == {
        f"made-by-{p.pid}" for p in (first, second)
    }


def test_samples_are_resumed_row_by_row(tmp_path: Path) -> None:
    samples = Store(tmp_path).cell("fm", "k").samples
    masks, seeds = np.arange(6 * 16).reshape(6, 1, 4, 4) % 4, np.arange(6)
    images = np.random.default_rng(0).normal(size=(6, 1, 4, 4)).astype(np.float32)
    samples.reserve("synthetic", masks=masks, seeds=seeds)
    samples.put("synthetic", [4, 1], images[[4, 1]])
    samples.reserve("matched", masks=masks[:2], seeds=seeds[:2])
    samples.reserve("synthetic", masks=masks, seeds=seeds)
    assert samples.missing("synthetic").tolist() == [0, 2, 3, 5]
    with pytest.raises(ValueError, match="synthetic: 4 images are missing"):
        samples.read("synthetic")
    rows = samples.missing("synthetic")
    samples.put("synthetic", rows, images[rows])
    got = samples.read("synthetic")
    for value, expected in zip(got, (images, masks, seeds), strict=True):
        np.testing.assert_array_equal(value, expected)
    samples.reserve("synthetic", masks=masks, seeds=seeds + 1)
    assert len(samples.missing("synthetic")) == 6 and len(samples.missing("matched")) == 2


def test_images_that_a_node_lost_are_missing_though_they_were_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = Store(tmp_path).cell("fm", "k").samples
    samples.reserve("synthetic", masks=np.zeros((4, 4, 4)), seeds=np.arange(4))
    with h5py.File(samples.path, "r") as file:
        flags = file["synthetic/written"].id.get_offset()
    marked: list[bytes] = []

    def sync(path: Path) -> None:
        marked.append(path.read_bytes()[flags : flags + 4])

    monkeypatch.setattr("cmr_bench.store.samples.sync", sync)
    samples.put("synthetic", np.arange(4), np.zeros((4, 1, 4, 4)))
    assert marked == [bytes(4)], "images reach the disk before their marks are set"
    with h5py.File(samples.path, "r+") as file:
        file["synthetic/images"][2, 1] = np.nan
    assert samples.missing("synthetic").tolist() == [2]
    with pytest.raises(ValueError, match="synthetic: 1 images are missing; run the cell again"):
        samples.read("synthetic")


def test_images_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    samples = Store(tmp_path).cell("fm", "k").samples
    samples.reserve("synthetic", masks=np.zeros((2, 4, 4)), seeds=np.arange(2))
    with pytest.raises(
        ValueError, match="images, synthetic: the model draws values that are not finite"
    ):
        samples.put("synthetic", [0, 1], np.full((2, 1, 4, 4), np.inf))
    assert samples.missing("synthetic").tolist() == [0, 1]


def test_samples_survive_a_kill_while_images_are_written(tmp_path: Path) -> None:
    code = """
    import sys, numpy as np
    from cmr_bench.store import Store
    samples = Store(sys.argv[1]).cell("fm", "k").samples
    samples.reserve("synthetic", masks=np.zeros((4000, 1, 8, 8)), seeds=np.arange(4000))
    for k in range(4000):
        samples.put("synthetic", [k], np.full((1, 1, 8, 8), k))
        print(k, flush=True)
    """
    samples = Store(tmp_path).cell("fm", "k").samples
    for lines in (3, 40):
        process = python(code, tmp_path)
        assert process.stdout is not None
        for _ in range(lines):
            last = int(process.stdout.readline())
        process.kill()
        process.communicate()
        missing = samples.missing("synthetic")
        assert 0 < len(missing) < 4000 - last
        samples.put("synthetic", missing, np.zeros((len(missing), 1, 8, 8)))
        images = samples.read("synthetic")[0][:, 0, 0, 0]
        np.testing.assert_array_equal(images[: last + 1], np.arange(last + 1))
        samples.path.unlink()


def test_the_states_of_a_cell(tmp_path: Path) -> None:
    cell = Store(tmp_path).cell("control/copy", "0123456789ab")
    assert cell.folder.name == "control-copy-0123456789ab"
    assert cell.status.state == "new"
    with cell.attempt():
        cell.log(40, {"train/loss": 0.5})
        assert (cell.status.state, cell.status.step) == ("running", 40)
    assert str(cell.status.state) == "stopped" and cell.status.detail == "at step 40"
    with pytest.raises(ZeroDivisionError), cell.attempt():
        _ = 1 / 0
    assert (
        cell.status.state == "failed"
        and cell.status.detail == "ZeroDivisionError: division by zero"
    )
    assert "1 / 0" in Path(read_json(cell.folder / "failed.json")["log"]).read_text()
    with cell.attempt():
        cell.finish()
    assert cell.status.state == "done" and not (cell.folder / "failed.json").exists()
    assert [c.folder for c in Store(tmp_path).cells()] == [cell.folder]
    assert Store(tmp_path / "absent").cells() == []


def test_scores_and_log_come_back_and_the_last_row_counts(tmp_path: Path) -> None:
    cell = Store(tmp_path).cell("fm", "k")
    score = Score("fidelity/kid", 0.25, 0.125, 0.5, n=12, better="lower", extra={"encoder": "x"})
    cell.add_scores(
        [score, Score("privacy/mia_auc", float("nan"), reason="no losses")], metric="kid"
    )
    cell.add_scores([Score("fidelity/kid", 0.75)], metric="kid", seconds=2.0)
    kid, auc = cell.scores()
    assert (kid["value"], kid["axis"], kid["seconds"]) == (0.75, "fidelity", 2.0)
    assert np.isnan(auc["value"]) and auc["reason"] == "no losses"
    lines = [json.loads(line) for line in (cell.folder / "scores.jsonl").read_text().splitlines()]
    assert lines[0]["extra"] == {"encoder": "x"} and lines[0]["low"] == 0.125
    for step, value in ((1, 3.0), (2, 2.0), (2, 1.5)):
        cell.log(step, {"train/loss": value})
    assert [row["value"] for row in cell.logged()] == [3.0, 1.5]


def test_the_environment_record_names_what_a_result_was_made_with() -> None:
    record = environment(data_hash="abc", seconds={"fit": 1.5})
    assert record["versions"]["torch"] and record["versions"]["python"].startswith("3.")
    assert record["data_hash"] == "abc" and record["seconds"] == {"fit": 1.5}
    assert record["threads"] >= 1 and record["device"] and 0 < record["peak_memory_gib"] < 1000
    json.dumps(record)
