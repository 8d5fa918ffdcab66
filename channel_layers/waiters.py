"""Who waits at a queue, and how they are woken from any thread."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class Waiters:
    """The receivers that wait at one queue: first come, first woken, in each event loop.

    Waking says "look again" and hands nothing over: a message stays in its queue until a receiver that runs takes it.
    So one receiver is woken in *each* loop, since the first loop may have stopped for good; whoever looks second waits
    on. Every method expects the lock of the inbox to be held.
    """

    __slots__ = ("alone", "by_loop")

    def __init__(self) -> None:
        #: The one who waits, if it is only one. Nearly always it is, and this costs half of what the dict does.
        self.alone: asyncio.Future[None] | None = None
        #: Otherwise all of them.
        self.by_loop: dict[asyncio.AbstractEventLoop, OrderedDict[asyncio.Future[None], None]] = {}

    def any(self) -> bool:
        """Whether anybody waits."""
        return self.alone is not None or bool(self.by_loop)

    def add(self, *, at_front: bool = False) -> asyncio.Future[None]:
        """A future of the running loop that :meth:`wake` will end; ``at_front`` for one that was woken in vain."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if self.alone is None and not self.by_loop:
            self.alone = future
            return future
        self._spread()
        futures = self.by_loop.setdefault(loop, OrderedDict())
        futures[future] = None
        if at_front:
            futures.move_to_end(future, last=False)
        return future

    def remove(self, future: asyncio.Future[None]) -> bool:
        """Take a future out; False if it was woken already, and the caller must pass the wake on."""
        if self.alone is future:
            self.alone = None
            return True
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
        future = self.alone
        if future is not None:
            self.alone = None
            if future.get_loop() is not here:
                _end_elsewhere(future)
            elif not future.done():
                future.set_result(None)
            return
        for loop in tuple(self.by_loop):
            futures = self.by_loop[loop]
            future, _ = futures.popitem(last=False)
            if not futures:
                del self.by_loop[loop]
            if loop is here:
                _end(future)
            elif not _end_elsewhere(future):
                self.by_loop.pop(loop, None)

    def wake_all(self) -> None:
        """Wake every receiver of every loop."""
        while self.any():
            self.wake()

    def forget_all(self) -> None:
        """Wake nobody, ever."""
        self.alone = None
        self.by_loop.clear()

    def _spread(self) -> None:
        future, self.alone = self.alone, None
        for loop in tuple(self.by_loop):
            if loop.is_closed():
                del self.by_loop[loop]
        if future is not None and not future.get_loop().is_closed():
            self.by_loop[future.get_loop()] = OrderedDict({future: None})


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():  # it may have been cancelled meanwhile
        future.set_result(None)


def _end_elsewhere(future: asyncio.Future[None]) -> bool:
    """The same in the thread of the future's loop; False if that loop is closed: nobody will run there again."""
    try:
        future.get_loop().call_soon_threadsafe(_end, future)
    except RuntimeError:
        return False
    return True
