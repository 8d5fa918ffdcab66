"""Which event loop a layer is at home in: the one whose receivers and senders it serves without changing threads.

A loop that has called a few verbs becomes the home, if there is none that lives. Everybody else is served by the
background loop, and so is a loop that only came for one call, as those that ``async_to_sync`` makes, or that cannot
watch the sockets of others, as the usual one of Windows.
"""

from __future__ import annotations

import asyncio
import math
import socket
import sys
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress

from .background import background_loop

#: Verbs, of any layer, that a loop calls before it becomes home.
_CALLS = 8

#: Seconds for which a home may stand still before another thread takes it for ended. ``asyncio.run()`` stops a loop
#: several times on its way to the end; if it went on while its connections are taken away, two threads would use them.
_STANDSTILL = 0.02

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
        self._still_since: float | None = None  # since when it was seen not to run, if it was

    def call(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that a verb was called in this loop, which is not the home."""
        calls = _calls[loop] = _calls.get(loop, 0) + 1
        if self._has_living():
            return
        with self._lock:
            self._leave_if_it_ended()
            if self.loop is None and calls >= _CALLS and _can_watch(loop):
                self._move_in(loop)

    def check(self) -> None:
        """Leave a home that has ended without a word."""
        with self._lock:
            self._leave_if_it_ended()

    @contextmanager
    def staying(self) -> Iterator[asyncio.AbstractEventLoop | None]:
        """The home, if there is one; it does not leave meanwhile, so that what it is given now it gives back then."""
        with self._lock:
            yield self.loop

    def leave(self) -> None:
        """Have no home any more. In its thread, or when it does not run any more."""
        with self._lock:
            self._leave()

    def forget(self) -> None:
        """Have no home any more, and tell nobody: its connections are closed."""
        with self._lock:
            self.loop = self._stay = self._still_since = None

    def _leave(self) -> None:
        if self.loop is not None:
            self.loop = self._stay = self._still_since = None
            self._moved_out()

    def _leave_if_it_ended(self) -> None:
        loop = self.loop
        if loop is None:
            return
        if loop.is_closed():
            self._leave()
        elif loop.is_running():
            self._still_since = None
        elif self._still_since is None:
            self._still_since = time.monotonic()
            background_loop().call_soon_threadsafe(self._check_later)
        elif time.monotonic() - self._still_since >= _STANDSTILL:
            self._leave()  # though it may run again some day: others wait for what comes to it

    def _check_later(self) -> None:
        background_loop().call_later(1.1 * _STANDSTILL, self.check)  # surely not too early: it looks only once

    def _has_living(self) -> bool:
        loop = self.loop  # once: it may leave at any moment, in its own thread
        return loop is not None and not loop.is_closed() and loop.is_running()

    def _move_in(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self._stay = loop, object()
        # asyncio.run() closes the asynchronous generators of a loop before the loop: so this one learns of it.
        guard = self._until_the_end(self._stay)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=_let_go)
        try:
            with suppress(StopIteration):
                guard.asend(None).send(None)
        finally:
            sys.set_asyncgen_hooks(*hooks)
        self._guard = guard
        self._moved_in(loop)

    async def _until_the_end(self, stay: object) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if self._stay is stay:  # not one that is over: a loop may have left, and moved in again
                self.leave()


def _let_go(guard: AsyncGenerator[None, None]) -> None:
    """Instead of asking the loop to close a guard that nobody needs any more: it may be closed in this very moment."""


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


def stop_watching(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    """Let a loop watch a descriptor no more. In its thread, or when it does not run any more."""
    with suppress(Exception):  # its own thread closes it in this very moment, say: then it watches nothing any more
        loop.remove_reader(descriptor)
        loop.remove_writer(descriptor)
