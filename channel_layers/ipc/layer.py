"""The layer between the processes of one machine: options, encoding, and where each verb goes."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..capacity import weakly
from ..checks import plain_int, require_prefix, shown
from ..exceptions import InvalidChannelLayerError, LayerUnavailable
from ..extras import require_extra
from ..messages import fresh_copy, is_flat
from ..names import client_id_of
from ..remote import GroupMessage
from ..serializers import MsgpackSerializer
from ..spec import BaseChannelLayer
from ..statistics import Statistics, read_statistics
from .client import Client
from .lives import close_soon
from .locks import BUSY, keep_trying
from .mailbox import ADD, DISCARD

#: Bytes that a mailbox must have at the least: room for a few small messages.
_LEAST_MEMORY = 4096

#: Bytes that it may have at the most.
_MOST_MEMORY = 1 << 40


class IPCChannelLayer(BaseChannelLayer):
    """A channel layer for the processes of one user on one machine, over POSIX shared memory. It needs no server.

    Layers with the same ``prefix`` share channels and groups, however their processes were started. After ``fork()``
    the child's layer is another client, with names of its own.

    :param prefix: separates applications: letters, digits, ``.``, ``_`` and ``-``, up to 64.
    :param expiry: seconds, fractions allowed, after which an unread message is dropped.
    :param group_expiry: seconds that a membership lasts after the latest ``group_add``; None: as long as the process.
    :param capacity: unread messages that one channel holds at the most.
    :param channel_capacity: other capacities for some channels: a dict from a glob string or a compiled regular
        expression to a number of messages; the first that matches the full name holds.
    :param message_memory: bytes of shared memory for messages on their way to one layer object.
    :param permissions: of everything in the file system, as ``os.chmod`` takes them.
    :raises InvalidChannelLayerError: naming the option that is unknown or has a bad value; on Windows; without the
        extra ``ipc``; if the shared memory is not ours.
    """

    extensions: list[str] = ["groups", "flush"]  # noqa: RUF012

    def __init__(
        self,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: float | None = 86400,
        capacity: int = 100,
        channel_capacity: Any = None,
        message_memory: int = 8 << 20,
        permissions: int = 0o600,
        **unknown: Any,
    ) -> None:
        super().__init__(expiry, capacity, channel_capacity, group_expiry=group_expiry, **unknown)
        _require_system()
        self._prefix = require_prefix(prefix)
        self._memory = _require_between("message_memory", message_memory, _LEAST_MEMORY, _MOST_MEMORY, "bytes")
        self._permissions = _require_between(
            "permissions", permissions, 0o600, 0o777, "mode bits, with 0o600 among them"
        )
        if self._permissions & 0o600 != 0o600:
            raise InvalidChannelLayerError(
                f"permissions must let the owner read and write, not {oct(self._permissions)}"
            )
        self._serializer = MsgpackSerializer()
        self._start_afresh()
        self._client.site.check()

    def _start_afresh(self) -> None:
        self._client = Client(
            self._prefix,
            self.expiry,
            self.group_expiry,
            self._memory,
            self._permissions,
            weakly(self.get_capacity),
        )
        self._inbox = self._client.inbox
        # The client goes on while it is needed; without a layer nobody needs it.
        self._goodbye = weakref.finalize(self, close_soon, self._client)
        self._goodbye.atexit = False

    def _after_fork(self) -> None:
        self._goodbye.detach()
        self._start_afresh()

    # Encoding

    def serialize(self, message: dict[str, Any]) -> bytes:
        """Turn a message into the bytes that travel.

        :raises InvalidMessage: for a value that some backend could not carry, naming its path.
        :raises MessageTooLarge: for more than 1,048,576 bytes as compact JSON.
        """
        return self._serializer.encode(message)

    def deserialize(self, payload: Any) -> dict[str, Any]:
        """Turn the bytes that came into a message that nobody else holds."""
        if type(payload) is not GroupMessage:
            return self._serializer.decode(payload)
        message = payload.message  # decoded once, copied for each member
        if message is None:
            message = self._serializer.decode(payload.payload)
            payload.flat = is_flat(message)
            payload.message = message
        return message.copy() if payload.flat else fresh_copy(message)

    # Channels

    def _send(self, channel: str, payload: Any) -> Awaitable[None] | None:
        client = self._client
        if client.slot is None:
            client.join()
        if "!" in channel:
            return client.targets.send(channel, payload)
        return client.normal.send(channel, payload, self.get_capacity(channel))

    def _claim(self, channel: str) -> Any:
        client = self._client
        loop = asyncio._get_running_loop()
        if loop is not client.home.loop and loop is not None:
            client.home.call(loop)
        if "!" in channel:
            payload = self._inbox.claim_at_once(channel)
            return payload if payload is not None else client.claim(channel)
        if client.reader is None:
            client.furnish()
        return client.normal.claim(channel)

    def _receive(self, channel: str) -> Coroutine[Any, Any, Any]:
        client = self._client
        if client.reader is None:
            client.furnish()
        waiting = self._inbox.take(channel) if "!" in channel else client.normal.receive(channel)
        return waiting if asyncio._get_running_loop() is client.home.loop else client.apart(waiting)

    def _may_receive(self, channel: str) -> bool:
        return "!" not in channel or client_id_of(channel) == self._client.id

    async def _new_channel(self, prefix: str) -> str:
        if self._client.reader is None:
            self._client.furnish()
        return self._new_name(prefix, self._client.id)

    async def _discard_channel(self, channel: str) -> None:
        self._client.join()
        if "!" not in channel:
            await self._client.normal.discard(channel)
        else:
            await self._end(self._client.end_member, "", channel)

    # Groups

    def _group_add(self, group: str, channel: str) -> Awaitable[None] | None:
        client = self._client
        if client_id_of(channel) == client.id and "!" in channel and client.add_member(group, channel):
            return None
        return self._group_add_later(group, channel)

    async def _group_add_later(self, group: str, channel: str) -> None:
        client = self._client
        client.join()
        if "!" not in channel:
            await client.normal_members.join(group, channel, self.get_capacity(channel))
        elif client_id_of(channel) == client.id:
            await self._patiently(client.add_member, group, channel)
        else:
            box = client.targets.box_of(channel)
            if box is not None:
                await client.targets.push_control(box, ADD, group, channel)

    async def _group_discard(self, group: str, channel: str) -> None:
        self._client.join()
        if "!" not in channel:
            await self._client.normal_members.part(group, channel)
        else:
            await self._end(self._client.end_member, group, channel)

    async def _end(self, work: Callable[[str, str], bool], group: str, channel: str) -> None:
        client = self._client
        if client_id_of(channel) == client.id:
            await self._patiently(work, group, channel)
            return
        box = client.targets.box_of(channel)
        if box is not None:
            await client.targets.push_control(box, DISCARD, group, channel)

    async def _patiently(self, work: Callable[[str, str], bool], group: str, channel: str) -> None:
        """Change a membership here; a process that was stopped may hold the mailbox."""
        if await keep_trying(lambda: work(group, channel) or BUSY) is BUSY:
            raise LayerUnavailable(f"the mailbox of {channel!r} is locked by a process that was stopped")

    def _group_send(self, group: str, payload: Any) -> Awaitable[None] | None:
        client = self._client
        if client.slot is None:
            client.join()
        return client.targets.group_send(group, payload)

    # The layer as a whole

    async def _flush(self) -> None:
        self._client.join()
        await self._client.targets.flush()
        with self._inbox.lock:
            self._inbox.look_for_flush()

    async def _close(self) -> None:
        self._client.close()

    def _statistics(self) -> Statistics:
        if asyncio._get_running_loop() is not None:
            self._client.catch_up()
        return read_statistics(self._sent, self._inbox)


def _require_system() -> None:
    try:
        import fcntl  # noqa: F401, PLC0415 - it is what tells the systems apart
    except ImportError:
        raise InvalidChannelLayerError(
            "IPCChannelLayer needs POSIX shared memory, which Windows does not have; use "
            "channel_layers.memory.InMemoryChannelLayer or a Redis layer there"
        ) from None
    require_extra("posix_ipc", "ipc", "IPCChannelLayer")
    require_extra("msgpack", "ipc", "IPCChannelLayer")


def _require_between(option: str, value: Any, least: int, most: int, unit: str) -> int:
    number = plain_int(value)
    if number is None or not least <= number <= most:
        raise InvalidChannelLayerError(
            f"{option} must be a whole number of {unit}, {least} to {most}, not {shown(value)}"
        )
    return number
