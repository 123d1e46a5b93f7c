"""W&B as a mirror: one writer on a thread of its own that can fail or hang unmissed."""

from __future__ import annotations

import logging
import netrc
import os
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cmr_bench.tracking import runs
from cmr_bench.tracking.runs import Grey

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
Action = Callable[[Any], Any]


def has_account() -> bool:
    """Whether W&B credentials are here, as `wandb login` or the environment leave them."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    for name in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        try:
            if name and host and netrc.netrc(Path(name).expanduser()).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def effective_mode(mode: str) -> str:
    """`auto` is WANDB_MODE if that is set, else online with an account, offline without."""
    if mode not in MODES:
        raise ValueError(f"logger.mode={mode}: choose one of {', '.join(MODES)}")
    if mode == "auto":
        wish = os.environ.get("WANDB_MODE", "")
        mode = wish if wish in MODES[1:] else "online" if has_account() else "offline"
    if mode == "online" and not has_account():
        log.warning("logger.mode=online without a W&B account: recording offline (wandb login)")
        return "offline"
    return mode


class Mirror:
    """The only writer to W&B. It starts at the first word, and its first fault is its last.

    Words are queued and spoken by a daemon thread, since W&B can also hang instead of raising:
    the caller waits for it in `finish` alone, and there for at most `patience` seconds.
    """

    def __init__(
        self, folder: Path, *, mode: str, arguments: Mapping[str, Any], patience: float = 60.0
    ) -> None:
        self.folder = folder
        self.mode = effective_mode(mode)
        self.arguments = dict(arguments)
        self.patience = patience
        self._step = 0
        self._words: queue.Queue[Action | None] = queue.Queue(maxsize=10_000)
        self._writer: threading.Thread | None = None
        self._online = False

    def log(self, values: Mapping[str, Any], step: int) -> None:
        row, at = dict(values), self._reach(step)
        self._say(lambda run: run.log(row, step=at))

    def log_images(self, key: str, images: Grey, masks: Grey | None, step: int) -> None:
        at = self._reach(step)
        self._say(lambda run: runs.log_images(run, key, images, masks, at))

    def log_table(self, key: str, masks: Grey, columns: Mapping[str, Grey], step: int) -> None:
        at, shown = self._reach(step), dict(columns)
        self._say(lambda run: runs.log_table(run, key, masks, shown, at))

    def log_bars(self, key: str, values: Mapping[str, float]) -> None:
        bars, at = dict(values), self._step
        self._say(lambda run: runs.log_bars(run, key, bars, at))

    def summarise(self, values: Mapping[str, Any]) -> None:
        row = dict(values)
        self._say(lambda run: run.summary.update(row))

    def finish(self, exit_code: int) -> bool:
        """End the run; whether all that was said has reached W&B itself."""
        if self._writer is not None:
            self._say(lambda run: run.finish(exit_code=exit_code))
            self._say(None)
            self._writer.join(self.patience)
            if self._writer.is_alive():
                self._off(f"no answer in {self.patience:.0f} s")
        arrived = self._online and self.mode != "disabled"
        self.mode = "disabled"
        return arrived

    def _reach(self, step: int) -> int:
        """W&B drops a row whose step is below one that it has seen."""
        self._step = max(self._step, step)
        return self._step

    def _say(self, action: Action | None) -> None:
        if self.mode == "disabled":
            return
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="wandb-mirror", daemon=True)
            self._writer.start()
        try:
            self._words.put_nowait(action)
        except queue.Full:
            self._off("it does not answer")

    def _write(self) -> None:
        try:
            run = self._start()
            while (action := self._words.get()) is not None:
                action(run)
        except Exception as error:  # whatever happens there, the training goes on
            first = (str(error).strip().splitlines() or [""])[0]
            self._off(f"{type(error).__name__}: {first}")

    def _off(self, reason: str) -> None:
        if self.mode != "disabled":
            self.mode = "disabled"
            log.warning("W&B is off (%s); the log in %s is complete", reason, self.folder)

    def _start(self) -> Any:
        if self.mode == "online":
            try:
                run = runs.open_run(self.folder, "online", self.arguments, self.patience)
            except Exception as error:
                log.warning("W&B does not answer (%s): recording offline", type(error).__name__)
            else:
                self._online = True
                return run
        return runs.open_run(self.folder, "offline", self.arguments, self.patience)
