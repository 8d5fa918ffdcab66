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
from collections.abc import Callable, Iterable
from typing import Any

from .exceptions import LayerClosed
from .statistics import DropLog
from .waiters import Waiters

#: Queues that one operation looks at, at the most, to drop what has expired there: no send pays for all of them.
_SWEEP_STEPS = 8

#: Prefixes that are remembered although nobody waits there.
_IDLE_PREFIXES = 1000

#: Empty queues that are kept, since a channel that was just used is likely to be used again.
_PARKED_QUEUES = 256


class ChannelQueue:
    """The unread messages of one channel, oldest first, and those who wait for one.

    An item is ``(deadline, number, payload)``; the number is its place among all arrivals of the inbox.
    """

    __slots__ = ("capacity", "items", "name", "parked", "prefix", "scheduled", "waiters")

    def __init__(self, name: str, capacity: int, prefix: PrefixIndex | None) -> None:
        self.name = name
        self.capacity = capacity
        self.prefix = prefix
        self.items: deque[tuple[float, int, Any]] = deque()
        self.waiters = Waiters()
        self.scheduled = False  # stands in Inbox._due
        self.parked = False  # stands in Inbox._parked

    def oldest(self) -> ChannelQueue | None:
        return self if self.items else None


class PrefixIndex:
    """The unread messages of all channels under one ``prefix!``, in order of arrival: number -> queue."""

    __slots__ = ("arrivals", "waiters")

    def __init__(self) -> None:
        self.arrivals: OrderedDict[int, ChannelQueue] = OrderedDict()
        self.waiters = Waiters()

    def oldest(self) -> ChannelQueue | None:
        return next(iter(self.arrivals.values()), None)


