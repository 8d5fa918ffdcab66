"""Which event loop a layer is at home in."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import threading
from collections.abc import Callable
from typing import Any

import pytest

from channel_layers.conformance.running import start_thread
from channel_layers.home import Home


class Leaving(asyncio.SelectorEventLoop):
    """A loop that leaves its home, as in its own thread it may, when another thread looks at it."""

    home: Home

    def is_closed(self) -> bool:
        if hasattr(self, "home"):
            self.home.leave()
        return super().is_closed()


def test_a_home_may_leave_while_another_loop_looks_whether_it_lives() -> None:
    leaving, other = Leaving(), asyncio.new_event_loop()
    leaving.home = home = Home(lambda loop: None, lambda: None)
    home.loop = leaving
    home.call(other)
    assert home.loop is None
    for loop in (leaving, other):
        loop.close()


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop that watches no sockets for others, as that of Windows."""

    asked = 0

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        self.asked += 1
        raise NotImplementedError


async def _call(home: Home, times: int) -> None:
    for _ in range(times):
        home.call(asyncio.get_running_loop())


def test_a_loop_becomes_home_after_a_few_calls() -> None:
    moved: list[asyncio.AbstractEventLoop] = []
    home, loop = Home(moved.append, lambda: None), asyncio.new_event_loop()
    loop.run_until_complete(_call(home, 7))
    assert home.loop is None
    loop.run_until_complete(_call(home, 1))
    assert home.loop is loop
    assert moved == [loop]
    loop.close()


def test_a_loop_that_cannot_watch_sockets_never_becomes_home() -> None:
    moved: list[asyncio.AbstractEventLoop] = []
    loop = WithoutReaders()
    for _ in range(2):  # of two layers
        home = Home(moved.append, lambda: None)
        loop.run_until_complete(_call(home, 20))
        assert home.loop is None
    assert moved == []
    assert loop.asked == 1
    loop.close()


def test_without_a_descriptor_left_a_loop_becomes_home_later(monkeypatch: pytest.MonkeyPatch) -> None:
    home, loop = Home(lambda loop: None, lambda: None), asyncio.new_event_loop()

    def none_left(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("socket.socketpair", none_left)
        loop.run_until_complete(_call(home, 20))
    assert home.loop is None
    loop.run_until_complete(_call(home, 1))
    assert home.loop is loop
    loop.close()


def test_a_home_does_not_leave_while_it_is_held() -> None:
    told: list[str] = []
    home, loop = Home(lambda loop: None, lambda: told.append("has left")), asyncio.new_event_loop()
    loop.run_until_complete(_call(home, 8))
    with home.staying() as staying:
        assert staying is loop
        leaving = start_thread(home.leave)
        with pytest.raises(concurrent.futures.TimeoutError):
            leaving.result(0.05)
        told.append("was held")
    leaving.result(10)
    assert told == ["was held", "has left"]
    loop.close()


class Ending(asyncio.SelectorEventLoop):
    """A loop that another thread finds open, and then closed: it does not run any more, and is about to be closed."""

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("Event loop is closed")


def test_a_loop_moves_in_after_one_that_is_just_being_closed(
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    """Nothing is asked of that one, not even by the garbage collector: it would say so on stderr."""
    home, ending, other = Home(lambda loop: None, lambda: None), Ending(), asyncio.new_event_loop()
    ending.run_until_complete(_call(home, 8))
    assert home.loop is ending
    eventually(lambda: other.run_until_complete(_call(home, 8)) or home.loop is other)
    assert home.loop is other
    for loop in (ending, other):
        loop.close()


def test_a_home_that_stands_still_for_a_moment_stays() -> None:
    """``asyncio.run()`` stops a loop several times on its way to the end."""
    home, loop, other = Home(lambda loop: None, lambda: None), asyncio.new_event_loop(), asyncio.new_event_loop()
    loop.run_until_complete(_call(home, 8))
    home.call(other)
    home.check()
    assert home.loop is loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert home.loop is None
    for each in (loop, other):
        each.close()


def test_a_home_that_stands_still_for_long_has_ended() -> None:
    """One look is enough, of whomever: others may wait for what comes to it."""
    left = threading.Event()
    home, loop = Home(lambda loop: None, left.set), asyncio.new_event_loop()
    loop.run_until_complete(_call(home, 8))
    home.check()
    assert left.wait(10)
    assert home.loop is None
    loop.close()
