"""Publishing: messages go to the processes that are there, and to nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ...exceptions import ChannelFull
from ...names import client_id_of
from .. import scripts
from ..connection import Connection
from ..futures import end
from ..outbox import HEADS, Batch, Outbox, Terms, with_payload
from ..refusals import refused
from ..remembered import Remembered
from .clock import ServerClock
from .envelope import ALONE, HEAD, entry, entry_head
from .keys import PubSubKeys
from .room import LocalRoom


class PubSubOutbox(Outbox):
    """Publishes messages.

    :param client: the id of this client.
    :param room: whether the channels of this client have room.
    """

    def __init__(
        self,
        connection: Connection,
        terms: Terms,
        missed: Callable[[str], None],
        keys: PubSubKeys,
        clock: ServerClock,
        client: str,
        room: LocalRoom,
        before: Outbox | None = None,
    ) -> None:
        super().__init__(connection, terms, missed, before)
        self._keys = keys
        self._clock = clock
        self._client = client
        self._own = f".{client}!"
        self._room = room
        self.writer = int(self._writer, 16)
        self._publish_heads = Remembered(_publish_head, HEADS)
        self._alone_heads = Remembered(self._alone_head, HEADS)

    def send(self, channel: str, payload: bytes) -> asyncio.Future[None]:
        """Publish a message to a channel; the future ends when the server has done so.

        :raises ChannelFull: if the channel is one of this process, and full.
        """
        if self._own in channel:
            if not self._room.reserve(channel):
                raise ChannelFull(channel, self._terms.capacity_of(channel))
        elif self.connection.is_idle and not self._batches:
            now, (head, name) = time.monotonic(), self._alone_heads[channel]
            if head and now < self._clock.is_old_at:
                return self._send_alone(head, name, payload, now)
        return super().send(channel, payload)

    def _send_alone(self, head: bytes, name: bytes, payload: bytes, now: float) -> asyncio.Future[None]:
        """What :meth:`send` comes to where nothing is to be gathered: for the shortest round trip."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number += 1
        size = len(payload)
        start = ALONE.pack(self.writer, self._number, self._clock.at_ms(now), len(name), size)
        command = b"%b$%d\r\n%b%b%b\r\n" % (head, ALONE.size + len(name) + size, start, name, payload)
        self.connection.ask_alone(command, partial(self._end_alone, future))
        return future

    def _end_alone(self, future: asyncio.Future[None], reply: Any) -> None:
        end(future, None if type(reply) is int else refused(self.connection, reply, "PUBLISH"))

    def _alone_head(self, channel: str) -> tuple[bytes, bytes]:
        client = client_id_of(channel)
        return (_publish_head(self._keys.mailbox(client)) if client else b""), channel.encode()

    def _message(self, head: bytes, payload: bytes) -> bytes:
        return entry(head, payload)

    def _ask(self, batch: Batch) -> None:
        def settle(reply: Any) -> None:
            if batch.to == self._client and (reply == 0 or type(reply) is not int):
                self._room.release(batch.channels)
            if type(reply) is int:
                for future in batch.futures:
                    if not future.done():
                        future.set_result(None)
            else:
                error = refused(self.connection, reply, "PUBLISH")
                for future in batch.futures:
                    end(future, error)

        self._publish(self._keys.mailbox(batch.to), b"".join(batch.messages), settle)

    def publish(self, name: str, data: bytes) -> asyncio.Future[int]:
        """Publish something else; how many processes got it, in the future."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def settle(reply: Any) -> None:
            end(future, reply if type(reply) is int else refused(self.connection, reply, "PUBLISH"))

        self._publish(name, data, settle)
        return future

    def _publish(self, name: str, data: bytes, settle: Callable[[Any], None]) -> None:
        self.connection.ask(with_payload(self._publish_heads[name], self._envelope() + data), settle)

    def _envelope(self) -> bytes:
        if self._batches:
            self._emit()  # what was sent before goes out before, and with a lower number
        if time.monotonic() > self._clock.is_old_at:
            self._clock.ask(self.connection)
        self._number += 1
        return HEAD.pack(self.writer, self._number, self._clock.now_ms())

    def group_send(self, group: str, payload: bytes) -> asyncio.Future[None]:
        """Publish a message to a group; the future ends when the server has done so."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send_to_group(group, payload, future)
        return future

    def _send_to_group(self, group: str, payload: bytes, future: asyncio.Future[None]) -> None:
        def settle(reply: Any) -> None:
            if isinstance(reply, list):
                for name in reply:
                    self._missed(name.decode())
                end(future)
            else:
                self._refuse(future, reply, scripts.publish, lambda: self._send_to_group(group, payload, future))

        head = self._group_heads[group]
        self.connection.ask(with_payload(head, self._envelope() + payload), settle)

    # Heads

    def _head_to_process(self, channel: str) -> bytes:
        return entry_head(channel)

    def _group_head(self, group: str) -> bytes:
        name, terms = self._keys.group(group), self._terms
        args = (name, self._keys.all, group, terms.expiry_ms, terms.policy, HEAD.size)
        return scripts.publish.head(1, (name,), *args)


def _publish_head(name: str) -> bytes:
    encoded = name.encode()
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n" % (len(encoded), encoded)
