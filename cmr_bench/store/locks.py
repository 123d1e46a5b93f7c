"""One process at a time at one piece of work; the system frees the lock of a dead process."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cmr_bench.interruption import Stopped, flag
from cmr_bench.store.files import read_json, write_json

log = logging.getLogger(__name__)


class Busy(RuntimeError):  # noqa: N818 - not an error
    """Another process works on it."""


@contextmanager
def locked(path: Path, what: str, *, wait: bool = True, poll: float = 0.2) -> Iterator[None]:
    """Hold the lock file `path`; while another process holds it, wait and say once whom for.

    Raises:
        Busy: without `wait`, if another process holds it for longer than a look at it takes.
        Stopped: if this process is asked to stop while it waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = path.with_name(path.name + ".owner")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=1, poll_interval=poll)  # a short wait is not worth a word
    except Timeout:
        seen = read_json(owner)
        whom = f"process {seen.get('pid', '?')} on {seen.get('host', '?')}"
        if not wait:
            raise Busy(f"{what}: {whom} works on it since {seen.get('since', '?')}") from None
        log.warning("waiting for %s: %s works on it since %s", what, whom, seen.get("since", "?"))
        while not lock.is_locked:
            if flag.asked:
                flag.pieces += 1  # what it waited for went on
                raise Stopped from None
            with suppress(Timeout):
                lock.acquire(timeout=5 * poll, poll_interval=poll)
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_json(owner, {"pid": os.getpid(), "host": platform.node(), "since": since})
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # a store that this reader may not write to
        return False
    lock.release()
    return False
