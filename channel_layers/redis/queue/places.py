"""Telling a server which places in channels are free again, and what was read and need not be kept.

It is told once in a turn of the loop, where possible with a command that goes out anyhow. While a channel has much
room, a freed place may wait up to two milliseconds, so that several are told at once. Only a sender that fills all the
other places meanwhile could notice.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...background import background_loop
from ..connection import Connection

if TYPE_CHECKING:
    from .client import QueueClient
    from .shard import QueueShard

#: Seconds for which places of channels with much room may be free without the server's knowing.
_LATER = 0.002

#: A channel has much room if the server thinks that at most one in so many of its places is taken.
_MUCH_ROOM = 8

#: After places were freed so many times, the server is told in this turn, however much room there is.
_COMPANY = 8

#: Seconds for which messages that were read may stay on the server; and, of the time that they live, how much.
_TRIM_LATER, _TRIMS = 1.0, 4

#: Of the time that messages live, how much an expired one may keep its place.
_SWEEPS = 20


class Places:
    """The places that a client has to give back to one server.

    :param patience: seconds that a reply is waited for before a full channel is looked at again.
    """

    def __init__(self, client: QueueClient, shard: QueueShard, patience: float) -> None:
        self._client = client
        self._shard = shard
        self._patience = patience
        # Channel -> places that have become free and that the server does not know of; and how
        # many times free() was called since the server was told.
        self._freed: dict[str, int] = {}
        self._times_freed = 0
        self._is_due = False  # it will be told in a moment
        self._is_urgent = False  # at the end of this turn
        self._is_later = False  # a timer of the home loop will see to it
        self._reader_will = 0  # times that the reader will do it, when those whom it woke have run
        self._on_their_way = 0  # commands that tell it and are not answered
        self._trims_later = False
        self._waiting: list[Callable[[], None]] = []

    def free(self, channel: str, places: int, unread: int, capacity: int) -> None:
        """Note places that have become free; negative ones are taken. Under the lock of the inbox.

        :param unread: messages that the channel still holds here, of as many as it can.
        """
        freed = self._freed
        untold = freed[channel] = freed.get(channel, 0) + places
        self._times_freed += 1
        if _MUCH_ROOM * (unread + untold) > capacity or self._times_freed >= _COMPANY:
            self.tell_soon(True)
        elif self._times_freed == 1:
            self.tell_soon(False)

    def forget(self) -> None:
        """The server's counters are made anew. Under the lock of the inbox."""
        self._freed = {}
        self._times_freed = 0

    def tell_soon(self, is_urgent: bool = True) -> None:
        """Tell the server what was read and taken: at the end of this turn of the loop, or, if it is not urgent and in
        the home loop, within two milliseconds. Under the lock of the inbox.
        """
        home = self._client.home.loop
        at_home = home is not None and asyncio._get_running_loop() is home
        if self._is_due and (self._is_urgent or not is_urgent):
            return
        self._is_due = True
        if home is None or not at_home:
            self._is_urgent = True
            background_loop().call_soon_threadsafe(self._tell)
        elif is_urgent:
            self._is_urgent = True
            if not self._reader_will:
                home.call_soon(self._tell)
        elif not self._is_later:
            self._is_later = True
            home.call_later(_LATER, self._tell_after_a_while)

    def _tell_after_a_while(self) -> None:
        self._is_later = False
        self._tell()

    def reader_will_tell(self) -> None:
        """The reader has delivered and will call :meth:`tell_over`. Under the lock of the inbox."""
        self._reader_will += 1

    def tell_over(self, connection: Connection) -> None:
        """Do so now, over a connection that is about to write anyhow."""
        self._reader_will -= 1
        if self._is_due and self._is_urgent:
            self._tell(connection)

    def _tell(self, over: Connection | None = None) -> None:
        loop = asyncio.get_running_loop()
        at_home = loop is not background_loop()
        connection = over or (self._shard.near if at_home else self._shard.far).connection
        if connection is not None and connection.loop is not loop:
            connection = None
        if at_home and connection is None:
            background_loop().call_soon_threadsafe(self._tell)
            return
        inbox = self._client.inbox
        with inbox.lock:
            if not self._is_due:
                return  # another loop was faster
            self._is_due = self._is_urgent = False
            if self._shard.lease.is_counting:
                return  # it is asked for again when the places have been counted
            freed = self._freed
            self.forget()
            self._on_their_way += 1
            if inbox.holds_any and not self._client.is_sweeping:
                self._client.is_sweeping = True
                background_loop().call_soon_threadsafe(self._sweep)
        if connection is None:  # the places are counted anew as soon as there is one
            self._is_told()
        else:
            self._shard.give_back(connection, freed, self._is_told)

    def _is_told(self) -> None:
        with self._client.inbox.lock:
            self._on_their_way -= 1
            if self._on_their_way or not self._waiting:
                return
            waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    def when_told(self, call: Callable[[], None]) -> None:
        """Call back when the server has heard what was free until now; at once if it has already.

        A home that blocks delays nobody: what it was to tell the server is told by the background loop, and a reply
        that it does not read is not waited for longer than a send may take.
        """
        with self._client.inbox.lock:
            waits = self._is_due or self._on_their_way > 0
            if waits:
                self._waiting.append(call)
        if not waits:
            call()
        elif asyncio._get_running_loop() is self._client.home.loop:
            self._tell()
        else:
            background = background_loop()
            background.call_soon_threadsafe(self._tell)
            background.call_soon_threadsafe(background.call_later, self._patience, self._wait_no_longer, call)

    def _wait_no_longer(self, call: Callable[[], None]) -> None:
        with self._client.inbox.lock:
            if call not in self._waiting:
                return
            self._waiting.remove(call)
        call()

    def _sweep(self) -> None:
        """Drop what has expired, as long as anything is unread: it must not keep its place."""
        with self._client.inbox.lock:
            left = self._client.inbox.next_deadline() - time.monotonic()
            self._client.is_sweeping = left < math.inf
        if self._client.inbox.drops.unwritten:
            self._client.inbox.drops.write()
        if left < math.inf:
            background_loop().call_later(max(left, self._client.inbox.expiry / _SWEEPS), self._sweep)

    def trim_later(self) -> None:
        """Something was read, and stays on the server until something is told. Under the lock of the inbox."""
        if not self._trims_later:
            self._trims_later = True
            background = background_loop()
            wait = min(_TRIM_LATER, self._client.inbox.expiry / _TRIMS)
            background.call_soon_threadsafe(background.call_later, wait, self._trim)

    def _trim(self) -> None:
        with self._client.inbox.lock:
            self._trims_later = False
            self.tell_soon()

    def lose_home(self) -> None:
        """The home loop has ended, perhaps without having had time for it."""
        self._is_later = False
        background_loop().call_soon_threadsafe(self._tell)
