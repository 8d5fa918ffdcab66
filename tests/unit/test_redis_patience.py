"""How long a connection waits for a server that owes a reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from channel_layers.redis import patience as patience_module
from channel_layers.redis.patience import Patience


class Loop:
    """Stands in for an event loop and its clock, so that seconds pass at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], Any]]] = []
        monkeypatch.setattr(patience_module.time, "monotonic", lambda: self.now)

    def call_later(self, seconds: float, call: Callable[..., Any], *arguments: Any) -> object:
        self.timers.append((self.now + seconds, lambda: call(*arguments)))
        return object()

    def pass_until(self, now: float) -> None:
        while self.timers and min(self.timers)[0] <= now:
            timer = min(self.timers, key=lambda each: each[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1]()
        self.now = now


def test_a_server_counts_as_away_when_it_has_been_silent_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from the latest that it said, also where a timer of commands before ends meanwhile."""
    clock, ends = Loop(monkeypatch), []
    owed: list[object] = []
    waiting = Patience(4, owed, lambda error: ends.append(clock.now))
    loop = cast("asyncio.AbstractEventLoop", clock)
    owed.append("first")
    waiting.written(1, loop)
    clock.pass_until(1001)
    owed.clear()
    waiting.heard()
    waiting.answered(1)
    owed += ["second", "third"]
    waiting.written(3, loop)
    clock.pass_until(1003)
    owed.pop()
    waiting.heard()
    waiting.answered(2)
    clock.pass_until(1020)
    assert ends == [1007]


def test_who_waits_from_the_beginning_is_told_after_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ends = Loop(monkeypatch), []
    waiting = Patience(4, ["first"], lambda error: ends.append(clock.now))
    clock.pass_until(1010)
    waiting.written(1, cast("asyncio.AbstractEventLoop", clock))
    clock.pass_until(1030)
    assert ends == [1014]
