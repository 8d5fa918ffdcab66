"""One server as one client sees it: its connections, its registration there, and each verb as one command."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..background import background_loop, in_background
from ..statistics import logger
from . import normal, scripts
from .calls import answer, release_after, run, tell
from .connection import Connection
from .errors import RedisUnavailable
from .futures import end
from .link import Link
from .normal import Queues
from .outbox import Outbox, Terms
from .server import Server
from .unread import RedisInbox

if TYPE_CHECKING:
    from .client import Client

#: Seconds beyond the time for which the server may let a reader wait.
GRACE = 2.0

_DAY_MS = 86_400_000


class Shard(ABC):
    """A client's part of one server."""

    owner: Client[Any]

    def __init__(
        self,
        server: Server,
        client: str,
        inbox: RedisInbox,
        terms: Terms,
        send_timeout: float,
        group_expiry: float | None,
    ) -> None:
        self.server = server
        self.client = client
        self.terms = terms
        self.keys = terms.keys
        self.send_timeout = send_timeout
        self.inbox = inbox
        #: How long keys of groups live, unless they are renewed.
        self.group_expiry_ms = None if group_expiry is None else max(1, int(group_expiry * 1000))
        self.group_ttl_ms = max(self.group_expiry_ms or 30 * _DAY_MS, terms.expiry_ms, terms.lease_ms)
        self.queues = Queues(self.keys, client, inbox, self._ring, self._put_back)
        # Connections: for verbs of the home loop, for all other verbs, for what is sent to this client, for normal
        # channels.
        self.near = Link(server, send_timeout, self._prepare_near, self._near_is_up, down=self._near_is_down)
        self.far = Link(server, send_timeout, self._prepare_far, self._far_is_up, self._loading)
        self.reading = self._new_reading_link()
        self.popping = Link(server, normal.BLOCK + GRACE, up=self.queues.read)
        self.near_outbox: Outbox | None = None
        # That of a connection of the home loop that was lost, and those in that loop who wait for another.
        self._lost_near_outbox: Outbox | None = None
        self._waiting_for_near: dict[asyncio.Future[None], None] = {}
        self._far_outbox: Outbox | None = None
        self.is_popping = False
        #: Whether its connections were closed for good: the layer goes on with another shard.
        self.is_over = False

    @property
    def links(self) -> tuple[Link, ...]:
        """All connections."""
        return self.near, self.far, self.reading, self.popping

    @property
    def _in_the_home(self) -> tuple[Link, ...]:
        return self.near, self.reading, self.popping

    # What the two ways of sending to a process do in their own way

    #: Commands that a connection for verbs begins with.
    _loading: tuple[tuple[str, ...], ...] = scripts.LOADING

    @abstractmethod
    def _new_reading_link(self) -> Link:
        """The connection over which comes what is sent to this client."""

    @abstractmethod
    def _new_outbox(self, connection: Connection, before: Outbox | None) -> Outbox:
        """How to send over a connection."""

    @abstractmethod
    def start_reading(self, home: asyncio.AbstractEventLoop | None) -> None:
        """Take what is sent to this client from now on. In the background loop, like all that follows."""

    async def leave(self) -> None:
        """Take back all that the server holds of this client."""
        if self.far.connection is not None:  # others that live say it again
            await answer(self.far.connection, "UNLINK", self.keys.servers)

    async def _prepare_near(self, connection: Connection) -> None:
        """What must have happened on a new connection of the home loop before it is used."""
        return

    async def _prepare_far(self, connection: Connection) -> None:
        """The same for one of the background loop."""
        return

    async def agree(self, connection: Connection) -> None:
        """Warn if others with this prefix spread their names over other servers: then they miss each other."""
        ours, ttl = self.terms.servers, 3 * self.terms.lease_ms
        theirs = (await run(connection, scripts.agree, (self.keys.servers,), ours, ttl) or b"").decode()
        if self.owner.differs(self.server, theirs):
            logger.warning(
                "Processes that share Redis at %s and its prefix do not have the same hosts, and so miss each other's "
                "messages: this one has %s; another has %s",
                self.server.label,
                _listed(ours, theirs),
                _listed(theirs, ours),
            )

    # Life: in the background loop

    def start_popping(self, home: asyncio.AbstractEventLoop | None) -> None:
        """Take messages of normal channels from now on."""
        if not self.is_over:  # who asked did so while the layer was closed
            self.start_reading(home)
            self.popping.start(home)

    def move_in(self, home: asyncio.AbstractEventLoop) -> None:
        """Let the home loop drive the connections that serve it."""
        if self.is_over:
            return
        self.near.start(home)
        for link in self._in_the_home:
            link.move(home)

    def move_out(self) -> None:
        """The home loop ends: in its thread, or when it does not run any more."""
        self.near_outbox = self._lost_near_outbox = None
        for link in self._in_the_home:
            link.come_back()

    async def stop(self) -> None:
        """Close all connections, for good."""
        self.is_over = True
        for link in self.links:
            await link.stop()

    async def reconnect(self) -> None:
        """Close all connections; those in use are made anew."""
        for link in self.links:
            link.restart()

    # Verbs

    async def send(self, channel: str, payload: bytes) -> None:
        """Append a message to a channel, from the background loop."""
        await (await self.far_outbox()).send(channel, payload)

    async def group_send(self, group: str, payload: bytes) -> None:
        """Append a message to all queues of a group, from the background loop."""
        await (await self.far_outbox()).group_send(group, payload)

    async def home_outbox(self) -> Outbox | None:
        """How to send from the home loop, as soon as that is possible again; None if it has not been until now.

        It is waited for, and not gone around: the server may come late to what was sent over a connection that is
        lost, and only the numbers of one and the same writer tell that later messages have come before.
        """
        until = time.monotonic() + self.send_timeout
        while self._lost_near_outbox is not None:
            up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting_for_near[up] = None
            try:
                done, _ = await asyncio.wait({up}, timeout=until - time.monotonic())
            finally:
                self._waiting_for_near.pop(up, None)
            if not done:
                raise self._waited()
        return self.near_outbox

    async def far_outbox(self) -> Outbox:
        await self.far_connection()
        if self._far_outbox is None:
            raise RedisUnavailable(f"Redis at {self.server.label} is away")
        return self._far_outbox

    async def far_connection(self) -> Connection:
        """The connection that the background loop drives, waiting for it no longer than a send may take."""
        if self.is_over:
            raise RedisUnavailable("the layer was closed meanwhile")
        self.far.start()
        try:
            return await self.far.ready(self.send_timeout)
        except asyncio.TimeoutError:
            raise self._waited()  # noqa: B904 - it has its cause, which a "from" would replace

    def _waited(self) -> RedisUnavailable:
        """What to raise when a verb has waited long enough; with its cause, if anything is known of it."""
        failure = next((link.failure for link in (self.far, *self.links) if link.failure is not None), None)
        text = failure or f"Redis at {self.server.label} does not answer"
        error = RedisUnavailable(f"{text}; waited {self.send_timeout:g} s")
        error.__cause__ = asyncio.TimeoutError() if failure is None else failure.__cause__ or failure
        return error

    async def join_queue(self, group: str, channel: str, capacity: int) -> None:
        """Make a normal channel a member of a group."""
        keys = (self.keys.group(group), self.keys.groups(channel))
        expiry_ms = self.group_expiry_ms or 0
        await self.ask(scripts.queue_join, keys, channel, group, expiry_ms, capacity, self.group_ttl_ms)

    async def leave_queue(self, group: str, channel: str) -> None:
        """End the membership of a normal channel."""
        await self.ask(scripts.queue_leave, (self.keys.group(group), self.keys.groups(channel)), channel, group)

    async def discard_queue(self, channel: str) -> None:
        """Drop what a normal channel holds, and its memberships."""
        if asyncio.get_running_loop() is not background_loop():
            await asyncio.wrap_future(in_background(self.discard_queue(channel)))
            return
        connection = await self.far_connection()
        groups = await answer(connection, "SMEMBERS", self.keys.groups(channel))
        for group in groups:
            await self.leave_queue(group.decode(), channel)
        await answer(connection, "UNLINK", self.keys.queue(channel))

    async def ask(self, script: scripts.Script, keys: tuple[str, ...], *args: Any) -> Any:
        """Run a script, from any loop, over the connection that serves it.

        :raises RedisUnavailable: if the server is away, or refuses.
        """
        loop = asyncio.get_running_loop()
        near = self.near.connection
        if near is not None and near.loop is loop:
            return await run(near, script, keys, *args)
        if loop is background_loop():
            return await run(await self.far_connection(), script, keys, *args)
        return await asyncio.wrap_future(in_background(self.ask(script, keys, *args)))

    def tell(self, script: scripts.Script, keys: tuple[str, ...], *args: Any) -> None:
        """Run a script some time soon, if the server is there; from any thread."""
        background_loop().call_soon_threadsafe(self._tell, script, keys, args)

    def _tell(self, script: scripts.Script, keys: tuple[str, ...], args: tuple[Any, ...]) -> None:
        if self.far.connection is not None:
            tell(self.far.connection, script, keys, *args)

    # Connections come and go

    def _near_is_up(self, connection: Connection) -> None:
        if connection.loop is not background_loop():
            connection.hold()  # what this loop has asked before, over the other connection, comes first
            in_background(release_after(self.far_connection(), connection))
            self.near_outbox = self._new_outbox(connection, self._lost_near_outbox)
            self._lost_near_outbox = None
            for up in self._waiting_for_near:
                end(up)

    def _near_is_down(self) -> None:
        if self.near_outbox is not None:
            self._lost_near_outbox, self.near_outbox = self.near_outbox, None

    def _far_is_up(self, connection: Connection) -> None:
        self._far_outbox = self._new_outbox(connection, self._far_outbox)
        self.queues.ring_again()

    def _missed(self, channel: str) -> None:
        with self.inbox.lock:
            self.inbox.miss(channel)
        self.inbox.drops.write()

    # What the reader of normal channels asks for

    def _ring(self) -> None:
        self.tell(scripts.ring, (self.keys.wake(self.client),), self.terms.lease_ms)

    def _put_back(self, channel: str, elements: list[bytes], done: Callable[[], None]) -> None:
        in_background(self._put_back_now(channel, elements, done))

    async def _put_back_now(self, channel: str, elements: list[bytes], done: Callable[[], None]) -> None:
        try:
            connection = await self.far.ready()  # nothing has been sent until then, so that one can wait for it
            await run(connection, scripts.put_back, (self.keys.queue(channel),), self.terms.expiry_ms, *elements)
        except RedisUnavailable as error:  # it may be there or not: repeating it could deliver it twice
            logger.warning("%d messages taken from %r may be lost: %s", len(elements), channel, error)
        finally:
            done()


def _listed(some: str, others: str) -> str:
    """Those of some servers that are not among the others."""
    only = [name for name in some.split("\n") if name not in others.split("\n")]
    return f"{', '.join(only) or 'no host'} besides those that both have"
