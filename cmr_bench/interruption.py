"""Stopping between two pieces of work: a signal sets a flag, and work asks for it where it can be left.

SLURM sends USR1 before a time limit and TERM at a preemption, a requeue or a cancellation, a terminal INT at Ctrl-C;
nothing is ever saved inside a handler.
"""

from __future__ import annotations

import os
import signal
from typing import Any

EXIT_CODE = 75
"""EX_TEMPFAIL: all that was done is on disk, start me again."""

INTERRUPTED = 130
"""What a shell says of a line that Ctrl-C ended."""

FULL = 74
"""EX_IOERR: the disk is full, perhaps too full to say so on it."""


BUSY = 69
"""EX_UNAVAILABLE: another process works on it."""


class Stopped(SystemExit):
    """The work was left between two pieces of it; uncaught, the process ends with EXIT_CODE, or after Ctrl-C with INTERRUPTED."""

    def __init__(self) -> None:
        super().__init__(INTERRUPTED if flag.interrupted else EXIT_CODE)


class Flag:
    """Whether this process was asked to stop, and how many pieces of work it has done."""

    def __init__(self) -> None:
        self.listening = self.raised = self.interrupted = False
        self.parent: int | None = None
        self.pieces = 0

    def listen(self, *, follow_parent: bool = False) -> None:
        """Take USR1, TERM and INT from now on, and with `follow_parent` the death of the parent, as a wish to stop."""
        self.listening = True
        self.parent = os.getppid() if follow_parent else None
        self.renew()

    def renew(self) -> None:
        """Put the handlers back where a library has replaced them."""
        if self.listening:
            for name in ("SIGUSR1", "SIGTERM"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), self._raise)
            if (
                signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
            ):  # as of a line in the background
                signal.signal(signal.SIGINT, self._interrupt)

    def _raise(self, *_: Any) -> None:
        self.raised = True

    def _interrupt(self, *_: Any) -> None:
        if self.interrupted:
            os._exit(INTERRUPTED)  # what it has started follows it
        self.raised = self.interrupted = True
        os.write(
            2, b"\ncmr_bench: stopping after this step; what was done is kept (again: at once)\n"
        )

    @property
    def asked(self) -> bool:
        orphaned = self.parent is not None and os.getppid() != self.parent
        return self.raised or orphaned

    def between(self) -> None:
        """Called between two pieces of work, of which the one before is kept.

        Raises:
            Stopped: if the process was asked to stop.
        """
        self.within()
        self.pieces += 1

    def within(self) -> None:
        """Called within a piece that is begun anew if it is left.

        Raises:
            Stopped: if the process was asked to stop.
        """
        if self.asked:
            raise Stopped


flag = Flag()
"""The flag of this process."""
