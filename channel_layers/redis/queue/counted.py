"""An inbox whose places a server counts: it tells which of them have become free."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ...queues import ChannelQueue
from ..unread import RedisInbox

#: Added to the count of a channel that group messages have filled: no sender finds room there.
FULL = 1 << 40


class CountedInbox(RedisInbox):
    """An inbox whose direct messages occupy places that a server counts.

    :param free: called under the lock when places of a channel have become free: with the channel, their number, which
        is negative if they were taken, how many unread messages the channel still holds, and its capacity.
    """

    def __init__(
        self,
        expiry: float,
        capacity_of: Callable[[str], int],
        free: Callable[[str, int, int, int], None],
        drop_old: bool,
    ) -> None:
        super().__init__(expiry, capacity_of, drop_old)
        self.on_leave = self._leaves
        self._free = free
        self._flagged: set[str] = set()

    def count_direct(self, belongs: Callable[[str], bool]) -> dict[str, int]:
        """Channel -> unread direct messages held here, as the server should count them that the channels belong to."""
        counts = dict.fromkeys(filter(belongs, self._flagged), FULL)
        for queue in self._due:
            direct = sum(type(item[2]) is bytes for item in queue.items)
            if direct and belongs(queue.name):
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
            self._flagged.clear()

    def _is_full(self, queue: ChannelQueue) -> None:
        if queue.name not in self._flagged and any(type(item[2]) is not bytes for item in queue.items):
            self._flagged.add(queue.name)
            self.free(queue.name, -FULL)

    def _leaves(self, queue: ChannelQueue, payload: Any) -> None:
        if type(payload) is bytes:
            self._free(queue.name, 1, len(queue.items), queue.capacity)
        if self._flagged and queue.name in self._flagged and len(queue.items) < queue.capacity:
            self._flagged.discard(queue.name)
            self.free(queue.name, FULL)

    def free(self, channel: str, places: int) -> None:
        """Note places that have become free, of which the server should hear at once. Under the lock."""
        self._free(channel, places, FULL, 1)
