"""One process at a time at one piece of work; the system frees the lock of a dead process."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from cmr_bench.interruption import Stopped, flag
from cmr_bench.store.files import read_json, write_json

log = logging.getLogger(__name__)


NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system says that has none."""


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
    lock = FileLock(path, mode=0o664, fallback_to_soft=False)  # a group may share a store
    if not taken(lock, 1, poll):  # a short wait is not worth a word
        seen = read_json(owner)
        whom = f"process {seen.get('pid', '?')} on {seen.get('host', '?')}"
        if not wait:
            raise Busy(f"{what}: {whom} works on it since {seen.get('since', '?')}")
        log.warning("waiting for %s: %s works on it since %s", what, whom, seen.get("since", "?"))
        while not taken(lock, 5 * poll, poll):
            if flag.asked:
                flag.pieces += 1  # what it waited for went on
                raise Stopped
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_json(owner, {"pid": os.getpid(), "host": platform.node(), "since": since})
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def taken(lock: BaseFileLock, seconds: float, poll: float) -> bool:
    """Whether the lock could be had within some seconds.

    Raises:
        ValueError: on a file system without flock, where the mark of a dead process would block all others.
    """
    with suppress(Timeout):
        try:
            lock.acquire(timeout=seconds, poll_interval=poll)
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
            raise ValueError(
                f"{Path(lock.lock_file).parent}: this file system has no flock, by which a store outlives dead "
                "processes; mount it with flock, or give store.root=PATH on one that has it"
            ) from error
    return lock.is_locked


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file, as far as this one may look."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False
