"""The mailbox of one client: what senders write under its lock, and what its owner reads.

A mailbox is one segment: a header, the summary of its groups, the counters of its channels, and a ring of records.

* The **summary** has a counter for each hash of a group's name. Where it is zero, the owner has no member of the group,
  and a ``group_send`` passes by. It may be too high, after a death; the owner puts it right when it gets a message in
  vain. It is never too low.
* A sender **wakes** the owner before it publishes a record, if the owner sleeps. So a death leaves either a record that
  was announced, or an announcement of nothing. Waking takes longer than all the rest, so a sender may begin with it,
  before it has the lock: it notes the number of the sleep, and rings again if the owner has fallen asleep once more.
* A **flush** notes how far the ring went; the owner skips what lies before, and drops what it holds.
"""

from __future__ import annotations

import struct
from time import monotonic
from typing import Any, Final, NamedTuple

from ..exceptions import ChannelFull
from . import faults
from .counters import NOWHERE, Counters
from .missed import Missed
from .ring import HEAD, LIFETIME, TAIL, Ring
from .segment import HEADER, Segment
from .wakeup import Rope

#: What kind of segment a mailbox is.
KIND = 2

# Words of the header. Those below _SUMMARY are changed under the lock only.
SLEEPING, DIRTY, REBUILD, FLUSH_AT, FLUSHES, _SUMMARY, _COUNTERS, _RING = range(24, 32)
NOTICED = 40  # the owner's: how many flushes it has noticed; those that follow are those of Missed

#: Kinds of records.
DIRECT, GROUP, ADD, DISCARD, END = range(5)

# Length of the record in bytes, entry among the counters, when it was sent (monotonic), kind, length of the name.
RECORD = struct.Struct("<IIdBB")
FIXED = RECORD.size
_pack = RECORD.pack
_MASK = 0xFFFF_FFFF

#: Why a record was not pushed.
FULL: Final = "full"
NO_ROOM: Final = "no room"
TOO_LARGE: Final = "too large"


def channel_full(channel: str, capacity: int, outcome: Any) -> ChannelFull:
    """The error for a message that was not pushed, saying why."""
    if outcome is FULL:
        return ChannelFull(channel, capacity)
    if outcome is NO_ROOM:
        return ChannelFull(channel, reason="there is no room for more in its shared memory (message_memory)")
    return ChannelFull(channel, reason="it is locked by a process that was stopped")


