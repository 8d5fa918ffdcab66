"""Which event loop looks after a client's bell: its home, or the background loop.

The home is quickest, since most who wait are there. But it may stand still at any time: in code that blocks, or between
two calls of ``run_until_complete()``. Nobody can tell that from outside, so as long as anybody waits in another loop,
the background loop watches, in which nothing of the application runs.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from ..background import background_loop
from ..home import Home, stop_watching
from .wakeup import Bell

#: Seconds after which a turn that an exception has ended is repeated: it may be one that comes again.
_AGAIN = 0.1


class Watch:
    """Calls back, in the thread of one loop, whenever the bell has rung.

    :param hurry: delivers what has come, and nothing else; whether there was anything.
    :param turn: looks after everything; it is also called once in each loop that begins to watch.
    :param home: of the client. It tells of every change by :meth:`settle`.
    """

    def __init__(self, bell: Bell, hurry: Callable[[], bool], turn: Callable[[], None], home: Home) -> None:
        self._bell = bell
        self._descriptor = bell.descriptor  # by which loops know it, also when it is closed
        self._hurry = hurry
        self._turn = turn
        self._home = home
        self.loop: asyncio.AbstractEventLoop | None = None
        #: Normal channels that were rung for, and at which nobody has looked since; see :meth:`Bell.quiet`.
        self.rung: set[int] = set()
        self._is_over = False
        self._lock = threading.Lock()  # of two threads that settle at once, the later one knows more
        # Those who wait in each loop that was not the home when they began to, and the loops that have been the home:
        # who began to wait there before may wait there still.
        self._apart: dict[asyncio.AbstractEventLoop, set[object]] = {}
        self._homes: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    async def apart(self, waiting: Coroutine[Any, Any, Any]) -> Any:
        """Wait for something in a loop that is not the home."""
        token = object()
        tokens = self._apart.setdefault(asyncio.get_running_loop(), set())
        tokens.add(token)
        self.settle()
        try:
            return await waiting
        finally:
            # In one step, and no more than that: the garbage collector may end it anywhere. The next turn sees to it.
            tokens.discard(token)

    def settle(self) -> None:
        """Watch in the loop that is to watch now. From any thread."""
        with self._lock:
            before, target = self.loop, self._target()
            if self._is_over or target is before:
                return
            self.loop = target
        if before is not None:
            self._in(before, lambda: self._end(before))
        if not self._in(target, lambda: self._begin(target)):
            self.settle()  # it was closed in this moment

    def _target(self) -> asyncio.AbstractEventLoop:
        for loop in tuple(self._apart):
            if loop.is_closed():
                self._apart.pop(loop, None)
        home = self._home.loop
        if home is None or home.is_closed():
            return background_loop()
        self._homes.add(home)
        occupied = [*self._homes, *(loop for loop, tokens in tuple(self._apart.items()) if tokens)]
        is_alone = all(loop is home or loop.is_closed() for loop in occupied)
        return home if is_alone else background_loop()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.loop is loop and not self._is_over:
            loop.add_reader(self._descriptor, self._rung, loop)
            self._turn()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.loop is not loop:  # it may be its turn again
            loop.remove_reader(self._descriptor)

    def _rung(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.loop is not loop or self._is_over:
            loop.remove_reader(self._descriptor)
            return
        try:
            if self._hurry():
                return  # the bell still rings: the loop calls again, once those have run who were woken
            self.rung.update(self._bell.quiet())
            if self.loop is loop:
                self._turn()
            else:
                self.soon(self._turn)  # another loop began meanwhile, and what it would have heard was taken out here
        except BaseException:
            self.again()
            self.rung.update(self._bell.quiet())  # or the loop would call again at once, perhaps for ever
            raise

    def again(self) -> None:
        """After an interrupt of a turn: nobody rings for it once more, so it is repeated, if the loop goes on."""
        self.soon(self._turn, _AGAIN)

    def soon(self, work: Callable[[], None], seconds: float = 0.0) -> None:
        """Call back in the loop that watches. Where an event loop runs: it may be the one that watched until now."""
        loop = self.loop
        if loop is None or loop.is_closed():
            return
        if asyncio._get_running_loop() is not loop:
            self._in(loop, lambda: self.soon(work, seconds))
        elif seconds:
            loop.call_later(seconds, work)
        else:
            loop.call_soon(work)

    def stop(self) -> None:
        """Watch no more, and close the bell. From any thread."""
        with self._lock:
            loop, self.loop = self.loop, None
            self._is_over = True

        def end() -> None:
            if loop is not None:
                stop_watching(loop, self._descriptor)
            self._bell.close()

        # A loop that stands still may never run again: then what was left to it would not be done.
        if loop is None or not loop.is_running() or not self._in(loop, end):
            end()

    def abandon(self) -> None:
        """After fork(): the loop is the parent's, or shares its selector."""
        self._is_over = True

    @staticmethod
    def _in(loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> bool:
        """Call in the thread of a loop; False if it is closed."""
        if asyncio._get_running_loop() is loop:
            work()
            return True
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(work)
            return True
        return False
