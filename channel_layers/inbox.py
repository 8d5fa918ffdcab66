"""The messages of one process that wait for a ``receive()``: a queue for each channel.

Every backend delivers into an inbox; the in-memory layer is hardly more than one. Nothing here runs by itself: no task,
no thread, no timer. Each operation costs the same however much other channels hold.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from .exceptions import LayerClosed
from .queues import ChannelQueue, Prefix
from .statistics import DropLog

#: Queues that one operation looks at, at the most, to drop what has expired there: no send pays for all of them.
_SWEEP_STEPS = 8

#: Empty queues that are kept, since a channel that was just used is likely to be used again.
_PARKED_QUEUES = 2048


class Inbox:
    """Queues by channel name, with capacity and expiry. All but :meth:`take` expect the caller to hold ``lock``.

    Drops are only noted under the lock; who releases it writes them to the log (``drops.write()``).

    :param expiry: seconds after which an unread message is dropped.
    :param capacity_of: gives the capacity of a channel by its name. It is called under the lock, so it must not call
        the layer.
    """

    def __init__(self, expiry: float, capacity_of: Callable[[str], int]) -> None:
        self.lock = threading.Lock()
        self.expiry = expiry
        self.capacity_of = capacity_of
        self.arrived = 0
        self.delivered = 0
        self.dropped: Counter[str] = Counter()
        self.drops = DropLog()
        #: Called under the lock with each message that leaves its queue, delivered or dropped.
        self.on_leave: Callable[[ChannelQueue, Any], None] | None = None
        self._queues: dict[str, ChannelQueue] = {}
        self._prefixes: dict[str, Prefix] = {}
        self._parked: deque[ChannelQueue] = deque()
        # When to look at a queue for expired messages: one entry for each queue that holds any, earliest first.
        self._due: OrderedDict[ChannelQueue, float] = OrderedDict()
        self._next_due = math.inf
        self._times_closed = 0
        # Waits whose coroutine was thrown away while the lock was held, perhaps by this very thread: the garbage
        # collector may run anywhere. They are removed by the next operation.
        self._abandoned: deque[tuple[str, asyncio.Future[None]]] = deque()

    # Arrival

    def put(self, channel: str, payload: Any) -> bool:
        """Append a message and wake who waits for it; False, and nothing done, if the channel is full."""
        now = time.monotonic()
        if now >= self._next_due or self._abandoned:
            self._tidy(now)
        queue = self._queues.get(channel)
        if queue is None:
            queue = self._open(channel)
        elif len(queue.items) >= queue.capacity and not self._make_room(queue, now):
            return False
        self._append(queue, payload, now + self.expiry)
        return True

    def put_each(self, channels: Collection[str], payload: Any) -> None:
        """Append one group message to each of the channels; a full one drops it, and counts the drop."""
        now = time.monotonic()
        if now >= self._next_due or self._abandoned:
            self._tidy(now, _SWEEP_STEPS + 2 * len(channels))
        for channel in channels:
            if channel not in self._queues:
                self._open(channel)  # all of them first: what a user's get_capacity() raises, it raises before any send
        for channel in channels:
            queue = self._queues.get(channel) or self._open(channel)
            if len(queue.items) >= queue.capacity and not self._make_room(queue, now):
                self.arrived += 1
                self._drop("full", channel)
            else:
                self._append(queue, payload, now + self.expiry)

    def _append(self, queue: ChannelQueue, payload: Any, deadline: float, wake: bool = True) -> None:
        self.arrived = number = self.arrived + 1
        queue.items.append((deadline, number, payload))
        if not queue.scheduled:
            self._schedule(queue, deadline)
        waiters = queue.waiters
        if wake and (waiters.alone is not None or waiters.by_loop):
            waiters.wake()
        prefix = queue.prefix
        if prefix is not None and prefix.items is not None:
            prefix.items[number] = queue
            if prefix.waiters.any():
                prefix.waiters.wake()

    def _make_room(self, queue: ChannelQueue, now: float) -> bool:
        self._expire(queue, now)
        return len(queue.items) < queue.capacity

    # Delivery

    def take(self, channel: str) -> Coroutine[Any, Any, Any]:
        """The oldest message of a channel, or of all channels under a ``prefix!``; waits until there is one.

        Cancelling it at any moment loses nothing: a message is taken only by a receiver that runs, in the step that
        returns it.

        :raises LayerClosed: when the inbox was closed since this was called.
        """
        return self._take(channel, self._times_closed)  # which may run later, and in another loop

    async def _take(self, channel: str, times_closed: int) -> Any:
        woken = False
        while True:
            with self.lock:
                if self._times_closed != times_closed:
                    raise LayerClosed(f"the layer was closed while receive({channel!r}) waited")
                source, payload = self._source(channel), None
                if source.items:
                    payload = self.claim(channel)
                    source = self._source(channel)  # what had expired is gone, and the queue perhaps with it
                if payload is None:
                    future = source.waiters.add(at_front=woken)
            if self.drops.unwritten:
                self.drops.write()
            if payload is not None:
                return payload
            try:
                await future
            except GeneratorExit:
                if self.lock.acquire(blocking=False):
                    try:
                        self._leave(channel, future)
                    finally:
                        self.lock.release()
                else:
                    self._abandoned.append((channel, future))
                raise
            except BaseException:
                with self.lock:
                    self._leave(channel, future)
                raise
            woken = True

    def claim(self, channel: str) -> Any:
        """Take the oldest message that has arrived for a channel or a ``prefix!``; None if there is none."""
        now = time.monotonic()
        if now >= self._next_due or self._abandoned:
            self._tidy(now)
        while True:
            queue = self._queues.get(channel) if channel[-1] != "!" else self._source(channel).oldest()
            if queue is None or not queue.items:
                return None
            deadline, number, payload = queue.items.popleft()
            if queue.prefix is not None and queue.prefix.items is not None:
                del queue.prefix.items[number]
            if not queue.parked and not queue.items:
                self._park(queue)
            if self.on_leave is not None:
                self.on_leave(queue, payload)
            if deadline > now:
                self.delivered += 1
                return payload
            self._drop("expired", queue.name)

    def _source(self, channel: str) -> ChannelQueue | Prefix:
        if channel[-1] != "!":
            return self._queues.get(channel) or self._open(channel)
        prefix = self._prefix(channel)
        prefix.keep_order()
        return prefix

    def _leave(self, channel: str, future: asyncio.Future[None]) -> None:
        source = (self._queues if channel[-1] != "!" else self._prefixes).get(channel)
        if source is None:
            return  # closed meanwhile
        if not source.waiters.remove(future) and source.items:
            source.waiters.wake()  # it was woken for a message that it will not take: let the next one look
        if isinstance(source, Prefix):
            self._forget_if_unused(source)
        elif not source.items and not source.parked:
            self._park(source)

    # Removal

    def discard(self, channel: str) -> None:
        """Drop what a channel holds. Who waits there waits on."""
        queue = self._queues.get(channel)
        if queue is not None:
            self._drop_all(queue, "discarded")

    def clear(self, reason: str) -> None:
        """Drop what all channels hold. Who waits anywhere waits on."""
        for queue in tuple(self._due):
            self._drop_all(queue, reason)

    def close(self) -> None:
        """Drop everything and end every waiting :meth:`take` with LayerClosed. The inbox can be used again."""
        self._times_closed += 1
        self.clear("closed")
        for queue in self._queues.values():
            queue.waiters.wake_all()
        for prefix in self._prefixes.values():
            prefix.waiters.wake_all()
        self._queues.clear()
        self._prefixes.clear()
        self._parked.clear()

    def unread(self) -> int:
        """How many messages wait and have not expired, by looking at every queue."""
        now = time.monotonic()
        for queue in tuple(self._due):
            self._expire(queue, now)
        return sum(len(queue.items) for queue in self._due)

    def contents(self) -> dict[str, list[Any]]:
        """The unread payloads of each channel that has any, or at which somebody waits."""
        self.unread()  # what has expired goes
        queues = [queue for queue in self._queues.values() if queue.items or queue.waiters.any()]
        waiting: dict[str, list[Any]] = {name: [] for name, prefix in self._prefixes.items() if prefix.waiters.any()}
        return waiting | {queue.name: [payload for _, _, payload in queue.items] for queue in queues}

    def _drop_all(self, queue: ChannelQueue, reason: str) -> None:
        if queue.items:
            self.dropped[reason] += len(queue.items)  # asked for, and so not logged
        self._remove_oldest(queue, len(queue.items))
        self._unschedule(queue)

    def _expire(self, queue: ChannelQueue, now: float) -> None:
        while queue.items and queue.items[0][0] <= now:
            self._remove_oldest(queue, 1)
            self._drop("expired", queue.name)

    def _remove_oldest(self, queue: ChannelQueue, count: int) -> None:
        for _ in range(count):
            _, number, payload = queue.items.popleft()
            if queue.prefix is not None and queue.prefix.items is not None:
                del queue.prefix.items[number]
            if self.on_leave is not None:
                self.on_leave(queue, payload)
        if not queue.items and not queue.parked:
            self._park(queue)

    def _drop(self, reason: str, channel: str) -> None:
        self.dropped[reason] += 1
        self.drops.note(reason, channel)

    # Expiry: each queue that holds messages is looked at once in ``expiry`` seconds

    def _schedule(self, queue: ChannelQueue, due: float) -> None:
        queue.scheduled = True
        self._due[queue] = due
        self._next_due = min(due, self._next_due)

    def _unschedule(self, queue: ChannelQueue) -> None:
        if queue.scheduled:
            queue.scheduled = False
            del self._due[queue]

    def _tidy(self, now: float, steps: int = _SWEEP_STEPS) -> None:
        while self._abandoned:
            self._leave(*self._abandoned.popleft())
        for _ in range(steps):
            queue, self._next_due = next(iter(self._due.items()), (None, math.inf))
            if queue is None or self._next_due > now:
                return
            self._expire(queue, now)
            self._unschedule(queue)
            if queue.items:
                self._schedule(queue, now + self.expiry)

    # Queues come and go with what they hold

    def _open(self, channel: str) -> ChannelQueue:
        capacity = self.capacity_of(channel)
        remote, mark, _ = channel.partition("!")
        prefix = self._prefix(remote + mark) if mark else None
        queue = self._queues[channel] = ChannelQueue(channel, capacity, prefix)
        if prefix is not None:
            prefix.queues.add(queue)
        return queue

    def _prefix(self, name: str) -> Prefix:
        prefix = self._prefixes.get(name)
        if prefix is None:
            prefix = self._prefixes[name] = Prefix(name)
        return prefix

    def _park(self, queue: ChannelQueue) -> None:
        """Keep an empty queue until enough others have become empty after it."""
        queue.parked = True
        self._parked.append(queue)
        if len(self._parked) > _PARKED_QUEUES:
            oldest = self._parked.popleft()
            oldest.parked = False
            if not oldest.items:
                self._unschedule(oldest)
                if not oldest.waiters.any():
                    self._forget(oldest)

    def _forget(self, queue: ChannelQueue) -> None:
        if self._queues.get(queue.name) is queue:
            del self._queues[queue.name]
        if queue.prefix is not None:
            queue.prefix.queues.discard(queue)
            self._forget_if_unused(queue.prefix)

    def _forget_if_unused(self, prefix: Prefix) -> None:
        if not prefix.queues and not prefix.waiters.any() and self._prefixes.get(prefix.name) is prefix:
            del self._prefixes[prefix.name]