class Shape(NamedTuple):
    """How large the parts of a mailbox are."""

    summary: int
    counters: int
    ring: int

    @classmethod
    def of(cls, memory: int) -> Shape:
        """For so many bytes of messages: the other parts take about a quarter of that besides."""
        entries = 1 << max(6, min(17, (memory // 128).bit_length()))
        return cls(2 * entries, entries, memory)

    @property
    def size(self) -> int:
        """Bytes of the whole segment."""
        return HEADER + 4 * self.summary + Counters.room(self.counters) + (self.ring + 7) // 8 * 8

    def write(self, segment: Segment) -> None:
        segment.words[_SUMMARY], segment.words[_COUNTERS], segment.words[_RING] = self

    @classmethod
    def read(cls, segment: Segment) -> Shape | None:
        """What the header says; None if that cannot be."""
        words = segment.words
        shape = cls(words[_SUMMARY], words[_COUNTERS], words[_RING])
        return (
            shape
            if 0 < shape.summary < 2**32 > shape.counters > 0 < shape.ring and shape.size <= segment.size
            else None
        )


class Mailbox:
    """A mailbox, as senders and its owner see it.

    :param rope: wakes the owner.
    """

    def __init__(self, segment: Segment, shape: Shape, rope: Rope) -> None:
        self.segment = segment
        self.words = segment.words
        self.buckets = shape.summary
        counters = HEADER + 4 * shape.summary
        self.summary = memoryview(segment.memory)[HEADER:counters].cast("I")
        self.counters = Counters(segment, counters, shape.counters)
        self.ring = Ring(segment, counters + Counters.room(shape.counters), shape.ring)
        self.missed = Missed(segment.words)
        self._rope = rope

    def most(self, name: bytes) -> int:
        """Bytes of the largest message to a channel or group that it can ever hold. Without the lock.

        :param name: of the channel or group, which takes room, too.
        """
        return self.ring.size - FIXED - len(name)

    # By senders, under the lock

    def push_message(self, key: int, name: bytes, capacity: int, payload: bytes, woken: int = 0) -> str | None:
        """Append a direct message; None, or why not.

        :param woken: what :meth:`wake_early` has returned.
        """
        words, counters = self.words, self.counters
        if words[DIRTY]:
            words[REBUILD] = 1
        is_flushed = words[NOTICED] != words[FLUSHES]
        left = counters.flushed if is_flushed else counters.left
        entry = key % counters.size
        if counters.hashes[entry] != key:
            entry = counters.entry(key, left)
        if entry == NOWHERE:
            return self._push(DIRECT, NOWHERE, 0, name, payload, woken)
        sent = counters.sent[entry]
        if (sent - left[entry]) & _MASK >= capacity or (counters.full[entry] and not is_flushed):
            if words[REBUILD]:
                self._wake_up()
            return FULL
        return self._push(DIRECT, entry, sent + 1 & _MASK, name, payload, woken)

    def push_control(self, kind: int, name: bytes, payload: bytes, key: int) -> str | None:
        """Append what changes memberships, or a group message; None, or why not."""
        words = self.words
        if words[DIRTY]:
            words[REBUILD] = 1
        if kind == GROUP and not self.summary[key % self.buckets]:
            return None
        if kind == ADD:
            self.count_group(key)
        why_not = self._push(kind, NOWHERE, 0, name, payload)
        if why_not is not None and kind == GROUP:
            self.missed.note(key)
        return why_not

    def _push(self, kind: int, entry: int, sent: int, name: bytes, payload: bytes, woken: int = 0) -> str | None:
        words, ring = self.words, self.ring
        length, head = FIXED + len(name) + len(payload), words[HEAD]
        used = head - words[TAIL]
        if used + length > ring.size or used < 0 or head >= LIFETIME:
            return self._refuse(length)
        record = _pack(length, entry, monotonic(), kind, len(name)) + name + payload
        hook = faults.hook
        words[DIRTY] = 1
        if hook is not None:
            hook("push.dirty")
        asleep = words[SLEEPING]
        if asleep:
            if asleep == woken:
                words[SLEEPING] = 0
            else:
                self._wake_up()
        if hook is not None:
            hook("push.woken")
        if entry != NOWHERE:
            self.counters.sent[entry] = sent
        if hook is not None:
            hook("push.counted")
        at = head % ring.size  # from here on it is Ring.append(), without its calls
        if at + length <= ring.size:
            at += ring.start
            ring.memory[at : at + length] = record
        else:
            ring.write(head, record)
        if hook is not None:
            hook("push.written")
        words[HEAD] = head + length
        if hook is not None:
            hook("push.published")
        words[DIRTY] = 0
        return None

    def _refuse(self, length: int) -> str:
        if not self.ring.is_sound:
            self._wake_up()  # its owner puts it right
        return NO_ROOM if length <= self.ring.size else TOO_LARGE

    def wake_early(self) -> int:
        """Wake the owner for a message that is about to be pushed; from which sleep, 0 if it does not sleep. Without
        the lock: it is looked at again, with it.
        """
        asleep = self.words[SLEEPING]
        if not asleep or not self._rope.pull():
            return 0
        if faults.hook is not None:
            faults.hook("push.early")
        return asleep

    def _wake_up(self) -> None:
        if self._rope.pull():  # otherwise who pushes next tries again
            self.words[SLEEPING] = 0

    def bucket(self, key: int) -> int:
        """Which counter of the summary a group belongs to, by the hash of its name."""
        return key % self.buckets

    def has_group(self, key: int) -> bool:
        """Whether the owner may have members of a group. Without the lock."""
        return bool(self.summary[key % self.buckets])

    def count_group(self, key: int) -> None:
        """One more group that the owner has members of, or will have."""
        bucket = key % self.buckets
        self.summary[bucket] = min(self.summary[bucket] + 1, _MASK)

    def flush(self) -> None:
        """Let all that was pushed until now be forgotten."""
        words, counters, hook = self.words, self.counters, faults.hook
        if words[DIRTY]:
            words[REBUILD] = 1
        words[DIRTY] = 1  # who dies before the end leaves counts of what nobody will read
        counters.flushed[:] = counters.sent
        words[FLUSH_AT] = words[HEAD]
        if hook is not None:
            hook("flush.marked")
        words[FLUSHES] = words[FLUSHES] + 1 & _MASK
        if hook is not None:
            hook("flush.raised")
        # Last: who dies before this leaves groups that have no members, and not members whom no message reaches.
        self.summary[:] = memoryview(bytes(4 * self.buckets)).cast("I")
        words[DIRTY] = 0
        self._wake_up()
