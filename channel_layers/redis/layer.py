"""What the Redis layers have in common: options, encoding, and all verbs that do not depend on the way of a message."""

from __future__ import annotations

import asyncio
import weakref
from abc import abstractmethod
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from ..capacity import require_capacity, weakly
from ..checks import shown
from ..encryption import make_wire_serializer
from ..exceptions import InvalidChannelLayerError
from ..extras import require_extra
from ..messages import fresh_copy, is_flat
from ..names import client_id_of
from ..remote import GroupMessage
from ..spec import BaseChannelLayer, require_seconds
from ..statistics import Statistics, read_statistics
from .client import Client, close_soon, elsewhere
from .hosts import parse_hosts
from .keys import Keys
from .outbox import Terms

AnyClient = TypeVar("AnyClient", bound=Client[Any])


class RedisLayer(BaseChannelLayer, Generic[AnyClient]):
    """A channel layer over Redis servers; its subclasses say how a message gets to a process."""

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
        self._servers = parse_hosts(
            hosts,
            sentinels=sentinels,
            service_name=service_name,
            sentinel_kwargs=sentinel_kwargs,
            connection_kwargs=connection_kwargs,
        )
        if type(overflow) is not str or overflow not in ("drop_new", "drop_old"):
            raise InvalidChannelLayerError(f"overflow must be 'drop_new' or 'drop_old', not {shown(overflow)}")
        if mailbox_capacity is None:
            mailbox_capacity = max(10_000, self.capacity)
        self._serializer = make_wire_serializer(serializer_format, symmetric_encryption_keys)
        self._terms = Terms(
            keys=Keys(prefix),
            capacity_of=weakly(self.get_capacity),
            expiry_ms=max(1, round(self.expiry * 1000)),
            lease_ms=max(1, round(require_seconds("lease", lease) * 1000)),
            mailbox_capacity=require_capacity("mailbox_capacity", mailbox_capacity),
            drop_old=overflow == "drop_old",
            servers="\n".join(sorted(server.name for server in self._servers)),
        )
        self._send_timeout = require_seconds("send_timeout", send_timeout)
        self._start_afresh()

    @abstractmethod
    def _new_client(self) -> AnyClient:
        """The one who does what the verbs ask for."""

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

    def _claim(self, channel: str) -> Any:
        payload = self._inbox.claim_at_once(channel)
        if payload is not None:
            loop, home = asyncio._get_running_loop(), self._client.home
            if loop is not home.loop and loop is not None:
                home.call(loop)
        return payload

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
        with self._client.normal.wanting(channel):
            return await self._inbox.take(channel)

    def _may_receive(self, channel: str) -> bool:
        return "!" not in channel or client_id_of(channel) == self._client.id

    async def _new_channel(self, prefix: str) -> str:
        # Others may add it to groups before anybody receives here: a process that has no mailbox would count as dead.
        self._client.start_reading()
        return self._new_name(prefix, self._client.id)

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
        return read_statistics(self._sent, self._inbox)