class Inbox:
    """Queues by channel name, with capacity and expiry. All but :meth:`take` expect the caller to hold ``lock``.

    Drops are only noted under the lock; who releases it writes them to the log (``drops.write()``).

    :param expiry: seconds after which an unread message is dropped.
    :param capacity_of: gives the capacity of a channel by its name.
    """

    def __init__(self, expiry: float, capacity_of: Callable[[str], int]) -> None:
        self.lock = threading.Lock()
        self.expiry = expiry
        self.capacity_of = capacity_of
        self.arrived = 0
        self.delivered = 0
        self.dropped: Counter[str] = Counter()
        self.drops = DropLog()
        self._queues: dict[str, ChannelQueue] = {}
        self._prefixes: dict[str, PrefixIndex] = {}
        self._parked: deque[ChannelQueue] = deque()
        # When to look at a queue for expired messages: one entry for each queue that holds any, earliest first.
        self._due: OrderedDict[ChannelQueue, float] = OrderedDict()
        self._next_due = math.inf
        self._times_closed = 0
        # Waits whose coroutine was thrown away. That can happen in the garbage collector, while this very thread holds
        # the lock; so they are only noted, and removed by the next operation.
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
        self._append(queue, payload, now)
        return True

    def put_each(self, channels: Iterable[str], payload: Any) -> None:
        """Append one group message to each of the channels; a full one drops it, and counts the drop."""
        now = time.monotonic()
        if now >= self._next_due or self._abandoned:
            self._tidy(now)
        for channel in channels:
            queue = self._queues.get(channel)
            if queue is None:
                queue = self._open(channel)
            elif len(queue.items) >= queue.capacity and not self._make_room(queue, now):
                self.arrived += 1
                self._drop("full", channel)
                continue
            self._append(queue, payload, now)

    def _append(self, queue: ChannelQueue, payload: Any, now: float) -> None:
        self.arrived = number = self.arrived + 1
        deadline = now + self.expiry
        queue.items.append((deadline, number, payload))
        if not queue.scheduled:
            self._schedule(queue, deadline)
        if queue.waiters.by_loop:
            queue.waiters.wake()
        prefix = queue.prefix
        if prefix is not None:
            prefix.arrivals[number] = queue
            if prefix.waiters.by_loop:
                prefix.waiters.wake()

    def _make_room(self, queue: ChannelQueue, now: float) -> bool:
        self._expire(queue, now)
        return len(queue.items) < queue.capacity

    # Delivery

    async def take(self, channel: str) -> Any:
        """The oldest message of a channel, or of all channels under a ``prefix!``; waits until there is one.

        Cancelling it at any moment loses nothing: a message is taken only by a receiver that runs, in the step that
        returns it.

        :raises LayerClosed: when the inbox was closed while this waited.
        """
        woken = False
        times_closed = self._times_closed
        while True:
            with self.lock:
                if self._times_closed != times_closed:
                    raise LayerClosed(f"the layer was closed while receive({channel!r}) waited")
                payload = self.claim(channel)
                if payload is None:
                    future = self._source(channel).waiters.add(first=woken)
            if self.drops.unwritten:
                self.drops.write()
            if payload is not None:
                return payload
            try:
                await future
            except GeneratorExit:
                self._abandoned.append((channel, future))
                raise
            except BaseException:
                with self.lock:
                    self._leave(channel, future)
                raise
            woken = True

    def claim(self, channel: str) -> Any:
        while True:
            queue = self._queues.get(channel) if channel[-1] != "!" else self._source(channel).oldest()
            if queue is None or not queue.items:
                return None
            deadline, number, payload = queue.items.popleft()
            if queue.prefix is not None:
                del queue.prefix.arrivals[number]
            if not queue.parked and not queue.items:
                self._park(queue)
            if deadline > time.monotonic():
                self.delivered += 1
                return payload
            self._drop("expired", queue.name)

    def _source(self, channel: str) -> ChannelQueue | PrefixIndex:
        if channel[-1] == "!":
            return self._prefixes.get(channel) or self._open_prefix(channel)
        return self._queues.get(channel) or self._open(channel)

    def _leave(self, channel: str, future: asyncio.Future[None]) -> None:
        source = self._source(channel)
        if not source.waiters.remove(future) and source.oldest() is not None:
            source.waiters.wake()  # it was woken for a message that it will not take: let the next one look
        if isinstance(source, ChannelQueue) and not source.items and not source.parked:
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
        for index in self._prefixes.values():
            index.waiters.wake_all()
        self._queues.clear()
        self._prefixes.clear()
        self._parked.clear()

    def unread(self) -> int:
        """How many messages wait and have not expired, by looking at every queue."""
        now = time.monotonic()
        for queue in tuple(self._due):
            self._expire(queue, now)
        return sum(len(queue.items) for queue in self._due)

    def _drop_all(self, queue: ChannelQueue, reason: str) -> None:
        self.dropped[reason] += len(queue.items)  # asked for, and so not logged
        self._remove_oldest(queue, len(queue.items))
        self._unschedule(queue)

    def _expire(self, queue: ChannelQueue, now: float) -> None:
        while queue.items and queue.items[0][0] <= now:
            self._remove_oldest(queue, 1)
            self._drop("expired", queue.name)

    def _remove_oldest(self, queue: ChannelQueue, count: int) -> None:
        for _ in range(count):
            _, number, _ = queue.items.popleft()
            if queue.prefix is not None:
                del queue.prefix.arrivals[number]
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

    def _tidy(self, now: float) -> None:
        while self._abandoned:
            self._leave(*self._abandoned.popleft())
        for _ in range(_SWEEP_STEPS):
            queue, self._next_due = next(iter(self._due.items()), (None, math.inf))
            if queue is None or self._next_due > now:
                return
            self._expire(queue, now)
            self._unschedule(queue)
            if queue.items:
                self._schedule(queue, now + self.expiry)

    # Queues come and go with what they hold

    def _open(self, channel: str) -> ChannelQueue:
        remote, mark, _ = channel.partition("!")
        prefix = self._prefixes.get(remote + mark) if mark and self._prefixes else None
        queue = self._queues[channel] = ChannelQueue(channel, self.capacity_of(channel), prefix)
        return queue

    def _park(self, queue: ChannelQueue) -> None:
        """Keep an empty queue until enough others have become empty after it."""
        queue.parked = True
        self._parked.append(queue)
        if len(self._parked) > _PARKED_QUEUES:
            oldest = self._parked.popleft()
            oldest.parked = False
            if not oldest.items:
                self._unschedule(oldest)
                if not oldest.waiters.by_loop and self._queues.get(oldest.name) is oldest:
                    del self._queues[oldest.name]

    def _open_prefix(self, prefix: str) -> PrefixIndex:
        if len(self._prefixes) >= _IDLE_PREFIXES:
            used = {name: it for name, it in self._prefixes.items() if it.arrivals or it.waiters.by_loop}
            self._prefixes = used
        index = self._prefixes[prefix] = PrefixIndex()
        below = [queue for queue in self._queues.values() if queue.name.startswith(prefix)]
        for queue in below:
            queue.prefix = index
        index.arrivals.update(sorted((number, queue) for queue in below for _, number, _ in queue.items))
        return index
