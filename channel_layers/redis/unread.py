"""The inbox of a Redis client: it tells the servers which places have become free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from ..inbox import ChannelQueue, Inbox

#: Receivers that are woken in one turn of the loop.
_AT_ONCE = 50

#: Places of channels with much room that may be free without the servers' knowing, for a moment.
_PLACES = 8

#: Added to the count of a channel that group messages have filled: no sender finds room there.
FULL = 1 << 40


class Popped:
    """A message of a normal channel that was taken from the server, for somebody who waited here."""

    __slots__ = ("element", "payload")

    def __init__(self, element: bytes, payload: bytes) -> None:
        self.element = element
        self.payload = payload


class RemoteInbox(Inbox):
    """An inbox whose direct messages occupy places that a server counts. A direct message is ``bytes`` in it.

    :param freed: called under the lock when places have become free, with whether the servers should hear of it at
        once: then once until :meth:`take_freed` is called.
    :param drop_old: a full channel loses its oldest message, not the new one.
    """

    def __init__(
        self, expiry: float, capacity_of: Callable[[str], int], freed: Callable[[bool], None], drop_old: bool
    ) -> None:
        super().__init__(expiry, capacity_of)
        self.drop_old = drop_old
        self.on_leave = self._leaves
        self._tell_freed = freed
        #: Channel -> places that have become free and that the server does not know of.
        self._freed: dict[str, int] = {}
        self._places_freed = 0
        self._flagged: set[str] = set()
        # Queues that hold a group message of which their waiters were not told yet, in their order.
        self._unwoken: dict[ChannelQueue, None] = {}
        self._is_waking = False

    def deliver(self, channel: str, payload: Any, deadline: float) -> None:
        """Append a message that has arrived, to be dropped at ``deadline`` (monotonic seconds) if it is unread then."""
        queue = self._queues.get(channel) or self._open(channel)
        if len(queue.items) >= queue.capacity and not self._make_room(queue, time.monotonic()):
            if not self.drop_old:
                self.arrived += 1
                self._drop("full", channel)
                self._leaves(queue, payload)
                return
            self._remove_oldest(queue, 1)
            self._drop("full", channel)
        self._append(queue, payload, deadline)
        if len(queue.items) >= queue.capacity and type(payload) is not Popped:
            self._flag(queue)

    def deliver_popped(self, channel: str, popped: Popped, deadline: float) -> None:
        """Append a message for somebody who waits: it had its place on the server, and no more come than wait."""
        self._append(self._queues.get(channel) or self._open(channel), popped, deadline)

    def deliver_to_each(self, channels: Collection[str], payload: Any, deadline: float) -> None:
        """:meth:`deliver` one message to many channels, in the running loop.

        Of a crowd, only some are woken in each turn of the loop: what came in between, they find as well, and are not
        woken once for each message; and a large group does not stop the loop for all others.
        """
        queues, append, deliver, unwoken = self._queues, self._append, self.deliver, self._unwoken
        at_once = len(channels) <= _AT_ONCE
        for channel in channels:
            queue = queues.get(channel)
            if queue is None or len(queue.items) + 1 >= queue.capacity:
                deliver(channel, payload, deadline)
            elif at_once:
                append(queue, payload, deadline)
            else:
                append(queue, payload, deadline, False)
                unwoken[queue] = None
        if unwoken and not self._is_waking:
            self._is_waking = True
            self._wake_soon(asyncio.get_running_loop())

    def _wake_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(self._wake_some, loop)

    def _wake_some(self, loop: asyncio.AbstractEventLoop) -> None:
        with self.lock:
            self.wake_unwoken(_AT_ONCE)
            self._is_waking = bool(self._unwoken)
            if self._is_waking:
                self._wake_soon(loop)

    def wake_unwoken(self, count: int | None = None) -> None:
        """Wake those who are still to be woken, or the first ``count`` of them."""
        unwoken = self._unwoken
        for queue in list(unwoken if count is None else islice(unwoken, count)):
            del unwoken[queue]
            if queue.items and queue.waiters.any():
                queue.waiters.wake()
        self._is_waking = self._is_waking and bool(unwoken)

    def miss(self, channel: str) -> None:
        """Count a message that never got here, since the channel was full on the server."""
        self.arrived += 1
        self._drop("full", channel)

    def held(self, channel: str) -> int:
        """How many messages wait here for a channel."""
        queue = self._queues.get(channel)
        return len(queue.items) if queue is not None else 0

    def give_away(self, channel: str, keep: int = 0) -> list[bytes]:
        """Take back what was popped for a normal channel, but for the oldest ``keep``; as it was, oldest first."""
        elements: list[bytes] = []
        while self.held(channel) > keep:
            elements.insert(0, self._remove_newest(self._queues[channel]).element)
            self.arrived -= 1
        return elements

    def _remove_newest(self, queue: ChannelQueue) -> Any:
        _, number, payload = queue.items.pop()
        if queue.prefix is not None and queue.prefix.items is not None:
            del queue.prefix.items[number]
        if not queue.items and not queue.parked:
            self._park(queue)
        return payload

    @property
    def holds_any(self) -> bool:
        """Whether any message waits here."""
        return bool(self._due)

    def popped(self) -> list[str]:
        """The normal channels that hold what was popped for them."""
        return [queue.name for queue in self._due if queue.items and type(queue.items[0][2]) is Popped]

    def take_freed(self) -> dict[str, int]:
        """The places that have become free since the last call."""
        freed, self._freed = self._freed, {}
        self._places_freed = 0
        return freed

    def count_direct(self) -> dict[str, int]:
        """Channel -> unread direct messages held here, as the server should count them."""
        self._freed = {}
        counts = dict.fromkeys(self._flagged, FULL)
        for queue in self._due:
            direct = sum(type(item[2]) is bytes for item in queue.items)
            if direct:
                counts[queue.name] = counts.get(queue.name, 0) + direct
        return counts

    def next_deadline(self) -> float:
        """When the next message expires, after dropping those that have; infinite if there is none."""
        now = time.monotonic()
        for queue in tuple(self._due):
            self._expire(queue, now)
        return min((queue.items[0][0] for queue in self._due if queue.items), default=float("inf"))

    def clear(self, reason: str) -> None:
        super().clear(reason)
        if reason != "closed":  # the server's counters are emptied by who asks for it
            self._freed.clear()
            self._flagged.clear()

    def _flag(self, queue: ChannelQueue) -> None:
        if queue.name not in self._flagged and any(type(item[2]) is not bytes for item in queue.items):
            self._flagged.add(queue.name)
            self.free(queue.name, -FULL)

    def _leaves(self, queue: ChannelQueue, payload: Any) -> None:
        if type(payload) is bytes:
            self.free(queue.name, 1, 2 * len(queue.items) > queue.capacity)
        if self._flagged and queue.name in self._flagged and len(queue.items) < queue.capacity:
            self._flagged.discard(queue.name)
            self.free(queue.name, FULL)

    def free(self, channel: str, places: int, is_urgent: bool = True) -> None:
        """Note places that have become free; negative ones are taken. Under the lock."""
        freed = self._freed
        freed[channel] = freed.get(channel, 0) + places
        self._places_freed += 1
        if is_urgent or self._places_freed >= _PLACES:
            self._tell_freed(True)
        elif self._places_freed == 1:
            self._tell_freed(False)
