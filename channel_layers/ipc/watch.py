"""Which event loop looks after a client's bell: its home, or the background loop while it has none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ..background import background_loop
from .wakeup import Bell


class Watch:
    """Calls back, in the thread of one loop, whenever the bell has rung.

    :param turn: looks after everything; it is also called once in each loop that begins to watch.
    """

    def __init__(self, bell: Bell, turn: Callable[[], None]) -> None:
        self._bell = bell
        self._turn = turn
        self.loop: asyncio.AbstractEventLoop | None = None
        self._is_over = False

    def move(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Watch in this loop from now on; None: in the background. From any thread."""
        target = loop if loop is not None else background_loop()
        before, self.loop = self.loop, target
        if before is not None and before is not target:
            self._in(before, lambda: before.remove_reader(self._bell.descriptor))
        self._in(target, lambda: self._begin(target))

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.loop is loop and not self._is_over:
            loop.add_reader(self._bell.descriptor, self._rung, loop)
            self._turn()

    def _rung(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.loop is not loop or self._is_over:
            loop.remove_reader(self._bell.descriptor)
            return
        self._bell.quiet()
        self._turn()

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
        loop, self.loop = self.loop, None
        self._is_over = True

        def end() -> None:
            if loop is not None and not loop.is_closed():
                loop.remove_reader(self._bell.descriptor)
            self._bell.close()

        if loop is None or not self._in(loop, end):
            self._bell.close()

    def abandon(self) -> None:
        """After fork(): the loop is the parent's, or shares its selector; only the descriptor is ours."""
        self._is_over = True
        self._bell.close()

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
