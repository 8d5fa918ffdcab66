"""Busy-waiting, for a moment, for the answer to a lone message: a near server has answered before the kernel has woken
a process that sleeps.

A server on this machine answers within some fifty microseconds, and on a virtual machine it takes nearly as long again
until whoever sleeps is awake. So who has just had an answer, and sends the next message, keeps the event loop for a
moment from falling asleep: it does all that is due as ever, and then looks for events instead of waiting for one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from time import monotonic

#: Seconds. A lone message is sent when everything before it is answered; so if two follow each other within this time,
#: the answer took no longer. After the second, the loop is kept awake for at most as long.
LONGEST = 0.000_2

#: Turns of the loop after the answer: a message that came out of the server beside it may be for this process.
_TURNS_AFTER = 2

# Whoever stays awake on the only processor keeps it from the server.
_HAS_PROCESSORS = len(os.sched_getaffinity(0)) > 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) > 1


class Vigil:
    """The vigils of one connection, in the thread of its loop.

    :param owed: those who wait for a reply.
    """

    def __init__(self, owed: Collection[object]) -> None:
        self._owed = owed
        self._latest = 0.0  # when the latest lone message was written
        self._turns_after = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # that is kept awake

    def keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """A lone message was written now."""
        now = monotonic()
        follows_at_once = now - self._latest < LONGEST
        self._latest = now
        if follows_at_once and _HAS_PROCESSORS:
            self._turns_after = _TURNS_AFTER
            if self._loop is not loop:
                self._loop = loop
                loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            return  # the connection has moved to another loop
        if self._owed:
            goes_on = monotonic() - self._latest < LONGEST
        else:
            self._turns_after -= 1
            goes_on = self._turns_after >= 0
        if goes_on:
            loop.call_soon(self._turn, loop)
        else:
            self._loop = None
