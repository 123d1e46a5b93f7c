from __future__ import annotations

import logging

import pytest

from cmr_bench import progress
from cmr_bench.progress import each


def test_outside_a_terminal_a_line_now_and_then_says_how_far_and_how_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    seen = []
    with caplog.at_level(logging.INFO):
        for item in each({"a": 1, "b": 2, "c": 3, "d": 4}, "images"):
            seen.append(item)
            now += 20
    assert seen == ["a", "b", "c", "d"]
    assert caplog.messages == ["images: step 2 of 4, 0.7 minutes left"]


def test_nothing_to_do_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(each([], "images")) == []
    assert not caplog.messages
