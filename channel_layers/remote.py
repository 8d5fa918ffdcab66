"""The inbox of a layer whose messages come from elsewhere: a reader delivers into it what was sent to this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from .inbox import Inbox
from .queues import ChannelQueue

#: Receivers that are woken in one turn of the loop.
_AT_ONCE = 50


class GroupMessage:
    """A group message on its way to several receivers; ``message`` is set by the first that decodes it."""

    __slots__ = ("flat", "message", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.message: dict[str, Any] | None = None
        self.flat = False


class RemoteInbox(Inbox):
    """An inbox into which a reader delivers. A direct message is ``bytes`` in it.

    :param drop_old: a full channel loses its oldest message, not the new one.
    """

    def __init__(self, expiry: float, capacity_of: Callable[[str], int], drop_old: bool) -> None:
        super().__init__(expiry, capacity_of)
        self.drop_old = drop_old
        #: Queues that hold a group message of which their waiters were not told yet, in their order.
        self.unwoken: dict[ChannelQueue, None] = {}
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
        if len(queue.items) >= queue.capacity:
            self._is_full(queue)

    def _is_full(self, queue: ChannelQueue) -> None:
        """A channel has become full with a message that was sent to it, or to a group."""

    def deliver_to_each(self, channels: Collection[str], payload: Any, deadline: float) -> None:
        """:meth:`deliver` one message to many channels, in the running loop.

        Of a crowd, only some are woken in each turn of the loop: what came in between, they find as well, and are not
        woken once for each message; and a large group does not stop the loop for all others.
        """
        queues, append, deliver, unwoken = self._queues, self._append, self.deliver, self.unwoken
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
            self._is_waking = bool(self.unwoken)
            if self._is_waking:
                self._wake_soon(loop)

    def wake_unwoken(self, count: int | None = None) -> None:
        """Wake those who are still to be woken, or the first ``count`` of them."""
        unwoken = self.unwoken
        for queue in list(unwoken if count is None else islice(unwoken, count)):
            del unwoken[queue]
            for _ in queue.items:  # as many receivers as there are messages
                if not queue.waiters.any():
                    break
                queue.waiters.wake()
        self._is_waking = self._is_waking and bool(unwoken)

    def miss(self, channel: str, reason: str = "full") -> None:
        """Count a message that never got here, since there was no room for it on its way, or that nobody can read."""
        self.arrived += 1
        self._drop(reason, channel)
