"""The turns of a client's reader: it delivers, wakes, sees to what else there is to do, and goes to sleep."""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from .counters import hash_of
from .locks import BUSY
from .segment import IN_ORDER
from .watch import Watch

if TYPE_CHECKING:
    from .client import Client

#: Turns in a row in which a reader does nothing but deliver, while more comes.
_MOST_HURRIED = 4

#: Seconds after which a reader tries again to get the lock of its own mailbox, at first and in the end: a sender was
#: stopped while it held it.
_RETRY, _RETRY_AT_LAST = 0.002, 0.05


class Turns:
    """The turns of one client, in the loop that watches its bell."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._hurried = 0
        # In which loop a turn is to be repeated, and after how long.
        self._retrying_in: asyncio.AbstractEventLoop | None = None
        self._pause = _RETRY
        # The timer that drops what has expired: in which loop it is, and when it is due.
        self.expiring_in: asyncio.AbstractEventLoop | None = None
        self.expiring_at = math.inf

    def forget(self) -> None:
        """The client is closed: its timers are no longer in any loop."""
        self.expiring_in = self._retrying_in = None

    def hurry(self) -> bool:
        """In the loop that watches: deliver what there is, before anything else; whether there was anything.

        Who is woken by it has its turn before :meth:`take` sees to the rest, but not time after time.
        """
        client = self._client
        reader = client.reader
        if reader is None or not IN_ORDER or self._hurried >= _MOST_HURRIED:
            return False
        with client.inbox.lock:
            count = reader.peek() if client.reader is reader else 0
            if count:
                client.delivery.some(reader, count)
                self._hurried += 1
        return count > 0

    def take(self) -> None:
        """In the loop that watches: deliver, wake, and go to sleep when there is nothing."""
        try:
            self._take()
        except BaseException:
            watch = self._client.watch
            if watch is not None:
                watch.again()
            raise

    def _take(self) -> None:
        client = self._client
        inbox, watch, reader, door = client.inbox, client.watch, client.reader, client.door
        loop = asyncio._get_running_loop()
        if reader is None or door is None or watch is None or loop is not watch.loop:
            return  # what a loop that has ended does not do any more must not begin there
        if self.expiring_in is not loop:
            self.expiring_in, self.expiring_at = loop, math.inf  # a timer ends with its loop
        with inbox.lock:
            if client.reader is not reader:
                return
            # The lock is for going to sleep: while more comes, senders are not disturbed.
            count: Any = reader.peek() if IN_ORDER else 0
            if not count:
                count = door.run(client.look, reader, True, None)
            if count is not BUSY and count:
                client.delivery.some(reader, count)
            if count and self._hurried < _MOST_HURRIED:
                # Who was woken comes before what else there is to do: it waits for this message. And whoever has woken
                # this reader may still be at it.
                self._hurried += 1
                watch.soon(self.take)
                return
            self._hurried = 0
            is_marked = not inbox.has_unmarked
            if not is_marked:
                is_marked = door.run(inbox.mark_full, hash_of) is not BUSY
            is_marked = client.tell_missed(reader, door) and is_marked
            is_marked = client.normal.wake(watch.rung) and is_marked
            self._pause = _RETRY if is_marked and count is not BUSY else self._pause
            due = inbox.next_to_expire()
        if inbox.drops.unwritten or client.delivery.failures:
            client.report()
        if count is BUSY or not is_marked:
            self._retry_soon(watch, loop)
        elif count:
            watch.soon(self.take)
        if due < self.expiring_at:
            self.expiring_at = due
            watch.soon(partial(self._expire, due), max(0.0, due - time.monotonic()) + 0.001)
        if loop is not client.home.loop:
            watch.settle()  # those who waited in other loops may have gone

    def _retry_soon(self, watch: Watch, loop: asyncio.AbstractEventLoop | None) -> None:
        # Once, however often the bell rings: those who find the mailbox locked ring for it, too.
        if self._retrying_in is not loop:
            self._retrying_in = loop
            watch.soon(self._retry, self._pause)
            self._pause = min(2 * self._pause, _RETRY_AT_LAST)

    def _retry(self) -> None:
        self._retrying_in = None
        self.take()

    def _expire(self, due: float) -> None:
        if due != self.expiring_at or asyncio._get_running_loop() is not self.expiring_in:
            return  # there is another timer
        self.expiring_at = math.inf
        inbox = self._client.inbox
        with inbox.lock:
            inbox.drop_expired()
        self.take()
