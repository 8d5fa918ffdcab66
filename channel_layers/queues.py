"""The unread messages of one channel, and those of all channels under one prefix."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from .waiters import Waiters


class ChannelQueue:
    """The unread messages of one channel, oldest first, and those who wait for one.

    An item is ``(deadline, number, payload)``; the number is its place among all arrivals of the inbox.
    """

    __slots__ = ("capacity", "items", "name", "parked", "prefix", "scheduled", "waiters")

    def __init__(self, name: str, capacity: int, prefix: Prefix | None) -> None:
        self.name = name
        self.capacity = capacity
        self.prefix = prefix
        self.items: deque[tuple[float, int, Any]] = deque()
        self.waiters = Waiters()
        self.scheduled = False  # stands in Inbox._due
        self.parked = False  # stands in Inbox._parked

    def oldest(self) -> ChannelQueue | None:
        return self if self.items else None


class Prefix:
    """The queues of all channels under one ``prefix!``, and those who wait for a message on any of them."""

    __slots__ = ("items", "name", "queues", "waiters")

    def __init__(self, name: str) -> None:
        self.name = name
        self.queues: set[ChannelQueue] = set()
        self.waiters = Waiters()
        # Unread messages in order of arrival, number -> queue. Kept from the first receive on this prefix on: most
        # prefixes are never received on, and pay nothing for the order.
        self.items: OrderedDict[int, ChannelQueue] | None = None

    def keep_order(self) -> None:
        if self.items is None:
            unread = sorted((number, queue) for queue in self.queues for _, number, _ in queue.items)
            self.items = OrderedDict(unread)

    def oldest(self) -> ChannelQueue | None:
        return next(iter(self.items.values()), None) if self.items else None
