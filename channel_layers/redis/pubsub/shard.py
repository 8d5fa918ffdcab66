"""One server as one client of the Pub/Sub layer sees it: what it is subscribed to there, and what comes of it."""

from __future__ import annotations

import asyncio
import struct
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from ...background import background_loop, in_background
from ...remote import GroupMessage
from ...statistics import logger
from .. import scripts
from ..calls import answer, run
from ..connection import Connection
from ..errors import RedisUnavailable
from ..link import Link
from ..outbox import Outbox, Terms
from ..server import Server
from ..shard import Shard
from ..unread import RedisInbox
from ..writers import Writers
from .clock import ServerClock
from .envelope import HEAD, entries
from .keys import PubSubKeys
from .members import Attempt, LocalGroups
from .outbox import PubSubOutbox
from .requests import MalformedRequestError, Requests
from .room import LocalRoom
from .subscriber import Message, Subscriber
from .subscriptions import Confirmation, Confirmed, Subscriptions

if TYPE_CHECKING:
    from .client import PubSubClient

#: Seconds between two looks whether the server is still there, and for which it may take to say so.
_PULSE, _PATIENCE = 4.0, 2.0

#: Writers of this client that are known as such: the latest. Of others, no message is on its way any more.
_OWN_WRITERS = 1000


