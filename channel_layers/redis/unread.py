"""The inbox of a Redis client: it also holds, for a moment, what was taken from normal channels on a server."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from ..queues import ChannelQueue
from ..remote import RemoteInbox


class Popped:
    """A message of a normal channel that was taken from a server, for somebody who waited here.

    :param element: as it was on the server.
    :param source: where it goes if nobody takes it.
    """

    __slots__ = ("element", "payload", "source")

    def __init__(self, element: bytes, payload: bytes, source: Any) -> None:
        self.element = element
        self.payload = payload
        self.source = source


class RedisInbox(RemoteInbox):
    """An inbox into which the readers of a client deliver."""

    #: Called under the lock when a channel lost what it held: whoever that was for waits on.
    on_drop: Callable[[str], None] = staticmethod(lambda channel: None)

    def deliver_popped(self, channel: str, popped: Popped, deadline: float) -> None:
        """Append a message for somebody who waits: it had its place on the server, and no more come than wait."""
        self._append(self._queues.get(channel) or self._open(channel), popped, deadline)

    def has_room(self, channel: str, coming: int) -> bool:
        """Whether a message to a channel of this process finds room behind those that are on their way."""
        queue = self._queues.get(channel)
        if queue is None:
            return coming < self.capacity_of(channel)
        if len(queue.items) + coming >= queue.capacity:
            self._expire(queue, time.monotonic())
        return len(queue.items) + coming < queue.capacity

    def announce(self, payload: bytes, also_to: Collection[str] = ()) -> list[str]:
        """Append a message to every channel that somebody waits at, or that holds unread ones, also if it is full.

        :param also_to: channels that get it in any case.
        :returns: those that got it.
        """
        now = time.monotonic()
        for queue in tuple(self._due):
            self._expire(queue, now)
        names = dict.fromkeys(name for name, queue in self._queues.items() if queue.items or queue.waiters.any())
        names.update(dict.fromkeys(also_to))
        for name in names:
            self._append(self._queues.get(name) or self._open(name), payload, now + self.expiry)
        return list(names)

    def held(self, channel: str) -> int:
        """How many messages wait here for a channel."""
        queue = self._queues.get(channel)
        return len(queue.items) if queue is not None else 0

    def give_away(self, channel: str, keep: int = 0) -> list[Popped]:
        """Take back what was popped for a normal channel, but for the oldest ``keep`` messages; oldest first.

        What else it holds came for this process only, and stays.
        """
        if self.held(channel) <= keep:
            return []
        queue = self._queues[channel]
        given: list[Popped] = []
        kept: deque[tuple[float, int, Any]] = deque()
        for item in queue.items:
            if len(kept) + len(given) >= keep and type(item[2]) is Popped:
                given.append(item[2])
            else:
                kept.append(item)
        queue.items = kept
        self.arrived -= len(given)
        if not kept and not queue.parked:
            self._park(queue)
        return given

    def _drop(self, reason: str, channel: str) -> None:
        super()._drop(reason, channel)
        self.on_drop(channel)

    def _drop_all(self, queue: ChannelQueue, reason: str) -> None:
        super()._drop_all(queue, reason)
        self.on_drop(queue.name)

    def tidy(self) -> None:
        """Drop what has expired, also in channels that nobody asks for."""
        self._tidy(time.monotonic(), len(self._due))

    @property
    def holds_any(self) -> bool:
        """Whether any message waits here."""
        return bool(self._due)

    def popped(self) -> list[str]:
        """The normal channels that hold what was popped for them."""
        return [queue.name for queue in self._due if queue.items and "!" not in queue.name]
