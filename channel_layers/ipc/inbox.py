"""The inbox of a client: what its reader delivers into. It tells senders what has left, and what is full."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from ..queues import ChannelQueue
from ..remote import RemoteInbox
from .counters import NOWHERE, Counters
from .locks import BUSY
from .mailbox import FLUSHES, NOTICED
from .reader import Reader
from .segment import IN_ORDER

#: Seconds between two looks at all channels, at the least, and as a part of the expiry.
_PAUSE, _PAUSES = 0.05, 20


class Uncounted(bytes):
    """A direct message of a channel for which the counters had no room."""


class MailboxInbox(RemoteInbox):
    """An inbox that keeps the counters of a mailbox. A counted direct message is ``bytes`` in it.

    :param forget: called, under the lock, when the layer was flushed.
    """

    def __init__(self, expiry: float, capacity_of: Callable[[str], int], forget: Callable[[], None]) -> None:
        super().__init__(expiry, capacity_of, drop_old=False)
        self._forget_memberships = forget
        self._reader: Reader | None = None
        self._locked: Callable[..., Any] | None = None
        self._counters: Counters | None = None
        self._places = 0  # entries that there are; NOWHERE is beyond, as is what a broken process may have written
        # Of channels that have counted messages here, or are marked full: as long as nobody else is given the entry.
        self._entries: dict[ChannelQueue, int] = {}
        #: Channels that are full, partly with group messages; True once senders know.
        self.full: dict[ChannelQueue, bool] = {}
        self.has_unmarked = False
        # Of the latest look at all channels: when the oldest message expires, and until when there is to be no other.
        self._oldest = math.inf
        self._looked_until = 0.0
        self.on_leave = self._has_left

    def use(self, reader: Reader | None, locked: Callable[..., Any] | None = None) -> None:
        """Keep the counters of this mailbox from now on. Under the lock, and empty.

        :param locked: calls something under the lock of the mailbox.
        """
        self._reader = reader
        self._locked = locked
        self._counters = reader.mailbox.counters if reader is not None else None
        self._places = len(self._counters.left) if self._counters is not None else 0
        self._entries.clear()
        self.full.clear()

    # Arrival

    def deliver_direct(self, channel: str, payload: bytes, deadline: float, entry: int) -> None:
        """Append a direct message that was counted in an entry, or in none."""
        queue = self._queues.get(channel) or self._open(channel)
        if entry >= self._places:
            payload = Uncounted(payload)
        else:
            self._entries[queue] = entry
        if len(queue.items) + 1 < queue.capacity:
            self._append(queue, payload, deadline)
        else:
            self.deliver(channel, payload, deadline)

    def _is_full(self, queue: ChannelQueue) -> None:
        # Where all is counted, senders know already.
        is_known = all(type(payload) is bytes for _, _, payload in queue.items)
        self.full[queue] = is_known
        self.has_unmarked = self.has_unmarked or not is_known

    def mark_full(self, key_of: Callable[[str], int]) -> None:
        """Tell senders which channels are full. Under the lock of the mailbox, too."""
        counters = self._counters
        if counters is None:
            return
        self.has_unmarked = False
        for queue, is_marked in self.full.items():
            if not is_marked:
                entry = self._entries.get(queue, NOWHERE)
                key = key_of(queue.name)
                if entry == NOWHERE or counters.hashes[entry] != key:
                    entry = counters.entry(key, counters.left)
                if entry != NOWHERE:
                    self._entries[queue] = entry
                    counters.full[entry] = 1
                self.full[queue] = True

    # Departure

    def _has_left(self, queue: ChannelQueue, payload: Any) -> None:
        counters = self._counters
        if counters is None:
            return
        entry = self._entries.get(queue, NOWHERE) if queue.items else self._entries.pop(queue, NOWHERE)
        if entry != NOWHERE and type(payload) is bytes:
            left = counters.left
            count = (left[entry] + 1) & 0xFFFF_FFFF
            if queue.items and count == counters.sent[entry]:  # before the next step, which may give it to others
                self._let_go(queue)
            left[entry] = count
        if self.full and queue in self.full and len(queue.items) < queue.capacity:
            del self.full[queue]
            if entry != NOWHERE:
                if counters.left[entry] == counters.sent[entry]:
                    self._let_go(queue)
                counters.full[entry] = 0

    def _let_go(self, queue: ChannelQueue) -> None:
        """What is left are copies of group messages: the entry may be given to another channel, unless it is marked."""
        if not self.full.get(queue):
            self._entries.pop(queue, None)

    def claim_at_once(self, channel: str) -> Any:
        """Take the oldest message of a channel of this process, or return None. Without the lock."""
        queue = self._queues.get(channel)
        if queue is None or not queue.items or queue.prefix is None:
            return None
        with self.lock:
            payload = self.take_first(channel)
        if self.drops.unwritten:
            self.drops.write()
        return payload

    def take_first(self, channel: str) -> Any:
        """Do what :meth:`claim` does, in one piece: a message that lies here is nearly always taken so."""
        now = time.monotonic()
        queue, reader = self._queues.get(channel), self._reader
        if (
            queue is None
            or queue.prefix is None
            or queue.prefix.items is not None
            or not queue.items
            or queue.items[0][0] <= now
            or now >= self._next_due
            or self._abandoned
            or reader is None
            or reader.words[NOTICED] != reader.words[FLUSHES]
        ):
            return self.claim(channel)
        payload = queue.items.popleft()[2]
        if not queue.items and not queue.parked:
            self._park(queue)
        self._has_left(queue, payload)
        self.delivered += 1
        return payload

    def may_pass_by(self, channel: str, now: float) -> bool:
        """Whether the next message to a channel may be taken without a stop in its queue: nothing else is due."""
        queue = self._queues.get(channel)
        if queue is None or queue.items or now >= self._next_due or self._abandoned:
            return False
        return queue.prefix is not None and queue.prefix.items is None

    def pass_by(self, payload: bytes, entry: int) -> bytes:
        """Count a message that was taken so."""
        self.arrived += 1
        self.delivered += 1
        if entry < self._places and self._counters is not None:
            left = self._counters.left
            left[entry] = (left[entry] + 1) & 0xFFFF_FFFF
        return payload

    def claim(self, channel: str) -> Any:
        """Take the oldest message, unless the layer was flushed since it came."""
        reader = self._reader
        if reader is not None and reader.words[NOTICED] != reader.words[FLUSHES] and not self.look_for_flush():
            return None  # all that is here was flushed
        return super().claim(channel)

    def unread(self) -> int:
        """How many messages wait, if the layer was not flushed since they came."""
        self.look_for_flush()
        return super().unread()

    def look_for_flush(self) -> bool:
        """:meth:`notice_flush` where the mailbox is not locked; False if another process holds the lock."""
        if IN_ORDER or self._locked is None or self._reader is None or not self._reader.has_flush:
            self.notice_flush()
            return True
        return self._locked(self.notice_flush) is not BUSY

    def notice_flush(self) -> None:
        """Drop everything if the layer was flushed. Under the lock of the mailbox, unless all is seen in order."""
        reader, counters = self._reader, self._counters
        if reader is None or not reader.has_flush:
            return
        self._counters = None  # what a flush leaves of them is known already
        self.clear("flushed")
        self._entries.clear()
        self.full.clear()
        self._forget_memberships()
        reader.notice_flush()
        self._counters = counters

    def close(self) -> None:
        """Drop everything and end every wait."""
        super().close()
        self._entries.clear()
        self.full.clear()

    # What the reader looks after

    def counted(self) -> dict[int, int]:
        """Entry -> counted messages that are here. Whoever has none lets its entry go."""
        counted: dict[int, int] = {}
        for queue, entry in tuple(self._entries.items()):
            count = sum(type(payload) is bytes for _, _, payload in queue.items)
            if count:
                counted[entry] = counted.get(entry, 0) + count
            else:
                self._let_go(queue)
        return counted

    def next_to_expire(self) -> float:
        """When to drop what has expired (monotonic), so that senders may send again.

        That is in time for the channels that are full. A sender may find another one full, if the capacity that it
        knows is smaller; so all are looked at, but not often.
        """
        due = max(self._due_in_all(), self._looked_until)
        if self.full:
            due = min(due, min((queue.items[0][0] for queue in self.full if queue.items), default=math.inf))
        return due

    def _due_in_all(self) -> float:
        # What came since the latest look stands in _due, or in a queue that already held what expires earlier.
        return min(self._oldest, self._next_due)

    def drop_expired(self) -> None:
        """Drop what has expired: in full channels, or, if it is time for that, in all."""
        now = time.monotonic()
        if now < max(self._due_in_all(), self._looked_until):
            for queue in tuple(self.full):
                self._expire(queue, now)
            return
        oldest = math.inf
        for queue in tuple(self._due):
            items = queue.items
            if items and items[0][0] <= now:
                self._expire(queue, now)
            if items:
                oldest = min(oldest, items[0][0])
            else:
                self._unschedule(queue)
        self._oldest = oldest
        self._next_due = next(iter(self._due.values()), math.inf)
        self._looked_until = now + max(_PAUSE, self.expiry / _PAUSES)
