"""The inbox of a Redis client: what its readers deliver into."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from ..inbox import ChannelQueue, Inbox

#: Receivers that are woken in one turn of the loop.
_AT_ONCE = 50


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


class GroupMessage:
    """A group message on its way to several receivers; ``message`` is set by the first that decodes it."""

    __slots__ = ("flat", "message", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.message: dict[str, Any] | None = None
        self.flat = False


class RemoteInbox(Inbox):
    """An inbox into which a reader delivers what comes from a server. A direct message is ``bytes`` in it.

    :param drop_old: a full channel loses its oldest message, not the new one.
    """

    def __init__(self, expiry: float, capacity_of: Callable[[str], int], drop_old: bool) -> None:
        super().__init__(expiry, capacity_of)
        self.drop_old = drop_old
        # Queues that hold a group message of which their waiters were not told yet, in their order.
        self._unwoken: dict[ChannelQueue, None] = {}
        self._is_waking = False

    def claim_at_once(self, channel: str) -> Any:
        """Take the oldest message of a channel of this process, or return None. Without the lock."""
        queue = self._queues.get(channel)
        if queue is None or not queue.items or queue.prefix is None:
            return None
        with self.lock:
            payload = self.claim(channel)
        if self.drops.unwritten:
            self.drops.write()
        return payload

    def deliver(self, channel: str, payload: Any, deadline: float) -> None:
        """Append a message that has arrived, to be dropped at ``deadline`` (monotonic seconds) if it is unread then."""
        queue = self._queues.get(channel) or self._open(channel)
        if len(queue.items) >= queue.capacity and not self._make_room(queue, time.monotonic()):
            if not self.drop_old:
                self.arrived += 1
                self._drop("full", channel)
                if self.on_leave is not None:
                    self.on_leave(queue, payload)
                return
            self._remove_oldest(queue, 1)
            self._drop("full", channel)
        self._append(queue, payload, deadline)
        if len(queue.items) >= queue.capacity and type(payload) is not Popped:
            self._is_full(queue)

    def _is_full(self, queue: ChannelQueue) -> None:
        """A channel has become full with a message that was sent to it, or to a group."""

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
        failure = None
        for channel in channels:
            queue = queues.get(channel)
            if queue is None or len(queue.items) + 1 >= queue.capacity:
                try:
                    deliver(channel, payload, deadline)
                except Exception as error:  # a capacity that a user computes, say: the others get it
                    failure = error
            elif at_once:
                append(queue, payload, deadline)
            else:
                append(queue, payload, deadline, False)
                unwoken[queue] = None
        if unwoken and not self._is_waking:
            self._is_waking = True
            self._wake_soon(asyncio.get_running_loop())
        if failure is not None:
            raise failure

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
