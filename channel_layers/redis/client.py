"""One layer object among the clients of its servers: its identity, its inbox, its home, its part of each server."""

from __future__ import annotations

import asyncio
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from ..background import background_is_running, background_loop, in_background
from ..ending import at_exit
from ..home import Home
from ..names import new_client_id
from .normal import NormalChannels
from .outbox import Outbox, Terms
from .ring import Ring
from .server import Server
from .shard import Shard
from .unread import RedisInbox

T = TypeVar("T")
AnyShard = TypeVar("AnyShard", bound=Shard)

#: Seconds that a process waits at its end for its layers to say goodbye.
_GOODBYE = 2.0


class Client(ABC, Generic[AnyShard]):
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
        #: Part of the names of this client's channels, and of no others.
        self.mark = f".{self.id}!"
        self.terms = terms
        self.home = Home(self._moved_in, self._moved_out)
        self.servers = servers
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.send_timeout = send_timeout
        self.is_reading = False
        self.inbox: RedisInbox = self._new_inbox()
        self._ring = Ring([server.name for server in servers])
        # Server -> what somebody there says that the servers are, if it is not what this client says.
        self._differing: dict[str, str] = {}
        self._start_afresh()
        self._closing: asyncio.Task[None] | None = None
        clients.add(self)

    @abstractmethod
    def _new_inbox(self) -> RedisInbox:
        """What the readers deliver into."""

    @abstractmethod
    def _new_shard(self, server: Server) -> AnyShard:
        """This client's part of a server."""

    @abstractmethod
    def empty(self, shard: AnyShard) -> None:
        """A server was flushed: drop all that came over it. Under the lock of the inbox."""

    @abstractmethod
    async def flush(self) -> None:
        """Empty the layer for every client. In the background loop."""

    def _start_afresh(self) -> None:
        self.shards = [self._new_shard(server) for server in self.servers]
        self._only = self.shards[0] if len(self.shards) == 1 else None
        self.normal = NormalChannels(self.inbox, [shard.queues for shard in self.shards])

    def shard_of(self, name: str) -> AnyShard:
        """The server on which what concerns a channel or a group is kept: the one rule by which all verbs go."""
        return self._only or self.shards[self._ring.find(name)]

    def differs(self, server: Server, theirs: str) -> bool:
        """Note what others say at a server of their servers; whether that is news, and not said at another before."""
        is_news = theirs != "" and theirs not in self._differing.values()
        self._differing[server.name] = theirs
        return is_news

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
        shard = self.shard_of(channel)
        outbox = await self._home_outbox(shard)
        await (outbox.send(channel, payload) if outbox is not None else elsewhere(shard.send(channel, payload)))

    async def group_send(self, group: str, payload: bytes) -> None:
        """Append a message to all queues of a group, from any loop."""
        shard = self.shard_of(group)
        outbox = await self._home_outbox(shard)
        await (outbox.group_send(group, payload) if outbox is not None else elsewhere(shard.group_send(group, payload)))

    async def _home_outbox(self, shard: AnyShard) -> Outbox | None:
        return await shard.home_outbox() if asyncio.get_running_loop() is self.home.loop else None

    async def discard_queue(self, channel: str) -> None:
        """Drop what a normal channel holds, on every server, and its memberships. From any loop."""
        for shard in self.shards:
            await shard.discard_queue(channel)
        with self.inbox.lock:
            self.inbox.discard(channel)

    # Receiving

    def start_reading(self) -> None:
        """Read what is sent to this client from now on."""
        if not self.is_reading:
            self.is_reading = True
            at_exit(_close_all)
            background_loop().call_soon_threadsafe(self._start_reading)

    def _start_reading(self) -> None:
        with self.home.staying() as home:
            for shard in self.shards:
                shard.start_reading(home)

    def start_popping(self) -> None:
        """Take messages of normal channels from now on."""
        self.start_reading()
        for shard in self.shards:
            if not shard.is_popping:
                shard.is_popping = True
                background_loop().call_soon_threadsafe(self._start_popping, shard)

    def _start_popping(self, shard: AnyShard) -> None:
        with self.home.staying() as home:
            shard.start_popping(home)

    # Home

    def check_home(self) -> None:
        self.home.check()

    def _moved_in(self, home: asyncio.AbstractEventLoop) -> None:
        def move() -> None:
            with self.home.staying() as still:
                if still is home:
                    for shard in self.shards:
                        shard.move_in(home)

        background_loop().call_soon_threadsafe(move)

    def _moved_out(self) -> None:
        with self.inbox.lock:
            self.inbox.wake_unwoken()
        for shard in self.shards:
            shard.move_out()

    # The whole

    async def close(self) -> None:
        """Give back all that the servers and this process hold. In the background loop.

        Whoever calls meanwhile waits for the same end, and whoever is cancelled does not stop it halfway.
        """
        if self._closing is None:
            self._closing = background_loop().create_task(self._close())
            self._closing.add_done_callback(self._is_closed)
        await asyncio.shield(self._closing)

    def _is_closed(self, _: asyncio.Task[None]) -> None:
        self._closing = None

    async def _close(self) -> None:
        with self.inbox.lock:
            self.normal.end()
            self.inbox.close()
        self.normal.give_all_back()
        for shard in self.shards:
            await shard.queues.until_all_is_back(self.send_timeout)
            with suppress(Exception):  # a server that is away forgets us by itself
                await asyncio.wait_for(shard.leave(), self.send_timeout)
            await shard.stop()
        self.home.forget()
        self.is_reading = False
        self._start_afresh()
        with self.inbox.lock:
            self.inbox.close()  # once more, for receives that began meanwhile: the shards that they asked are gone

    async def close_connections(self) -> None:
        """Close the connections and nothing else. In the background loop."""
        for shard in self.shards:
            await shard.reconnect()

    def abandon(self) -> None:
        """After fork(): leave everything to the parent."""
        clients.discard(self)


async def elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the background loop, from any other."""
    return await asyncio.wrap_future(in_background(work))


#: All clients of this process.
clients: weakref.WeakSet[Client[Any]] = weakref.WeakSet()


def close_soon(client: Client[Any]) -> Future[None] | None:
    """Close a client whose layer nobody refers to any more. The garbage collector may call this anywhere."""
    return in_background(client.close()) if background_is_running() else None


def _close_all() -> None:
    closing = [close_soon(client) for client in tuple(clients) if client.is_reading]
    end = time.monotonic() + _GOODBYE
    for each in closing:
        with suppress(Exception):
            if each is not None:
                each.result(max(0.0, end - time.monotonic()))
