"""The queue layer: unread messages wait in Redis, with expiry and capacity."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from ..capacity import require_capacity
from ..encryption import make_wire_serializer
from ..exceptions import InvalidChannelLayerError
from ..extras import require_extra
from ..messages import fresh_copy, is_flat
from ..names import client_id_of, new_channel_name
from ..spec import BaseChannelLayer, require_seconds
from ..statistics import Statistics
from .client import Client, close_soon, elsewhere, when_given_back
from .hosts import parse_hosts
from .keys import Keys
from .mailbox import GroupMessage
from .outbox import Terms


class RedisChannelLayer(BaseChannelLayer):
    """A channel layer over a Redis server, in which unread messages wait.

    It takes the options of ``channels_redis.core.RedisChannelLayer``, with the same meaning.

    :param hosts: the server: a list of one URL, ``(host, port)`` tuple, dict of redis-py keyword arguments, or dict
        with ``sentinels`` and ``master_name``. See :mod:`channel_layers.redis.hosts`.
    :param prefix: of all keys: layers that differ in it never see each other's messages.
    :param expiry: seconds, fractions allowed, after which an unread message is dropped.
    :param group_expiry: seconds that a membership lasts after the latest ``group_add``; None: as long as the process.
    :param capacity: unread messages that one channel holds at the most.
    :param channel_capacity: other capacities for some channels: a dict from a glob string or a compiled regular
        expression to a number of messages; the first that matches the full name holds.
    :param symmetric_encryption_keys: encrypt messages with the first of these keys, read them with any.
    :param random_prefix_length: needless here, and accepted so that existing configurations work.
    :param serializer_format: ``"msgpack"``, ``"json"``, or a name given to
        :func:`~channel_layers.serializers.register_serializer`.
    :param overflow: what a full channel does: ``"drop_new"`` refuses the new message, ``"drop_old"`` loses the oldest.
    :param mailbox_capacity: unread messages that one process holds at the most on the server.
    :param lease: seconds after which a process that is gone is forgotten.
    :param send_timeout: seconds that a verb other than ``receive`` waits for a server that is away.
    :param sentinels: with ``service_name``, ``sentinel_kwargs`` and ``connection_kwargs``: another way to name a
        server behind Sentinels.
    :raises InvalidChannelLayerError: naming the option that is unknown or has a bad value.
    """

    extensions: list[str] = ["groups", "flush"]  # noqa: RUF012

    def __init__(
        self,
        hosts: Any = None,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: float | None = 86400,
        capacity: int = 100,
        channel_capacity: Any = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        random_prefix_length: int = 12,
        serializer_format: str = "msgpack",
        *,
        overflow: str = "drop_new",
        mailbox_capacity: int | None = None,
        lease: float = 30,
        send_timeout: float = 1.0,
        sentinels: Any = None,
        service_name: str | None = None,
        sentinel_kwargs: Any = None,
        connection_kwargs: Any = None,
        **unknown: Any,
    ) -> None:
        super().__init__(expiry, capacity, channel_capacity, group_expiry=group_expiry, **unknown)
        require_extra("redis.connection", "redis", type(self).__name__)
        require_extra("hiredis", "redis", type(self).__name__)
        servers = parse_hosts(
            hosts,
            sentinels=sentinels,
            service_name=service_name,
            sentinel_kwargs=sentinel_kwargs,
            connection_kwargs=connection_kwargs,
        )
        if len(servers) > 1:
            raise InvalidChannelLayerError(f"hosts has {len(servers)} entries: this version serves one Redis server")
        if overflow not in ("drop_new", "drop_old"):
            raise InvalidChannelLayerError(f"overflow must be 'drop_new' or 'drop_old', not {overflow!r}")
        if mailbox_capacity is None:
            mailbox_capacity = max(10_000, self.capacity)
        self._serializer = make_wire_serializer(serializer_format, symmetric_encryption_keys)
        terms = Terms(
            keys=Keys(prefix),
            capacity_of=_weakly(self.get_capacity),
            expiry_ms=max(1, round(self.expiry * 1000)),
            lease_ms=max(1, round(require_seconds("lease", lease) * 1000)),
            mailbox_capacity=require_capacity("mailbox_capacity", mailbox_capacity),
            drop_old=overflow == "drop_old",
            when_given_back=when_given_back,
        )
        timeout = require_seconds("send_timeout", send_timeout)
        self._new_client = partial(Client, servers, terms, self.expiry, self.group_expiry, timeout)
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._client = self._new_client()
        self._inbox = self._client.inbox
        # The client goes on while it is needed; without a layer nobody needs it.
        self._goodbye = weakref.finalize(self, close_soon, self._client)
        self._goodbye.atexit = False

    def _after_fork(self) -> None:
        self._goodbye.detach()
        self._client.abandon()
        self._start_afresh()

    @property
    def client_prefix(self) -> str:
        """The part of process-specific names that says whose they are."""
        return self._client.id

    # Encoding

    def serialize(self, message: dict[str, Any]) -> bytes:
        """Turn a message into the bytes that travel.

        :raises InvalidMessage: for a value that some backend could not carry, naming its path.
        :raises MessageTooLarge: for more than 1,048,576 bytes as compact JSON.
        """
        return self._serializer.encode(message)

    def deserialize(self, payload: Any) -> dict[str, Any]:
        """Turn the bytes that came into a message that nobody else holds."""
        if type(payload) is bytes:
            return self._serializer.decode(payload)
        if type(payload) is not GroupMessage:
            return self._serializer.decode(payload.payload)
        message = payload.message  # decoded once, copied for each member
        if message is None:
            message = self._serializer.decode(payload.payload)
            payload.flat = is_flat(message)
            payload.message = message
        return message.copy() if payload.flat else fresh_copy(message)

    # Channels

    def _send(self, channel: str, payload: Any) -> Awaitable[None]:
        outbox = self._client.outbox(channel)
        if outbox is not None:
            return outbox.send(channel, payload)
        return self._client.send(channel, payload)

    def _receive(self, channel: str) -> Coroutine[Any, Any, Any]:
        client = self._client
        if asyncio._get_running_loop() is not client.home.loop:
            client.home.call(asyncio.get_running_loop())
        if "!" not in channel:
            return self._receive_normal(channel)
        if not client.is_reading:
            client.start_reading()
        return self._inbox.take(channel)

    async def _receive_normal(self, channel: str) -> Any:
        self._client.start_popping()
        with self._client.shard_of(channel).queues.wanting(channel):
            return await self._inbox.take(channel)

    def _may_receive(self, channel: str) -> bool:
        return "!" not in channel or client_id_of(channel) == self._client.id

    async def _new_channel(self, prefix: str) -> str:
        return self._admit_channel(new_channel_name(prefix, self._client.id))

    async def _discard_channel(self, channel: str) -> None:
        client, owner = self._client, client_id_of(channel)
        shard = client.shard_of(channel)
        if owner is None:
            await shard.discard_queue(channel)
        elif owner == client.id:
            client.start_reading()
            entry = await shard.change("discard", owner, "", channel)
            await client.until_applied(shard, entry)
        else:
            await shard.change("discard", owner, "", channel)
        with self._inbox.lock:
            self._inbox.discard(channel)

    # Groups

    async def _group_add(self, group: str, channel: str) -> None:
        client, owner = self._client, client_id_of(channel)
        shard = client.shard_of(group)
        if owner is None:
            await shard.join_queue(group, channel, self.get_capacity(channel))
            return
        if owner == client.id:
            client.start_reading()
        await shard.change("join", owner, group, channel)

    async def _group_discard(self, group: str, channel: str) -> None:
        owner = client_id_of(channel)
        shard = self._client.shard_of(group)
        if owner is None:
            await shard.leave_queue(group, channel)
        else:
            await shard.change("leave", owner, group, channel)

    def _group_send(self, group: str, payload: Any) -> Awaitable[None]:
        outbox = self._client.outbox(group)
        if outbox is not None:
            return outbox.group_send(group, payload)
        return self._client.group_send(group, payload)

    # The layer as a whole

    async def _flush(self) -> None:
        await elsewhere(self._client.flush())

    async def _close(self) -> None:
        await elsewhere(self._client.close())

    async def close_pools(self) -> None:
        """Close the connections, and nothing else: who waits, waits on, and the next verb connects again."""
        await elsewhere(self._client.close_connections())

    def _statistics(self) -> Statistics:
        inbox = self._inbox
        with inbox.lock:
            unread = inbox.unread()
            counts = Statistics(
                **self._sent.read(),
                arrived=inbox.arrived,
                delivered=inbox.delivered,
                dropped=dict(inbox.dropped),
                unread=unread,
            )
        if inbox.drops.unwritten:
            inbox.drops.write()
        return counts


def _weakly(method: Callable[[str], int]) -> Callable[[str], int]:
    """The method without a hold on its object: the client must not keep the layer alive."""
    reference = weakref.WeakMethod(method)

    def call(channel: str) -> int:
        method = reference()
        return method(channel) if method is not None else 1

    return call
