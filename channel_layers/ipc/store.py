"""The messages of one normal channel, in shared memory: every process takes them from there itself.

A message stays until a receiver that runs takes it, under the lock; so there is nothing to hand back when a receiver
is cancelled or dies. Who waits leaves the number of its slot here; who pushes rings for all of them, and each looks for
itself. Group memberships of the channel are here as well, since they belong to no process.

Whoever calls a method holds the lock of the channel, but for :attr:`most`, :meth:`grow`, and for :attr:`has_news`,
:meth:`is_waiting`, :meth:`is_of` and :meth:`is_member`, whose answer may be old at once.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Collection
from typing import Final

from ..exceptions import LayerUnavailable
from ..statistics import logger
from . import faults
from .directory import SLOTS
from .mailbox import FULL, NO_ROOM, TOO_LARGE
from .ring import HEAD, TAIL, Ring
from .segment import HEADER, Segment

#: What kind of segment this is.
KIND = 3

#: Groups that one normal channel can be a member of.
GROUPS = 1024

_KEY, _COUNT, _DIRTY, _RING, _USED, _CAPACITY, _RESERVED = 24, 25, 26, 27, 28, 29, 30
_WAITING = 32  # 16 words: a bit for each slot
_GROUPS_AT = HEADER
_DATA_AT = _GROUPS_AT + GROUPS * 16

#: Bytes that are reserved when a channel is made; more is when messages pile up.
FIRST = 64 << 10

# A capacity may be any number. More than fits into a word would bound nothing, either.
_MOST = (1 << 63) - 1

#: Why a message was not pushed: more memory must be reserved first (:meth:`Store.grow`).
CRAMPED: Final = "cramped"

# Length of the record in bytes, deadline (monotonic).
_RECORD = struct.Struct("<Id")


def room(memory: int) -> tuple[int, int]:
    """Bytes of the ring and of the whole segment, for layers whose mailboxes have so much memory."""
    ring = min(memory, max(memory // 4, 2 << 20)) // 8 * 8
    return ring, _DATA_AT + ring


class Store:
    """A normal channel.

    :param number: in the directory.
    """

    def __init__(self, segment: Segment, number: int) -> None:
        self.segment = segment
        self.number = number
        self.words = segment.words
        groups = memoryview(segment.memory)[_GROUPS_AT:_DATA_AT]
        self._groups = groups[: 8 * GROUPS].cast("Q")
        self._deadlines = groups[8 * GROUPS :].cast("d")
        ring = self.words[_RING]
        if not 0 < ring <= segment.size - _DATA_AT:
            raise LayerUnavailable(f"the shared memory {segment.name} is damaged: stop who uses it, and remove it")
        self.ring = Ring(segment, _DATA_AT, ring)

    @classmethod
    def make(cls, segment: Segment, number: int, key: int, ring: int) -> Store:
        """The channel in a new segment."""
        segment.words[_KEY] = key
        segment.words[_RING] = ring
        segment.words[_RESERVED] = min(FIRST - _DATA_AT, ring)
        segment.finish(KIND)
        return cls(segment, number)

    def is_of(self, key: int) -> bool:
        """Whether it is still the channel of this key."""
        return bool(self.words[_KEY] == key)

    def is_unused(self, slots: Collection[int]) -> bool:
        """Whether it holds nothing, and nobody waits in one of these slots: all that are not free."""
        now = time.monotonic()
        used = self.words[_USED]
        is_member = any(key and self._deadlines[at] > now for at, key in enumerate(self._groups[:used].tolist()))
        return not self.has_news and not is_member and not any(slot in slots for slot in self.waiting())

    def change_hands(self, key: int) -> None:
        """Become another channel; it must be unused."""
        self.words[_KEY] = 0
        self.clear()
        self.words[_WAITING : _WAITING + SLOTS // 64] = _NOBODY  # those whose clients are gone
        self.words[_KEY] = key

    # Messages

    @property
    def has_news(self) -> bool:
        """Whether it holds any message. Without the lock."""
        return bool(self.words[HEAD] != self.words[TAIL])

    @property
    def most(self) -> int:
        """Bytes of the largest message that it can ever hold. Without the lock."""
        return self.ring.size - _RECORD.size

    def look(self, waiting: int) -> int:
        """How many messages it holds, some of them perhaps expired; if there are none, wait in a slot."""
        self._mend()
        count: int = self.words[_COUNT]
        if not count:
            self._wait(waiting)
        return count

    def _wait(self, slot: int) -> None:
        self.words[_WAITING + slot // 64] |= 1 << slot % 64

    def end_wait(self, slot: int) -> None:
        """Wait in a slot no more."""
        self.words[_WAITING + slot // 64] &= ~(1 << slot % 64)

    def is_waiting(self, slot: int) -> bool:
        """Whether somebody waits in a slot. Without the lock, for its own slot: others only take that mark away."""
        return bool(self.words[_WAITING + slot // 64] >> slot % 64 & 1)

    def push(self, capacity: int, payload: bytes, deadline: float, ring_for: Callable[[int, int], bool]) -> str | None:
        """Append a message and wake who waits; None, or why not. What has expired counts until :meth:`expire`.

        :param ring_for: rings for a slot and a number; False if it could not, so that who pushes next must try again.
        """
        self._mend()
        words, ring = self.words, self.ring
        length = _RECORD.size + len(payload)
        if length > ring.size:
            return TOO_LARGE
        if words[_COUNT] >= capacity:
            return FULL
        if length > ring.free:
            return NO_ROOM
        if not self._has_room(length):
            return CRAMPED
        for slot in self.waiting():
            if ring_for(slot, self.number):
                self.end_wait(slot)
        words[_DIRTY] = 1
        ring.push(_RECORD.pack(length, deadline) + payload)
        words[_COUNT] += 1
        words[_DIRTY] = 0
        return None

    def _has_room(self, length: int) -> bool:
        """Whether memory is reserved for the next record. Where nothing waits, it begins at the front again."""
        words, size = self.words, self.ring.size
        reserved = words[_RESERVED]
        end = words[HEAD] % size + length
        if end <= reserved or reserved == size:
            return True
        if words[HEAD] != words[TAIL] or length > reserved:
            return False
        words[_DIRTY] = 1
        words[TAIL] += size - words[HEAD] % size
        if faults.hook is not None:
            faults.hook("rewind.tail")
        words[HEAD] = words[TAIL]
        words[_DIRTY] = 0
        return True

    def grow(self, length: int) -> bool:
        """Reserve more memory, enough for a message of that length to begin with; False if the system has none.

        Without the lock, since it takes long. What the segment says of it may become too little by that, if others do
        the same, and never too much.
        """
        words = self.words
        reserved = min(self.ring.size, max(2 * words[_RESERVED], _RECORD.size + length))
        if not self.segment.reserve(_DATA_AT + reserved):
            return False
        words[_RESERVED] = reserved
        return True

    def take(self, waiting: int | None) -> tuple[bytes | None, int]:
        """Take the oldest message, and say how many had expired; if there is none, wait in a slot.

        :param waiting: the slot to be rung when a message comes; None for nobody.
        """
        expired = self.expire()
        if not self.has_news:
            if waiting is not None:
                self._wait(waiting)
            return None, expired
        tail = self.words[TAIL]
        length, _ = self._record(tail)
        payload = self.ring.read(tail + _RECORD.size, length - _RECORD.size)
        self._pass(length)
        return payload, expired

    def clear(self) -> int:
        """Drop all messages and memberships; how many messages."""
        self._mend()
        count: int = self.words[_COUNT]
        for at in range(self.words[_USED]):
            self._groups[at] = 0
        self.words[_DIRTY] = 1
        self.words[TAIL] = self.words[HEAD]
        self.words[_COUNT] = 0
        self.words[_DIRTY] = 0
        return count

    def waiting(self) -> list[int]:
        """The slots in which somebody waits."""
        words = self.words[_WAITING : _WAITING + SLOTS // 64].tolist()
        return [64 * at + bit for at, word in enumerate(words) if word for bit in range(64) if word >> bit & 1]

    def expire(self) -> int:
        """Drop what has expired; how many messages."""
        self._mend()
        now, count = time.monotonic(), 0
        while self.has_news:
            length, deadline = self._record(self.words[TAIL])
            if not length:
                self._reset()
                break
            if deadline > now:
                break
            self._pass(length)
            count += 1
        return count

    def _pass(self, length: int) -> None:
        words = self.words
        words[_DIRTY] = 1
        words[TAIL] += length
        words[_COUNT] = max(0, words[_COUNT] - 1)
        words[_DIRTY] = 0

    def _mend(self) -> None:
        """Put right what somebody left who died between two changes: of the ring and the count, or of its two ends."""
        words = self.words
        if words[_DIRTY]:
            words[HEAD] = max(words[HEAD], words[TAIL])  # who died has moved one end to the front, and not the other
        if not self.ring.is_sound or words[_USED] > GROUPS:
            self._reset()
        elif words[_DIRTY] or bool(words[_COUNT]) != self.has_news:
            position, count = words[TAIL], 0
            while position < words[HEAD]:
                length, _ = self._record(position)
                if not length:
                    self._reset()
                    return
                position += length
                count += 1
            words[_COUNT] = count
            words[_DIRTY] = 0

    def _record(self, position: int) -> tuple[int, float]:
        """Length and deadline of the record at a position; length 0 if there can be none."""
        length, deadline = _RECORD.unpack(self.ring.read(position, _RECORD.size))
        return (length, deadline) if _RECORD.size <= length <= self.words[HEAD] - position else (0, 0.0)

    def _reset(self) -> None:
        """Begin again, empty: something else has written here, and none of it can be trusted."""
        words = self.words
        words[HEAD] = words[TAIL] = words[_COUNT] = words[_DIRTY] = words[_USED] = 0
        self._groups[:] = memoryview(bytes(8 * GROUPS)).cast("Q")
        logger.error("Something else has written to the shared memory %s: dropped what was there", self.segment.name)

    # Memberships

    @property
    def capacity(self) -> int:
        """Messages that it holds at the most, as the latest who made it a member said: of a group message, only the
        hash of the channel's name is known.
        """
        return self.words[_CAPACITY]

    def join(self, group: int, deadline: float, capacity: int) -> bool:
        """Be a member of a group until a moment; False if it is one of too many already."""
        self.words[_CAPACITY] = min(capacity, _MOST)
        keys = self._groups.tolist()
        if group in keys:
            self._deadlines[keys.index(group)] = deadline
            return True
        now = time.monotonic()
        for at, key in enumerate(keys):
            if not key or self._deadlines[at] <= now:
                self._groups[at] = 0
                self._deadlines[at] = deadline
                self.words[_USED] = max(self.words[_USED], at + 1)
                self._groups[at] = group
                return True
        return False

    def part(self, group: int) -> None:
        """Be no member of a group any more."""
        keys = self._groups.tolist()
        if group in keys:
            self._groups[keys.index(group)] = 0

    def is_member(self, group: int) -> bool:
        """Whether it is a member of a group now."""
        keys = self._groups[: self.words[_USED]].tolist()
        return group in keys and self._deadlines[keys.index(group)] > time.monotonic()


_NOBODY = memoryview(bytes(8 * (SLOTS // 64))).cast("Q")
