"""The in-memory layer: the whole specification within one process, and the reference for every other layer."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, NamedTuple

from .exceptions import ChannelFull
from .groups import Groups
from .inbox import Inbox
from .messages import fresh_copy, is_flat
from .names import client_id_of, new_client_id
from .spec import BaseChannelLayer
from .statistics import Statistics, read_statistics


class _Shared(NamedTuple):
    """A group message on its way to several receivers."""

    message: dict[str, Any]
    flat: bool


class InMemoryChannelLayer(BaseChannelLayer):
    """A channel layer for one process: its threads and event loops, no others. It needs no server and no dependency.

    After ``fork()`` the child's layer is another one: empty, with a client id of its own.

    :param expiry: seconds, fractions allowed, after which an unread message is dropped.
    :param group_expiry: seconds that a membership lasts after the latest ``group_add``; None: as long as the process.
    :param capacity: unread messages that one channel holds at the most.
    :param channel_capacity: other capacities for some channels: a dict from a glob string or a compiled regular
        expression to a number of messages; the first that matches the full name holds.
    :raises InvalidChannelLayerError: naming the option that is unknown or has a bad value.
    """

    extensions: list[str] = ["groups", "flush"]  # noqa: RUF012

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float | None = 86400,
        capacity: int = 100,
        channel_capacity: Any = None,
        **unknown: Any,
    ) -> None:
        super().__init__(expiry, capacity, channel_capacity, group_expiry=group_expiry, **unknown)
        self._start_empty()

    def _after_fork(self) -> None:
        self._start_empty()

    def _start_empty(self) -> None:
        self._client_id = new_client_id()
        self._inbox = Inbox(self.expiry, self.get_capacity)
        self._groups = Groups(self.group_expiry)

    def deserialize(self, payload: dict[str, Any] | _Shared) -> dict[str, Any]:
        """Turn what was sent into a message that nobody else holds: a direct one is such a copy already."""
        if isinstance(payload, _Shared):
            return payload.message.copy() if payload.flat else fresh_copy(payload.message)
        return payload

    # What the tests of Channels' users look at. In that layer these are the works themselves; here they are copies.

    @property
    def channels(self) -> dict[str, list[dict[str, Any]]]:
        """A copy of all unread messages, by channel, and the channels at which a ``receive()`` waits. For tests."""
        inbox = self._inbox
        with inbox.lock:
            held = inbox.contents()
        if inbox.drops.unwritten:
            inbox.drops.write()
        return {name: [fresh_copy(self.deserialize(payload)) for payload in held[name]] for name in held}

    @property
    def groups(self) -> dict[str, dict[str, float]]:
        """A copy of all memberships: the seconds that each lasts, by group and channel. For tests."""
        with self._inbox.lock:
            return self._groups.seconds_left()

    def _send(self, channel: str, payload: Any) -> Awaitable[None] | None:
        inbox = self._inbox
        with inbox.lock:
            accepted = inbox.put(channel, payload)
        if inbox.drops.unwritten:
            inbox.drops.write()
        if not accepted:
            raise ChannelFull(channel, self.get_capacity(channel))
        return None

    def _claim(self, channel: str) -> Any:
        inbox = self._inbox
        with inbox.lock:
            payload = inbox.claim(channel)
        if inbox.drops.unwritten:
            inbox.drops.write()
        return payload

    def _receive(self, channel: str) -> Coroutine[Any, Any, Any]:
        return self._inbox.take(channel)

    def _may_receive(self, channel: str) -> bool:
        return client_id_of(channel) in (None, self._client_id)

    async def _new_channel(self, prefix: str) -> str:
        return self._new_name(prefix, self._client_id)

    async def _discard_channel(self, channel: str) -> None:
        with self._inbox.lock:
            self._groups.discard_channel(channel)
            self._inbox.discard(channel)

    async def _group_add(self, group: str, channel: str) -> None:
        with self._inbox.lock:
            self._groups.add(group, channel)

    async def _group_discard(self, group: str, channel: str) -> None:
        with self._inbox.lock:
            self._groups.discard(group, channel)

    def _group_send(self, group: str, payload: Any) -> Awaitable[None] | None:
        inbox = self._inbox
        if type(payload) is dict:  # a subclass may encode to bytes, which anybody may share
            payload = _Shared(payload, is_flat(payload))
        with inbox.lock:
            inbox.put_each(self._groups.members(group), payload)
        if inbox.drops.unwritten:
            inbox.drops.write()
        return None

    async def _flush(self) -> None:
        with self._inbox.lock:
            self._groups.clear()
            self._inbox.clear("flushed")

    async def _close(self) -> None:
        with self._inbox.lock:
            self._groups.clear()
            self._inbox.close()

    def _statistics(self) -> Statistics:
        return read_statistics(self._sent, self._inbox)
