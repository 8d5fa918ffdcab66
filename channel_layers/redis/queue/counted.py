"""An inbox whose places a server counts: it tells which of them have become free."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ...inbox import ChannelQueue
from ..unread import RemoteInbox

#: Places of channels with much room that may be free without the servers' knowing, for a moment.
_PLACES = 8

#: Added to the count of a channel that group messages have filled: no sender finds room there.
FULL = 1 << 40


class CountedInbox(RemoteInbox):
    """An inbox whose direct messages occupy places that a server counts.

    :param freed: called under the lock when places have become free, with whether the servers should hear of it at
        once: then once until :meth:`take_freed` is called.
    """

    def __init__(
        self, expiry: float, capacity_of: Callable[[str], int], freed: Callable[[bool], None], drop_old: bool
    ) -> None:
        super().__init__(expiry, capacity_of, drop_old)
        self.on_leave = self._leaves
        self._tell_freed = freed
        #: Channel -> places that have become free and that the server does not know of.
        self._freed: dict[str, int] = {}
        self._places_freed = 0
        self._flagged: set[str] = set()

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

    def _is_full(self, queue: ChannelQueue) -> None:
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
