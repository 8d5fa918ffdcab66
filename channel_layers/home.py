"""Which event loop a layer is at home in: the one whose receivers and senders it serves without changing threads.

A loop that has called a few verbs becomes the home, if there is none that lives. Everybody else is served by the
background loop, and so is a loop that only came for one call, as those that ``async_to_sync`` makes, or that cannot
watch the sockets of others, as the usual one of Windows.
"""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

#: Verbs, of any layer, that a loop calls before it becomes home.
_CALLS = 8

# Without end below zero: a loop that can be no home.
_calls: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, float] = weakref.WeakKeyDictionary()


class Home:
    """The home of one layer object.

    :param moved_in: called in a loop that has become the home, with that loop.
    :param moved_out: called when it ends, in its thread, or, if it does not run any more, in any other.
    """

    def __init__(self, moved_in: Callable[[asyncio.AbstractEventLoop], None], moved_out: Callable[[], None]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._moved_in = moved_in
        self._moved_out = moved_out
        self._lock = threading.Lock()  # of two loops that move in at the same moment, one does
        self._guard: AsyncGenerator[None, None] | None = None
        self._stay: object | None = None

    def call(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that a verb was called in this loop, which is not the home."""
        calls = _calls[loop] = _calls.get(loop, 0) + 1
        if self._has_living():
            return
        with self._lock:
            if not self._has_living():
                self._leave()  # at once, also if it only stands still: others may wait for what comes to it
            if calls >= _CALLS and not self._has_living() and _can_watch(loop):
                self._leave()
                self._move_in(loop)

    def check(self) -> None:
        """Leave a home that has ended without a word."""
        with self._lock:
            if not self._has_living():
                self._leave()

    def leave(self) -> None:
        """Have no home any more. In its thread, or when it does not run any more."""
        with self._lock:
            self._leave()

    def forget(self) -> None:
        """Have no home any more, and tell nobody: its connections are closed."""
        with self._lock:
            self.loop = self._stay = None

    def _leave(self) -> None:
        if self.loop is not None:
            self.loop = self._stay = None
            self._moved_out()

    def _has_living(self) -> bool:
        loop = self.loop  # once: it may leave at any moment, in its own thread
        return loop is not None and not loop.is_closed() and loop.is_running()

    def _move_in(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self._stay = loop, object()
        # asyncio.run() closes the asynchronous generators of a loop before the loop: so this one learns of it.
        self._guard = self._until_the_end(self._stay)
        with suppress(StopIteration):
            self._guard.asend(None).send(None)
        self._moved_in(loop)

    async def _until_the_end(self, stay: object) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if self._stay is stay:  # not one that is over: a loop may have left, and moved in again
                self.leave()


def _can_watch(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop calls back when a socket can be read. In its thread; if it cannot, it is not asked again."""
    try:
        ours, theirs = socket.socketpair()
    except OSError:  # no descriptor is left: perhaps later
        return False
    with ours, theirs:
        try:
            loop.add_reader(ours, lambda: None)
        except NotImplementedError:
            _calls[loop] = -math.inf
            return False
        loop.remove_reader(ours)
    return True
