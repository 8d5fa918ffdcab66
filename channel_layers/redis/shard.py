"""One server as one client sees it: its connections, its registration there, and each verb as one command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from ..background import background_loop, in_background
from ..statistics import logger
from . import mailbox, queues, scripts
from .calls import answer, ignored, release_after, run, tell
from .connection import Connection
from .errors import RedisUnavailable
from .lease import Lease
from .link import Link
from .mailbox import Mailbox
from .membership import Position, as_text, position_of
from .outbox import Outbox, Terms
from .places import Places
from .queues import Queues
from .server import Server
from .unread import RemoteInbox

#: Seconds beyond the time for which the server may let a reader wait.
_GRACE = 2.0

_DAY_MS = 86_400_000

#: Control entries that another process may leave unread.
_CONTROL_BOUND = 10_000

_NO_BOUND = 1 << 60


class Owner(Protocol):
    """What a shard tells the client it belongs to. All but ``check_home`` under the lock of the inbox."""

    @property
    def places(self) -> Places:
        """Tells the servers which places are free."""

    def empty(self) -> None:
        """The layer was flushed: drop all that is held."""

    def check_home(self) -> None:
        """A moment to look whether the home still lives; from the background loop."""


class Shard:
    """A client's part of one server."""

    def __init__(
        self,
        server: Server,
        client: str,
        inbox: RemoteInbox,
        terms: Terms,
        send_timeout: float,
        group_expiry: float | None,
        owner: Owner,
    ) -> None:
        self.server = server
        self.client = client
        self.terms = terms
        self.keys = terms.keys
        self.send_timeout = send_timeout
        #: How long keys of groups live, unless they are renewed.
        self.group_expiry_ms = None if group_expiry is None else max(1, int(group_expiry * 1000))
        self.group_ttl_ms = max(self.group_expiry_ms or 30 * _DAY_MS, terms.expiry_ms, terms.lease_ms)
        self.mailbox = Mailbox(self.keys, client, inbox, group_expiry, terms.mailbox_capacity, self)
        self.queues = Queues(self.keys, client, inbox, self._ring, self._put_back)
        self.inbox = inbox
        self.owner = owner
        self.own_keys = (self.keys.mailbox(client), self.keys.unread(client), self.keys.control(client))
        # Connections: for verbs of the home loop, for all other verbs, for the mailbox, for normal channels.
        self.near = Link(server, send_timeout, self._prepare_near, self._near_is_up, down=self._near_is_down)
        self.far = Link(server, send_timeout, self._prepare_far, self._far_is_up, scripts.LOADING)
        self.reading = Link(server, mailbox.BLOCK / 1000 + _GRACE, self._prepare_reading, self.mailbox.read)
        self.popping = Link(server, queues.BLOCK + _GRACE, up=self.queues.read)
        # Subscribed to a name of its own, so that others can see whether this process is there.
        self.presence = Link(server, send_timeout, self._prepare_presence)
        self.near_outbox: Outbox | None = None
        # That of a connection of the home loop that was lost, and those in that loop who wait for another.
        self._lost_near_outbox: Outbox | None = None
        self._waiting_for_near: list[asyncio.Future[None]] = []
        self._far_outbox: Outbox | None = None
        self.is_popping = False
        self.lease = Lease(self)
        self._was_near = False
        self._is_over = False
        self._flushed = 0  # the epoch of the latest flush that came through the mailbox

    @property
    def links(self) -> tuple[Link, ...]:
        return self.near, self.far, self.reading, self.popping, self.presence

    # Life: in the background loop

    def start_reading(self, home: asyncio.AbstractEventLoop | None) -> None:
        """Register, and read the mailbox from now on."""
        self.lease.start()
        self.presence.start()
        self.far.start()
        self.reading.start(home)

    def start_popping(self, home: asyncio.AbstractEventLoop | None) -> None:
        """Take messages of normal channels from now on."""
        self.start_reading(home)
        self.popping.start(home)

    def move_in(self, home: asyncio.AbstractEventLoop) -> None:
        """Let the home loop drive the connections that serve it."""
        self.near.start(home)
        for link in (self.near, self.reading, self.popping):
            link.move(home)

    def move_out(self) -> None:
        """The home loop ends: in its thread, or when it does not run any more."""
        self.near_outbox = self._lost_near_outbox = None
        for link in (self.near, self.reading, self.popping):
            link.come_back()

    async def stop(self) -> None:
        """Close all connections, for good: the layer goes on with another shard."""
        self._is_over = True
        self.lease.stop()
        for link in self.links:
            await link.stop()

    async def reconnect(self) -> None:
        """Close all connections; those in use are made anew."""
        for link in self.links:
            link.restart()

    async def leave(self) -> None:
        """Take back all that the server holds of this client."""
        if not await self.lease.give_up():
            return
        connection = await self.far_connection()
        position = as_text(self.mailbox.control_position)
        for group in self.mailbox.memberships.groups():
            connection.ask(scripts.delist.call((self.keys.group(group),), self.client, position), ignored)
        keys = (*self.own_keys, self.keys.early(self.client), self.keys.wake(self.client))
        await connection.answer("UNLINK", *keys)

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
        end = time.monotonic() + self.send_timeout
        while self._lost_near_outbox is not None:
            up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting_for_near.append(up)
            try:
                await asyncio.wait_for(up, end - time.monotonic())
            except asyncio.TimeoutError as error:
                raise self._waited(self.far.failure or self.near.failure or error) from error
        return self.near_outbox

    async def far_outbox(self) -> Outbox:
        await self.far_connection()
        if self._far_outbox is None:
            raise RedisUnavailable(f"Redis at {self.server.label} is away")
        return self._far_outbox

    async def far_connection(self) -> Connection:
        """The connection that the background loop drives, waiting for it no longer than a send may take."""
        if self._is_over:
            raise RedisUnavailable("the layer was closed meanwhile")
        self.far.start()
        try:
            return await self.far.ready(self.send_timeout)
        except asyncio.TimeoutError as error:
            raise self._waited(self.far.failure or error) from error

    def _waited(self, failure: Exception) -> RedisUnavailable:
        text = str(failure) or f"Redis at {self.server.label} does not answer"
        error = RedisUnavailable(f"{text}; waited {self.send_timeout:g} s")
        error.__cause__ = failure
        return error

    async def change(self, what: str, client: str, group: str, channel: str) -> Position | None:
        """Begin or end a membership of a process's channel, or discard the channel: the position of the entry."""
        control = self.keys.control(client)
        listed_in = self.keys.group(group) if group else control
        keys = (control, self.keys.mailbox(client), listed_in, self.keys.early(client))
        bound = _NO_BOUND if client == self.client else _CONTROL_BOUND
        times_lost = self.mailbox.times_lost
        entry = await self.ask(scripts.control, keys, what, client, group, channel, self.group_ttl_ms, bound)
        if entry is None:
            raise RedisUnavailable(
                f"the process of {channel!r} has left {_CONTROL_BOUND} changes of its memberships unread"
            )
        if not entry:
            return None
        position = position_of(entry)
        if client == self.client:
            with self.inbox.lock:
                self.mailbox.promise(position, what, group, channel)
            if self.mailbox.times_lost != times_lost:  # perhaps with this
                return await self.change(what, client, group, channel)
        return position

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

    def give_back(self, connection: Connection, freed: dict[str, int], done: Callable[[], None]) -> None:
        """Tell the server what was read and which places are free. In the thread of the connection's loop."""
        pairs = [word for pair in freed.items() for word in pair]
        with self.inbox.lock:
            trim = self.mailbox.trim()
        keys = (self.own_keys[0], self.own_keys[2], self.own_keys[1])
        tell(connection, scripts.give_back, keys, *trim, *pairs, then=done)

    # What must have happened on a new connection: in the background loop

    async def _prepare_near(self, _: Connection) -> None:
        if self._was_near:  # what was given back over the connection before may have been lost
            await self.lease.register(await self.far.ready())
        self._was_near = True

    async def _prepare_far(self, connection: Connection) -> None:
        await self.lease.register(connection)

    async def _prepare_reading(self, _: Connection) -> None:
        await self.lease.register(await self.far.ready())

    async def _prepare_presence(self, connection: Connection) -> None:
        await answer(connection, "SUBSCRIBE", self.keys.presence(self.client))

    def _near_is_up(self, connection: Connection) -> None:
        if connection.loop is not background_loop():
            connection.hold()  # what this loop has asked before, over the other connection, comes first
            in_background(release_after(self.far_connection(), connection))
            self.near_outbox = Outbox(connection, self.terms, self._missed, self._lost_near_outbox)
            self._lost_near_outbox = None
            waiting, self._waiting_for_near = self._waiting_for_near, []
            for up in waiting:
                if not up.done():
                    up.set_result(None)

    def _near_is_down(self) -> None:
        if self.near_outbox is not None:
            self._lost_near_outbox, self.near_outbox = self.near_outbox, None

    def _far_is_up(self, connection: Connection) -> None:
        self._far_outbox = Outbox(connection, self.terms, self._missed, self._far_outbox)
        self.queues.ring_again()

    def _missed(self, channel: str) -> None:
        with self.inbox.lock:
            self.inbox.miss(channel)
        self.inbox.drops.write()

    # What the readers ask for

    def has_read_some(self) -> None:
        self.owner.places.trim_later()

    def has_read(self) -> None:
        self.owner.places.tell_soon()

    def will_give_back(self) -> None:
        self.owner.places.reader_will_tell()

    def give_back_over(self, connection: Connection) -> None:
        self.owner.places.tell_over(self, connection)

    def has_no_members(self, group: str) -> None:
        position = as_text(self.mailbox.control_position)
        self.tell(scripts.delist, (self.keys.group(group),), self.client, position)

    def is_flushed(self, epoch: int, acknowledge_to: str) -> bool:
        if is_new := epoch > self._flushed:
            self._flushed = epoch
            self.lease.epoch = max(epoch, self.lease.epoch or 0)
            self.owner.empty()
        for flushed in acknowledge_to.split():
            self.tell(scripts.acknowledge, (flushed,), self.client, self.terms.lease_ms)
        self.has_read()  # so that the command goes, and nobody else repeats it
        return is_new

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
