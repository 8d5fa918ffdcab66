"""The queue layer: unread messages wait in Redis, with expiry and capacity."""

from __future__ import annotations

from ...names import client_id_of
from ..layer import RedisLayer
from .client import QueueClient


class RedisChannelLayer(RedisLayer[QueueClient]):
    """A channel layer over one or several Redis servers, in which unread messages wait.

    It takes the options of ``channels_redis.core.RedisChannelLayer``, with the same meaning.

    :param hosts: the servers: a list of URLs, ``(host, port)`` tuples, dicts of redis-py keyword arguments, or dicts
        with ``sentinels`` and ``master_name``; a dict may hold a ``name`` for the server. Over several, names are
        spread; their order means nothing. See :mod:`channel_layers.redis.hosts`.
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

    def _new_client(self) -> QueueClient:
        return QueueClient(self._servers, self._terms, self.expiry, self.group_expiry, self._send_timeout)

    async def _discard_channel(self, channel: str) -> None:
        client, owner = self._client, client_id_of(channel)
        if owner is None:
            await client.discard_queue(channel)
        elif owner == client.id:
            await client.discard_own(channel)
        else:
            await client.discard_elsewhere(channel, owner)

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
