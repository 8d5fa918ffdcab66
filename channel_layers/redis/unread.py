"""The inbox of a Redis client: it tells the servers which places have become free."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..inbox import ChannelQueue, Inbox

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

    :param freed: called under the lock when places have become free, once until :meth:`take_freed` is called.
    :param drop_old: a full channel loses its oldest message, not the new one.
    """

    def __init__(
        self, expiry: float, capacity_of: Callable[[str], int], freed: Callable[[], None], drop_old: bool
    ) -> None:
        super().__init__(expiry, capacity_of)
        self.drop_old = drop_old
        self.on_leave = self._leaves
        self._freed_once = freed
        #: Channel -> places that have become free and that the server does not know of.
        self._freed: dict[str, int] = {}
        self._flagged: set[str] = set()

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

    def miss(self, channel: str) -> None:
        """Count a message that never got here, since the channel was full on the server."""
        self.arrived += 1
        self._drop("full", channel)

    def give_away(self, channel: str) -> list[bytes]:
        """Take back what was popped for a normal channel; the elements as they were, oldest first."""
        queue = self._queues.get(channel)
        if queue is None or not queue.items:
            return []
        elements = [item[2].element for item in queue.items]
        self.arrived -= len(elements)
        self._remove_oldest(queue, len(elements))
        return elements

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
            self.free(queue.name, 1)
        if queue.name in self._flagged and len(queue.items) < queue.capacity:
            self._flagged.discard(queue.name)
            self.free(queue.name, FULL)

    def free(self, channel: str, places: int) -> None:
        """Note places that have become free; negative ones are taken. Under the lock."""
        freed = self._freed
        if not freed:
            self._freed_once()
        freed[channel] = freed.get(channel, 0) + places