class PubSubShard(Shard):
    """A client's part of one server, at which nothing waits."""

    owner: PubSubClient

    def __init__(
        self,
        server: Server,
        client: str,
        inbox: RedisInbox,
        terms: Terms,
        send_timeout: float,
        group_expiry: float | None,
        owner: PubSubClient,
        prefix: str,
    ) -> None:
        self.owner = owner
        self.published = PubSubKeys(prefix, server.database)
        super().__init__(server, client, inbox, replace(terms, keys=self.published), send_timeout, group_expiry)
        self.clock = ServerClock()
        self.groups = LocalGroups(group_expiry, lambda group: self.subscriptions.drop(self._name_of(group)))
        self.subscriptions = Subscriptions(inbox.lock)
        self.requests = Requests(self)
        #: Whether the server has confirmed once that what is sent to this client arrives.
        self.is_ready = False
        #: The latest flush that was heard of; None until the server was asked.
        self.epoch: int | None = None
        self._mailbox_name = self.keys.mailbox(client).encode()
        self._everyone_name = self.published.everyone.encode()
        self._group_prefix = self.keys.group("")
        self._writers = Writers()
        self._own_writers: dict[int, None] = {}
        self._room = LocalRoom(inbox, terms.drop_old)
        #: Whether what is sent to this client may be missed, after it was not.
        self.is_out_of_touch = False
        self._pulse_task: asyncio.Task[None] | None = None
        with inbox.lock:
            self.subscriptions.want(self.keys.mailbox(client))
            self.subscriptions.want(self.published.everyone)

    def _new_reading_link(self) -> Link:
        return Link(
            self.server,
            _PATIENCE,
            self._prepare_reading,
            self._reading_is_up,
            down=self._reading_is_down,
            kind=Subscriber,
        )

    def _new_outbox(self, connection: Connection, before: Outbox | None) -> Outbox:
        outbox = PubSubOutbox(
            connection, self.terms, self._missed, self.published, self.clock, self.client, self._room, before
        )
        self._own_writers[outbox.writer] = None
        if len(self._own_writers) > _OWN_WRITERS:
            del self._own_writers[next(iter(self._own_writers))]
        return outbox

    # Life: in the background loop

    def start_reading(self, home: asyncio.AbstractEventLoop | None) -> None:
        """Subscribe, and take what comes from now on."""
        if self.is_over:
            return
        self.far.start()
        self.reading.start(home)
        if self._pulse_task is None:
            self._pulse_task = background_loop().create_task(self._pulse())

    async def stop(self) -> None:
        if self._pulse_task is not None:
            self._pulse_task.cancel()
            self._pulse_task = None
        await super().stop()

    async def leave(self) -> None:
        """Take back all that the server holds of this client: its subscriptions end with the connection."""
        await super().leave()
        if self.is_popping:
            await (await self.far_connection()).answer("UNLINK", self.keys.wake(self.client))

    async def _prepare_near(self, connection: Connection) -> None:
        await self._ask_time(connection)

    async def _prepare_far(self, connection: Connection) -> None:
        await self._ask_time(connection)
        await self.agree(connection)

    async def _ask_time(self, connection: Connection) -> None:
        told = Confirmation()
        self.clock.ask(connection, lambda reply: told.settle(reply if isinstance(reply, Exception) else None))
        if not await told.came(_PATIENCE):  # ages that were made up would expire messages
            raise RedisUnavailable(f"Redis at {connection.server} does not tell the time")

    async def _prepare_reading(self, connection: Connection) -> None:
        subscriber = cast("Subscriber", connection)
        subscriber.on_messages = self._deliver
        await self.subscriptions.renew(connection)
        try:
            epoch = await subscriber.while_it_lasts(self._ask_epoch())
        except BaseException:  # all was subscribed to, and who waited for that was told so
            self._reading_is_down()
            raise
        with self.inbox.lock:
            self._notice(epoch)

    async def _ask_epoch(self) -> int:
        return int(await answer(await self.far.ready(), "GET", self.published.epoch) or 0)

    def _reading_is_up(self, connection: Connection) -> None:
        self.subscriptions.ask_now(connection)
        with self.inbox.lock:
            if self.is_out_of_touch:
                self.is_out_of_touch = False
                # The server may have counted the connection that was lost among those that got a message.
                self._room.forget()
                self.owner.is_in_touch()

    def _reading_is_down(self) -> None:
        with self.inbox.lock:
            self.subscriptions.lose()
            self._room.forget()
            if not self.is_out_of_touch:
                self.is_out_of_touch = True
                self.owner.lost_touch()

    async def _pulse(self) -> None:
        """Look now and then whether the server is still there, since nothing else may tell; and tidy."""
        while True:
            await asyncio.sleep(_PULSE)
            try:
                self.owner.check_home()
                self.owner.normal.give_all_back()
                with self.inbox.lock:
                    self.inbox.tidy()
                    self.groups.tidy()
                if self.inbox.drops.unwritten:
                    self.inbox.drops.write()
                reading, far = self.reading.connection, self.far.connection
                if reading is not None:
                    reading.soon(reading.ask, b"*1\r\n$4\r\nPING\r\n", lambda _: None)
                if far is not None:
                    self.clock.ask(far)
                    await self.agree(far)
            except RedisUnavailable:
                continue  # the link is at it
            except Exception:
                logger.exception("Looking after the connections to Redis %s failed; going on", self.server.label)

    # Verbs

    async def pubsub_outbox(self) -> PubSubOutbox:
        """How to publish from the background loop, waiting for it no longer than a send may take."""
        return cast("PubSubOutbox", await self.far_outbox())

    async def until_ready(self) -> None:
        """Wait until what anyone sends to this client arrives; from any loop.

        :raises RedisUnavailable: if that takes longer than a send may.
        """
        for name in (self.keys.mailbox(self.client), self.published.everyone):
            await self._until_live(name)
        self.is_ready = True

    async def _until_live(self, name: str) -> None:
        confirmation = Confirmation()
        with self.inbox.lock:
            is_live = self.subscriptions.want(name, confirmation.settle)
        if not is_live:
            await self._confirmed(name, confirmation)

    async def _confirmed(self, name: str, confirmation: Confirmation) -> None:
        self.owner.check_home()  # one that has ended hears no answer
        if not await confirmation.came(self.send_timeout):
            with self.inbox.lock:
                self.subscriptions.wait_no_longer(name, confirmation.settle)
            raise self._waited()

    async def join(self, group: str, channel: str) -> None:
        """Make a channel of this client a member, and return when what anyone sends to the group arrives.

        :raises RedisUnavailable: if that takes longer than a send may; then it is no member.
        """
        confirmation = Confirmation()
        with self.inbox.lock:
            attempt = self.attempt(group, channel, confirmation.settle)
        if attempt is None:
            return
        try:
            await self._confirmed(self._name_of(group), confirmation)
        except GeneratorExit:  # the coroutine was thrown away, perhaps while this very thread holds the lock
            background_loop().call_soon_threadsafe(self.take_back, attempt)
            raise
        except BaseException:
            self.take_back(attempt)
            raise
        with self.inbox.lock:
            self.groups.succeed(attempt)

    def take_back(self, attempt: Attempt) -> None:
        """End a membership that the server has not confirmed. Without the lock."""
        with self.inbox.lock:
            self.groups.fail(attempt)

    def add_at_once(self, group: str, channel: str) -> bool:
        """Add a member, if the group is subscribed to. Under the lock."""
        if not self.subscriptions.is_live(self._name_of(group)):
            return False
        self.groups.add(group, channel)
        # Wanted anew: to add a member makes room for it, and the last one before may have expired just then.
        return self.subscriptions.want(self._name_of(group))

    def attempt(self, group: str, channel: str, confirmed: Confirmed) -> Attempt | None:
        """Add a member; if the group is not subscribed to yet, ``confirmed`` is called later. Under the lock."""
        attempt = self.groups.attempt(group, channel)
        if not self.subscriptions.want(self._name_of(group), confirmed):
            return attempt
        self.groups.succeed(attempt)
        return None

    def _name_of(self, group: str) -> str:
        return self._group_prefix + group

    # What comes

    def _deliver(self, messages: list[Message]) -> None:
        inbox = self.inbox
        now = time.monotonic()
        lifetime, now_ms = now + inbox.expiry, self.clock.at_ms(now)
        with inbox.lock:
            for _, name, data in messages:
                try:
                    writer, number, sent_ms = HEAD.unpack_from(data)
                    if self._writers.takes(writer, number):
                        deadline = lifetime - max(0, now_ms - sent_ms) / 1000
                        if name == self._mailbox_name:
                            self._deliver_each(data, deadline, writer in self._own_writers)
                        elif name == self._everyone_name:
                            self._obey(data[HEAD.size :])
                        else:
                            self._deliver_to_group(name, data[HEAD.size :], deadline)
                except (struct.error, UnicodeDecodeError, MalformedRequestError):  # who published it was none of us
                    inbox.miss(name.decode("utf-8", "replace"), "malformed")
                except Exception:  # it must not stop all that comes after
                    logger.exception("A message published under %r could not be delivered", name.decode())
        if inbox.drops.unwritten:
            inbox.drops.write()

    def _deliver_each(self, data: bytes, deadline: float, is_own: bool) -> None:
        deliver, coming = self.inbox.deliver, self._room.coming
        for channel, payload in entries(data):
            if not channel:
                self.requests.take(payload.decode().split("\n"))
                continue
            if is_own and channel in coming:
                self._room.came(channel)
            try:
                deliver(channel, payload, deadline)
            except Exception:  # a capacity that a user computes, say
                logger.exception("A message for %r could not be delivered", channel)

    def _deliver_to_group(self, name: bytes, payload: bytes, deadline: float) -> None:
        members = self.groups.members(name[len(self._group_prefix) :].decode())
        if members:
            self.inbox.deliver_to_each(members, GroupMessage(payload), deadline)

    def _obey(self, command: bytes) -> None:
        """Somebody flushes the layer."""
        epoch, _, nonce = command.decode().partition("\n")
        if not epoch.isdecimal():
            raise MalformedRequestError(command)
        self.owner.empty(self)
        self.epoch = max(int(epoch), self.epoch or 0)
        in_background(self._acknowledge(nonce))

    def _notice(self, epoch: int) -> None:
        """What the latest flush was: one that was published while nobody listened here is made up for."""
        if self.epoch is not None and epoch > self.epoch:
            self.owner.empty(self)
        self.epoch = max(epoch, self.epoch or 0)

    async def _acknowledge(self, nonce: str) -> None:
        lease = self.terms.lease_ms
        with suppress(asyncio.TimeoutError, RedisUnavailable):  # who flushes waits no longer
            connection = await self.far.ready(lease / 1000)
            await run(connection, scripts.acknowledge, (self.keys.flushed(nonce),), self.client, lease)
