"""How far a piece of work is: a bar in a terminal, elsewhere a line every half a minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Collection, Iterator
from typing import TypeVar

from rich.progress import track

Item = TypeVar("Item")
log = logging.getLogger(__name__)

SECONDS = 30


class Pace:
    """Says every SECONDS at which of its steps a piece of work is, and how long the rest may take at the pace so far."""

    def __init__(self, title: str, first: int, of: int) -> None:
        self.title, self.first, self.of = title, first, of
        self.began = self.said = time.monotonic()

    def at(self, step: int) -> None:
        now = time.monotonic()
        if now - self.said >= SECONDS and step > self.first:
            self.said = now
            left = (now - self.began) / (step - self.first) * (self.of - step) / 60
            log.info("%s: step %d of %d, %.1f minutes left", self.title, step, self.of, left)


def each(items: Collection[Item], title: str) -> Iterator[Item]:
    """The items one after the other; how many are done is a bar in a terminal, or the lines of a Pace."""
    if sys.stdout.isatty():
        yield from track(items, title, transient=True)
        return
    pace = Pace(title, 0, len(items))
    for done, item in enumerate(items):
        pace.at(done)
        yield item
