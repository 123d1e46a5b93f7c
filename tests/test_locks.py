"""Locks: on file systems without them, and among several users."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from cmr_bench.store import Store


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_flock_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(ValueError, match=r"no flock.* store\.root=PATH") as error:
        Store(tmp_path).build("data", {"a": 1}, lambda _: None)
    assert "\n" not in str(error.value) and str(tmp_path / "data") in str(error.value)
    with pytest.raises(
        ValueError, match="no flock"
    ):  # and nothing is left that would be waited for
        Store(tmp_path).build("data", {"a": 1}, lambda _: None)


def test_a_lock_is_for_the_group_and_seen_by_who_may_only_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o077)
    try:
        cell = Store(tmp_path).cell("fm", "k")
        with cell.attempt():
            assert (cell.folder / ".lock").stat().st_mode & 0o777 == 0o664
            opened = os.open

            def reader(path: Any, flags: int, *more: Any, **named: Any) -> int:
                if Path(path).name == ".lock" and flags & (os.O_RDWR | os.O_WRONLY):
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return opened(path, flags, *more, **named)

            monkeypatch.setattr(os, "open", reader)
            assert cell.status.state == "running"
    finally:
        os.umask(before)
