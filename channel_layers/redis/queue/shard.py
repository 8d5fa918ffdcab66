"""One server as one client of the queue layer sees it: its mailbox there, and the lease that keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .. import scripts
from ..calls import answer, ignored, tell
from ..connection import Connection
from ..errors import RedisUnavailable
from ..link import Link
from ..outbox import Outbox, Terms
from ..server import Server
from ..shard import GRACE, Shard
from . import mailbox
from .changes import Change
from .counted import CountedInbox
from .lease import Lease
from .mailbox import Mailbox
from .membership import Position, as_text, position_of
from .outbox import QueueOutbox
from .places import Places

if TYPE_CHECKING:
    from .client import QueueClient

#: Control entries that another process may leave unread.
_CONTROL_BOUND = 10_000

_NO_BOUND = 1 << 60


class QueueShard(Shard):
    """A client's part of one server, in which unread messages wait."""

    inbox: CountedInbox
    owner: QueueClient

    def __init__(
        self,
        server: Server,
        client: str,
        inbox: CountedInbox,
        terms: Terms,
        send_timeout: float,
        group_expiry: float | None,
        owner: QueueClient,
    ) -> None:
        bound, lease_ms = terms.mailbox_capacity, terms.lease_ms
        self.mailbox = Mailbox(terms.keys, client, inbox, group_expiry, bound, lease_ms, self)
        super().__init__(server, client, inbox, terms, send_timeout, group_expiry)
        self.owner = owner
        #: Tells the server which places are free.
        self.places = Places(owner, self, send_timeout)
        self.own_keys = (self.keys.mailbox(client), self.keys.unread(client), self.keys.control(client))
        # Subscribed to a name of its own, so that others can see whether this process is there.
        self.presence = Link(server, send_timeout, self._prepare_presence)
        self.lease = Lease(self)
        self._was_near = False
        self._flushed = 0  # the epoch of the latest flush that came through the mailbox

    @property
    def links(self) -> tuple[Link, ...]:
        return *super().links, self.presence

    def _new_reading_link(self) -> Link:
        return Link(self.server, mailbox.BLOCK / 1000 + GRACE, self._prepare_reading, self.mailbox.read)

    def _new_outbox(self, connection: Connection, before: Outbox | None) -> Outbox:
        return QueueOutbox(
            connection, self.terms, self._missed, partial(self.owner.when_given_back, self.server), before
        )

    def start_reading(self, home: asyncio.AbstractEventLoop | None) -> None:
        """Register, and read the mailbox from now on."""
        if self.is_over:
            return
        self.lease.start()
        self.presence.start()
        self.far.start()
        self.reading.start(home)

    async def stop(self) -> None:
        self.lease.stop()
        await super().stop()

    async def leave(self) -> None:
        """Take back all that the server holds of this client."""
        await super().leave()
        if not await self.lease.give_up():
            return
        connection = await self.far_connection()
        position = as_text(self.mailbox.changes.position)
        for group in self.mailbox.memberships.groups():
            connection.ask(scripts.delist.call((self.keys.group(group),), self.client, position), ignored)
        keys = (*self.own_keys, self.keys.early(self.client), self.keys.wake(self.client))
        await connection.answer("UNLINK", *keys)

    async def until_present(self) -> None:
        """Wait until others can see that this process is there.

        :raises RedisUnavailable: if that takes longer than a send may.
        """
        try:
            await self.presence.ready(self.send_timeout)
        except asyncio.TimeoutError:
            raise self._waited()  # noqa: B904 - it has its cause, which a "from" would replace

    # Verbs

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
                self.mailbox.changes.promise(position, Change(what, group, channel))
            if self.mailbox.times_lost != times_lost:  # perhaps with this
                return await self.change(what, client, group, channel)
        return position

    def give_back(self, connection: Connection, freed: dict[str, int], done: Callable[[], None]) -> None:
        """Tell the server what was read and which places are free. In the thread of the connection's loop."""
        pairs = [word for pair in freed.items() for word in pair]
        with self.inbox.lock:
            trim, epoch = self.mailbox.trim(), self.lease.epoch or 0
        mailbox, unread, control = self.own_keys
        keys = (mailbox, control, unread, self.keys.epoch)
        tell(connection, scripts.give_back, keys, *trim, epoch, *pairs, then=done)

    # What must have happened on a new connection: in the background loop

    async def _prepare_near(self, _: Connection) -> None:
        if self._was_near:  # what was given back over the connection before may have been lost
            await self.lease.register(await self.far.ready())
        self._was_near = True

    async def _prepare_far(self, connection: Connection) -> None:
        await self.agree(connection)
        await self.lease.register(connection)

    async def _prepare_reading(self, _: Connection) -> None:
        await self.lease.register(await self.far.ready())

    async def _prepare_presence(self, connection: Connection) -> None:
        await answer(connection, "SUBSCRIBE", self.keys.presence(self.client))

    # What the readers ask for

    def has_read_some(self) -> None:
        self.places.trim_later()

    def has_read(self) -> None:
        self.places.tell_soon()

    def will_give_back(self) -> None:
        self.places.reader_will_tell()

    def give_back_over(self, connection: Connection) -> None:
        self.places.tell_over(connection)

    def holds(self, channel: str) -> bool:
        return self.owner.shard_of(channel) is self

    def forget_members(self, channel: str) -> None:
        """End the memberships of a channel of this client here. Under the lock of the inbox."""
        for group in self.mailbox.forget_members(channel):
            self.has_no_members(group)

    def has_no_members(self, group: str) -> None:
        position = as_text(self.mailbox.changes.position)
        self.tell(scripts.delist, (self.keys.group(group),), self.client, position)

    def may_be_unlisted(self, group: str) -> None:
        self.tell(scripts.list_again, (self.keys.group(group),), self.client, self.group_ttl_ms)

    def is_flushed(self, epoch: int, acknowledge_to: str) -> bool:
        if is_new := epoch > self._flushed:
            self._flushed = epoch
            self.lease.epoch = max(epoch, self.lease.epoch or 0)
            self.owner.empty(self)
        for flushed in acknowledge_to.split():
            self.tell(scripts.acknowledge, (flushed,), self.client, self.terms.lease_ms)
        self.has_read()  # so that the command goes, and nobody else repeats it
        return is_new
