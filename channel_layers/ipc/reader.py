"""The owner's side of a mailbox: what it takes, when it sleeps, and what it puts right."""

from __future__ import annotations

from collections.abc import Callable

from . import faults
from .mailbox import DIRECT, DIRTY, END, FIXED, FLUSH_AT, FLUSHES, NOTICED, REBUILD, RECORD, SLEEPING, Mailbox
from .missed import possible
from .ring import HEAD, LIFETIME, TAIL

_BATCH = 256 * 1024

#: What was pushed: kind, name, payload (where it concerns a membership, the name of the channel), when it was sent
#: (monotonic), and its entry among the counters.
Record = tuple[int, bytes, bytes, float, int]


class Reader:
    """The owner's side of a mailbox: how far it has read.

    :param on_flush: drops what the owner holds, and calls :meth:`notice_flush`.
    """

    def __init__(self, mailbox: Mailbox, on_flush: Callable[[], None]) -> None:
        self.mailbox = mailbox
        self._on_flush = on_flush
        self.words = mailbox.words
        self.taken = 0
        self._missed = 0
        self._sleeps = 0
        #: Whether something else has written there; then :meth:`repair` is to be called.
        self.is_damaged = False
        #: Hashes of groups whose summary is to be looked at when nothing is on its way.
        self.stale: set[int] = set()

    def look(self, may_sleep: bool) -> int:
        """Publish what was taken, and return how many bytes there are to take. Under the lock.

        :param may_sleep: if there are none, whoever pushes next is to wake the owner.
        """
        words = self.words
        if words[DIRTY]:
            words[REBUILD] = 1
            words[DIRTY] = 0
        if self.has_flush:
            self._on_flush()
        self.taken = max(self.taken, words[FLUSH_AT])
        count: int = words[HEAD] - self.taken
        if not self._is_possible(count):
            return 0
        words[TAIL] = self.taken
        if faults.hook is not None:
            faults.hook("take.published")
        if not count and may_sleep:
            self._sleeps += 1
            words[SLEEPING] = self._sleeps
            if faults.hook is not None:
                faults.hook("take.asleep")
        return count

    def peek(self) -> int:
        """How many bytes there are to take, in place of :meth:`look`, but without the lock: where the processor lets
        others see stores in their order, as x86 does, and this process makes its loads in theirs.

        Whoever finds the record of a sender that came after a flush finds the flush, too: hence head is read first.
        """
        words = self.words
        head = words[HEAD]
        if words[NOTICED] != words[FLUSHES]:
            self._on_flush()
        self.taken = max(self.taken, words[FLUSH_AT])
        if not 0 <= head - self.taken <= self.mailbox.ring.size:  # one below zero was overtaken by a flush
            self._is_possible(words[HEAD] - self.taken)
            return 0
        words[TAIL] = self.taken  # all before it has been copied
        return head - self.taken

    def _is_possible(self, count: int) -> bool:
        """Whether there can be so many bytes to take; otherwise it is damaged."""
        is_possible = 0 <= count <= self.mailbox.ring.size and self.words[HEAD] < LIFETIME
        self.is_damaged = self.is_damaged or not is_possible
        return is_possible

    def repair(self) -> None:
        """Begin again with an empty ring: something else has written to the mailbox. Under the lock."""
        words = self.words
        words[HEAD] = words[TAIL] = words[FLUSH_AT] = words[DIRTY] = 0
        words[REBUILD] = 1
        self.taken = 0
        self.is_damaged = False

    def publish(self) -> None:
        """Give back the room of what was copied, instead of with the next look: it was much. Under the lock, or where
        :meth:`peek` may be called.
        """
        self.words[TAIL] = self.taken

    def copy(self, count: int) -> list[Record]:
        """Take records of at most ``count`` bytes, a batch at a time. Without the lock: nobody writes there."""
        ring = self.mailbox.ring
        if count <= _BATCH:
            data = ring.read(self.taken, count)
        else:
            data = ring.read(self.taken, _BATCH)
            first = int.from_bytes(data[:4], "little")
            if _BATCH < first <= count:
                data = ring.read(self.taken, first)
        at, records = parse(data)
        if not at:  # what is there is no record: nobody but a broken process can have written it
            raise ValueError(f"the shared memory {self.mailbox.segment.name} is damaged")
        self.taken += at
        if faults.hook is not None:
            faults.hook("take.copied")
        return records

    def take_direct(self, name: bytes, since: float) -> tuple[bytes, int] | None:
        """Take the first record alone, payload and entry, if it is a direct message to this channel, was sent after
        ``since`` and lies in one piece. Where :meth:`peek` may be called.
        """
        count, ring = self.peek(), self.mailbox.ring
        at, memory = self.taken % ring.size, ring.memory
        if not count or at + FIXED > ring.size:
            return None
        begin = ring.start + at
        length, entry, sent_at, kind, name_length = RECORD.unpack_from(memory, begin)
        middle = begin + FIXED + name_length
        if (
            kind != DIRECT
            or memory[begin + FIXED : middle] != name
            or sent_at <= since
            or not FIXED + name_length <= length <= count
            or at + length > ring.size
        ):
            return None
        payload = memory[middle : begin + length]
        self.taken += length
        if faults.hook is not None:
            faults.hook("take.copied")
        return payload, entry

    @property
    def has_missed(self) -> bool:
        """Whether there were group messages without room that :meth:`take_missed` has not told of. Without the lock."""
        return self.mailbox.missed.total != self._missed

    def take_missed(self) -> list[tuple[int, int]]:
        """The hash of a group, 0 for any other, and how many messages to it found no room. Under the lock."""
        before = self._missed
        self._missed, by_group = self.mailbox.missed.take()
        others = possible(self._missed - before - sum(count for _, count in by_group))
        return [*by_group, (0, others)] if others > 0 else by_group

    def mend(self, unread: Callable[[], dict[int, int]], groups: Callable[[int], int]) -> None:
        """Put right what deaths and departures have left. Under the lock, when nothing is on its way.

        :param unread: see :meth:`Counters.start_afresh`.
        :param groups: how many groups there are whose bucket is this.
        """
        mailbox = self.mailbox
        if self.words[REBUILD]:
            mailbox.counters.start_afresh(unread())
            self.words[REBUILD] = 0
        while self.stale:
            bucket = self.stale.pop()
            mailbox.summary[bucket] = groups(bucket)

    @property
    def has_flush(self) -> bool:
        """Whether there was a flush that the owner has not noticed. Without the lock."""
        words = self.words
        return bool(words[NOTICED] != words[FLUSHES])

    def notice_flush(self) -> None:
        """The owner has dropped what it held: its counters hold again. Under the lock, or where :meth:`peek` may be."""
        words = self.words
        flushes = words[FLUSHES]  # first: of a flush that comes in between, half may be seen now
        self.mailbox.counters.forget_flushed()
        words[NOTICED] = flushes


def parse(data: bytes) -> tuple[int, list[Record]]:
    """The whole records at the beginning of some bytes, and how many bytes they are."""
    records: list[Record] = []
    at, end, size = 0, len(data), RECORD.size
    unpack = RECORD.unpack_from
    while at + size <= end:
        length, entry, sent_at, kind, name_length = unpack(data, at)
        middle, stop = at + size + name_length, at + length
        if not middle <= stop <= end or kind >= END:
            break
        records.append((kind, data[at + size : middle], data[middle:stop], sent_at, entry))
        at = stop
    return at, records
