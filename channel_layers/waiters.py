"""Who waits at a queue, and how they are woken from any thread."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress


class Waiters:
    """The receivers that wait at one queue: first come, first woken, in each event loop.

    Waking says "look again" and hands nothing over: a message stays in its queue until a receiver that runs takes it.
    So one receiver is woken in *each* loop, since the first loop may have stopped for good; whoever looks second waits
    on. Every method expects the lock of the inbox to be held.
    """

    __slots__ = ("by_loop",)

    def __init__(self) -> None:
        self.by_loop: dict[asyncio.AbstractEventLoop, OrderedDict[asyncio.Future[None], None]] = {}

    def add(self, *, at_front: bool = False) -> asyncio.Future[None]:
        """A future of the running loop that :meth:`wake` will end; ``at_front`` for one that was woken in vain."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        futures = self.by_loop.get(loop)
        if futures is None:
            self._forget_closed_loops()
            futures = self.by_loop[loop] = OrderedDict()
        futures[future] = None
        if at_front:
            futures.move_to_end(future, last=False)
        return future

    def remove(self, future: asyncio.Future[None]) -> bool:
        """Take a future out; False if it was woken already, and the caller must pass the wake on."""
        loop = future.get_loop()
        futures = self.by_loop.get(loop)
        if futures is None or future not in futures:
            return False
        del futures[future]
        if not futures:
            del self.by_loop[loop]
        return True

    def wake(self) -> None:
        """Wake the first receiver of each loop."""
        here = asyncio._get_running_loop()
        for loop in tuple(self.by_loop):
            futures = self.by_loop[loop]
            future, _ = futures.popitem(last=False)
            if not futures:
                del self.by_loop[loop]
            if loop is here:
                _end(future)
            else:
                try:
                    loop.call_soon_threadsafe(_end, future)
                except RuntimeError:  # that loop is closed: nobody will run there again
                    self.by_loop.pop(loop, None)

    def wake_all(self) -> None:
        """Wake every receiver of every loop."""
        while self.by_loop:
            self.wake()

    def _forget_closed_loops(self) -> None:
        for loop in tuple(self.by_loop):
            if loop.is_closed():
                del self.by_loop[loop]


def _end(future: asyncio.Future[None]) -> None:
    with suppress(asyncio.InvalidStateError):  # cancelled meanwhile
        future.set_result(None)
