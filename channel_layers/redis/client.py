"""One layer object among the clients of its servers: its identity, its inbox, its home, its part of each server."""

from __future__ import annotations

import asyncio
import atexit
import math
import time
import weakref
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from ..background import background_loop, in_background
from ..names import new_client_id
from .flush import flush
from .home import Home
from .outbox import Outbox, Terms
from .server import Server
from .shard import Shard
from .unread import RemoteInbox

T = TypeVar("T")

#: Seconds that a process waits at its end for its layers to say goodbye.
_GOODBYE = 2.0

#: Of the time that messages live, how much an expired one may keep its place.
_SWEEPS = 20


class Client:
    """What a Redis layer does, but for names and encoding. It lives until it is closed; the layer may go before."""

    def __init__(
        self,
        servers: Sequence[Server],
        terms: Terms,
        expiry: float,
        group_expiry: float | None,
        send_timeout: float,
    ) -> None:
        self.id = new_client_id()
        self.terms = terms
        self.inbox = RemoteInbox(expiry, terms.capacity_of, self.give_back_soon, terms.drop_old)
        self.home = Home(self._moved_in, self._moved_out)
        self._servers = servers
        self._send_timeout = send_timeout
        self._group_expiry = group_expiry
        self._giving_back = False  # it will be done in a moment
        self._on_their_way = 0  # commands that do it and are not answered
        self._waiting_for_places: list[Callable[[], None]] = []
        self._sweeping = False
        self.is_reading = False
        self.shards = self._new_shards()
        _clients.add(self)

    def _new_shards(self) -> list[Shard]:
        return [
            Shard(server, self.id, self.inbox, self.terms, self._send_timeout, self._group_expiry, self)
            for server in self._servers
        ]

    def shard_of(self, name: str) -> Shard:
        """The server on which what concerns a channel or a group is kept."""
        return self.shards[0]

    # Sending

    def outbox(self, name: str) -> Outbox | None:
        """How to send to a channel or group without changing threads: only in the home loop."""
        loop = asyncio.get_running_loop()
        if loop is self.home.loop:
            return self.shard_of(name).near_outbox
        self.home.call(loop)
        return None

    async def send(self, channel: str, payload: bytes) -> None:
        """Append a message to a channel, from any loop."""
        await elsewhere(self.shard_of(channel).send(channel, payload))

    async def group_send(self, group: str, payload: bytes) -> None:
        """Append a message to all queues of a group, from any loop."""
        await elsewhere(self.shard_of(group).group_send(group, payload))

    # Receiving

    def start_reading(self) -> None:
        """Read what is sent to this client from now on."""
        if not self.is_reading:
            self.is_reading = True
            background_loop().call_soon_threadsafe(self._start_reading)

    def _start_reading(self) -> None:
        for shard in self.shards:
            shard.start_reading(self.home.loop)

    def start_popping(self) -> None:
        """Take messages of normal channels from now on."""
        self.is_reading = True
        for shard in self.shards:
            if not shard.is_popping:
                shard.is_popping = True
                background_loop().call_soon_threadsafe(self._start_popping, shard)

    def _start_popping(self, shard: Shard) -> None:
        shard.start_popping(self.home.loop)

    async def until_applied(self, shard: Shard, entry: Any) -> None:
        """Wait until a change of memberships has got through to this client's reader."""
        loop = asyncio.get_running_loop()
        applied = loop.create_future()

        def end() -> None:
            if not applied.done():
                applied.set_result(None)

        def settle() -> None:
            with suppress(RuntimeError):  # that loop is closed: nobody waits
                loop.call_soon_threadsafe(end)

        with self.inbox.lock:
            shard.mailbox.when_applied(entry, settle)
        await asyncio.wait_for(applied, self._send_timeout)

    # What is free again

    def give_back_soon(self) -> None:
        """Tell the servers what was read and taken, once in this turn of the loop. Under the lock of the inbox."""
        if self._giving_back:
            return
        self._giving_back = True
        home = self.home.loop
        if home is not None and asyncio._get_running_loop() is home:
            home.call_soon(self._give_back)
        else:
            background_loop().call_soon_threadsafe(self._give_back)

    def _give_back(self) -> None:
        loop = asyncio.get_running_loop()
        at_home = loop is not background_loop()
        connections = [(shard.near if at_home else shard.far).connection for shard in self.shards]
        if at_home and None in connections:
            background_loop().call_soon_threadsafe(self._give_back)
            return
        with self.inbox.lock:
            self._giving_back = False
            if any(shard.lease.is_counting for shard in self.shards):
                return  # it is asked for again when the places have been counted
            freed = self.inbox.take_freed()
            self._on_their_way += len(self.shards)
            if self.inbox.holds_any and not self._sweeping:
                self._sweeping = True
                background_loop().call_soon_threadsafe(self._sweep)
        for shard, connection in zip(self.shards, connections, strict=True):
            if connection is None:  # the places are counted anew as soon as there is one
                self._have_given_back()
            elif len(self.shards) == 1:
                shard.give_back(connection, freed, self._have_given_back)
            else:
                mine = {channel: places for channel, places in freed.items() if self.shard_of(channel) is shard}
                shard.give_back(connection, mine, self._have_given_back)

    def _have_given_back(self) -> None:
        with self.inbox.lock:
            self._on_their_way -= 1
            if self._on_their_way or not self._waiting_for_places:
                return
            waiting, self._waiting_for_places = self._waiting_for_places, []
        for call in waiting:
            call()

    def when_given_back(self, call: Callable[[], None]) -> None:
        """Call back when the servers have heard what was free until now; at once if they have already."""
        with self.inbox.lock:
            if self._giving_back or self._on_their_way:
                self._waiting_for_places.append(call)
                return
        call()

    def _sweep(self) -> None:
        """Drop what has expired, as long as anything is unread: it must not keep its place."""
        with self.inbox.lock:
            left = self.inbox.next_deadline() - time.monotonic()
            self._sweeping = left < math.inf
        if self.inbox.drops.unwritten:
            self.inbox.drops.write()
        if left < math.inf:
            background_loop().call_later(max(left, self.inbox.expiry / _SWEEPS), self._sweep)

    # Home

    def check_home(self) -> None:
        self.home.check()

    def _moved_in(self, home: asyncio.AbstractEventLoop) -> None:
        def move() -> None:
            if self.home.loop is home:
                for shard in self.shards:
                    shard.move_in(home)

        background_loop().call_soon_threadsafe(move)

    def _moved_out(self) -> None:
        for shard in self.shards:
            shard.move_out()

    # The whole

    def empty(self) -> None:
        """Drop all that is held. Under the lock of the inbox."""
        self.inbox.clear("flushed")
        for shard in self.shards:
            shard.mailbox.memberships.clear()

    async def flush(self) -> None:
        """Empty the layer for every client. In the background loop."""
        for shard in self.shards:
            await flush(shard)
        with self.inbox.lock:
            self.empty()

    async def close(self) -> None:
        """Give back all that the servers and this process hold. In the background loop."""
        if self.is_reading:
            for shard in self.shards:
                shard.queues.give_all_back()
        with self.inbox.lock:
            self.inbox.close()
        for shard in self.shards:
            with suppress(Exception):  # a server that is away forgets us by itself
                await asyncio.wait_for(shard.leave(), self._send_timeout)
            await shard.stop()
        self.is_reading = False
        self.shards = self._new_shards()

    async def close_connections(self) -> None:
        """Close the connections and nothing else. In the background loop."""
        for shard in self.shards:
            await shard.reconnect()

    def abandon(self) -> None:
        """After fork(): leave everything to the parent."""
        _clients.discard(self)
        for shard in self.shards:
            shard.abandon()


async def elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the background loop, from any other."""
    return await asyncio.wrap_future(in_background(work))


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def when_given_back(client_id: str, call: Callable[[], None]) -> bool:
    """:meth:`Client.when_given_back` of the client of that id; False if it is none of this process."""
    for client in tuple(_clients):
        if client.id == client_id:
            client.when_given_back(call)
            return True
    return False


def close_soon(client: Client) -> Future[None]:
    """Close a client whose layer nobody refers to any more."""
    return in_background(client.close())


@atexit.register
def _close_all() -> None:
    closing = [close_soon(client) for client in tuple(_clients) if client.is_reading]
    end = time.monotonic() + _GOODBYE
    for each in closing:
        with suppress(Exception):
            each.result(max(0.0, end - time.monotonic()))
