"""The Pub/Sub layer: nothing waits in Redis, messages go at once to those who are there."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from ...checks import checking, plain_str, shown
from ...exceptions import InvalidChannelLayerError
from ...messages import plain_copy
from ...names import client_id_of
from ..client import elsewhere
from ..errors import RedisUnavailable
from ..layer import RedisLayer
from .client import PubSubClient


class RedisPubSubChannelLayer(RedisLayer[PubSubClient]):
    """A channel layer over Redis Pub/Sub: the lowest latency, and what is sent to a process that is away is lost.

    It takes the options of ``channels_redis.pubsub.RedisPubSubChannelLayer``, with the same meaning, and all options of
    :class:`~channel_layers.redis.RedisChannelLayer`. Messages of normal channels wait in Redis, as there.

    :param hosts: as for the queue layer.
    :param prefix: of all names: layers that differ in it, or in the database, never see each other's messages.
    :param on_disconnect: type of a message that every channel gets at which somebody waits, or that holds unread
        messages, when the connection was lost: from then on messages may be missed. None for no such message.
    :param on_reconnect: type of the message that tells when nothing is missed any more.
    :param symmetric_encryption_keys: encrypt messages with the first of these keys, read them with any.
    :param serializer_format: ``"msgpack"``, ``"json"``, or a name given to
        :func:`~channel_layers.serializers.register_serializer`.
    :param expiry: seconds, fractions allowed, after which an unread message is dropped.
    :param group_expiry: seconds that a membership lasts after the latest ``group_add``; None: as long as the process.
    :param capacity: unread messages that one channel holds at the most.
    :param channel_capacity: other capacities for some channels: a dict from a glob string or a compiled regular
        expression to a number of messages; the first that matches the full name holds.
    :param random_prefix_length: needless here, and accepted so that existing configurations work.
    :param overflow: what a full channel does: ``"drop_new"`` refuses the new message, ``"drop_old"`` loses the oldest.
    :param mailbox_capacity: changes nothing here: what a process has not read yet is bounded by the server's
        ``client-output-buffer-limit pubsub``.
    :param lease: seconds that a flush waits for a process that is stopped.
    :param send_timeout: seconds that a verb other than ``receive`` waits for a server that is away.
    :param sentinels: with ``service_name``, ``sentinel_kwargs`` and ``connection_kwargs``: another way to name a
        server behind Sentinels.
    :raises InvalidChannelLayerError: naming the option that is unknown or has a bad value.
    """

    def __init__(
        self,
        hosts: Any = None,
        prefix: str = "asgi",
        on_disconnect: str | None = None,
        on_reconnect: str | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        serializer_format: str = "msgpack",
        *,
        expiry: float = 60,
        group_expiry: float | None = 86400,
        capacity: int = 100,
        channel_capacity: Any = None,
        random_prefix_length: int = 12,
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
        self._prefix = prefix
        self._on_disconnect = _require_type("on_disconnect", on_disconnect)
        self._on_reconnect = _require_type("on_reconnect", on_reconnect)
        super().__init__(
            hosts,
            prefix,
            expiry,
            group_expiry,
            capacity,
            channel_capacity,
            symmetric_encryption_keys,
            random_prefix_length,
            serializer_format,
            overflow=overflow,
            mailbox_capacity=mailbox_capacity,
            lease=lease,
            send_timeout=send_timeout,
            sentinels=sentinels,
            service_name=service_name,
            sentinel_kwargs=sentinel_kwargs,
            connection_kwargs=connection_kwargs,
            **unknown,
        )

    def _new_client(self) -> PubSubClient:
        def message(kind: str | None) -> bytes | None:
            return None if kind is None else self.serialize({"type": kind})

        return PubSubClient(
            self._servers,
            self._terms,
            self.expiry,
            self.group_expiry,
            self._send_timeout,
            prefix=self._prefix,
            lost_touch=message(self._on_disconnect),
            in_touch=message(self._on_reconnect),
        )

    def _send(self, channel: str, payload: Any) -> Awaitable[None]:
        client = self._client
        if client.mark in channel and not client.shard_of(channel).is_ready:
            return self._send_to_itself(channel, payload)
        return super()._send(channel, payload)

    async def _send_to_itself(self, channel: str, payload: Any) -> None:
        """For the first time since the layer was made or closed: it could come before the subscription."""
        self._client.start_reading()
        await self._client.shard_of(channel).until_ready()
        await self._client.send(channel, payload)

    async def _new_channel(self, prefix: str) -> str:
        client = self._client
        name = self._new_name(prefix, client.id)
        shard = client.shard_of(name)
        if not shard.is_ready:
            client.start_reading()
            await client.until_ready(shard)
        return name

    async def _discard_channel(self, channel: str) -> None:
        client, owner = self._client, client_id_of(channel)
        shard = client.shard_of(channel)
        if owner is None:
            await client.discard_queue(channel)
        elif owner == client.id:
            with self._inbox.lock:
                client.end_channel(channel)
        else:
            client.start_reading()
            await elsewhere(shard.requests.ask("discard", owner, "", channel))

    # Groups

    def _group_add(self, group: str, channel: str) -> Awaitable[None] | None:
        client = self._client
        if not client.is_reading or client.mark not in channel:
            return self._add_elsewhere(group, channel)
        shard = client.shard_of(group)
        with self._inbox.lock:
            if shard.add_at_once(group, channel):
                return None
        return shard.join(group, channel)

    async def _add_elsewhere(self, group: str, channel: str) -> None:
        client, owner = self._client, client_id_of(channel)
        shard = client.shard_of(group)
        if owner is None:
            await shard.join_queue(group, channel, self.get_capacity(channel))
            return
        client.start_reading()
        if owner == client.id:
            await shard.join(group, channel)
        elif not await elsewhere(shard.requests.ask("join", owner, group, channel)):
            raise RedisUnavailable(f"nobody is there who has the channel {channel!r}; waited {shard.send_timeout:g} s")

    async def _group_discard(self, group: str, channel: str) -> None:
        client, owner = self._client, client_id_of(channel)
        shard = client.shard_of(group)
        if owner is None:
            await shard.leave_queue(group, channel)
        elif owner == client.id:
            with self._inbox.lock:
                shard.groups.discard(group, channel)
        else:
            client.start_reading()
            await elsewhere(shard.requests.ask("leave", owner, group, channel))


def _require_type(option: str, value: Any) -> str | None:
    if value is None:
        return None
    with checking(option):
        if not issubclass(type(value), str) or not plain_str(value):
            raise InvalidChannelLayerError(
                f"{option} must be the type of a message, such as 'redis.lost', not {shown(value)}"
            )
        plain_copy({"type": plain_str(value)})
    return plain_str(value)
