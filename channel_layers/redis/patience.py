"""How long a connection waits in silence: a server that owes a reply and says nothing for too long counts as away.

Who answers slowly, since it was asked much, is not away: what counts is whether anything comes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection


class Patience:
    """The patience of one connection, in the thread of its loop.

    :param seconds: for which the server may owe a reply and say nothing.
    :param owed: those who wait for a reply.
    :param is_over: called when it has been silent for so long.
    """

    def __init__(self, seconds: float, owed: Collection[object], is_over: Callable[[Exception], None]) -> None:
        self._heard_at = time.monotonic()
        self._seconds = seconds
        self._owed = owed
        self._is_over = is_over
        # When the commands up to a number were written, oldest first: only as many as are unanswered.
        self._written: deque[tuple[int, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def written(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        """The commands up to this number were written now."""
        self._written.append((number, time.monotonic()))
        if self._timer is None:
            self._look(loop)

    def heard(self) -> None:
        """Something came, whatever it was."""
        self._heard_at = time.monotonic()

    def answered(self, number: int) -> None:
        """The commands up to this number are answered."""
        written = self._written
        while written and written[0][0] <= number:
            written.popleft()

    def begin_anew(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have all the time again: replies may have come while no loop was there to read them."""
        self.stop()
        self.heard()
        if self._owed:
            self._timer = loop.call_later(self._seconds, self._look, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up if the oldest command has waited too long in silence, otherwise look again when it would have."""
        self._timer = None
        if not self._owed:
            return
        silent_since = self._heard_at
        if self._written:
            silent_since = max(silent_since, self._written[0][1])
        left = silent_since + self._seconds - time.monotonic()
        if left <= 0:
            self._is_over(TimeoutError(f"no reply within {self._seconds:g} s"))
        else:
            self._timer = loop.call_later(left, self._look, loop)
