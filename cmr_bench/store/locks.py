"""One process at a time at one piece of work; the system frees the lock of a dead process."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cmr_bench.store.files import read_json, write_json

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, what: str, *, poll_seconds: float = 0.2) -> Iterator[None]:
    """Hold the lock file `path`; while another process holds it, wait and say once whom for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = path.with_name(path.name + ".owner")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=1, poll_interval=poll_seconds)  # a short wait is not worth a word
    except Timeout:
        seen = read_json(owner)
        whom = f"process {seen.get('pid', '?')} on {seen.get('host', '?')}"
        log.warning("waiting for %s: %s works on it since %s", what, whom, seen.get("since", "?"))
        lock.acquire(poll_interval=poll_seconds)
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
