"""How many unread messages each channel of a mailbox has: counted by its senders and its owner, exactly.

An entry is found by a hash of 64 bits within a short window, and has two counters. ``sent`` is counted up by senders,
under the lock of the mailbox; ``left`` by the owner alone, without any lock, when a message has left its inbox. The
difference is what is unread. An entry of which nothing is unread may be given to another channel, whatever its counters
stand at; nobody else can be at it then, since the owner only counts what is still unread.

``full`` is the owner's, too: with the copies of group messages, of which senders know nothing, the channel is full.

A sender that dies between counting and publishing leaves a count too many. The next one under the lock finds the
mailbox dirty, and the owner counts afresh once the ring is empty (:meth:`Counters.start_afresh`).
"""

from __future__ import annotations

from hashlib import blake2b

from .segment import Segment

#: Entries that one channel may be in. That all of them are in use is so unlikely that the channel is not counted then.
WINDOW = 32

#: Instead of an entry, for a channel that is not counted.
NOWHERE = 0xFFFF_FFFF

#: Bytes of one entry.
ENTRY = 24

_MASK = 0xFFFF_FFFF


def hash_of(name: str) -> int:
    """64 bits of a name, never 0, the same in every process."""
    return int.from_bytes(blake2b(name.encode("ascii"), digest_size=8).digest(), "little") or 1


class Counters:
    """The table of one mailbox.

    :param start: where it begins in the segment, in bytes; a multiple of 8.
    :param size: channels that have a window of their own.
    """

    def __init__(self, segment: Segment, start: int, size: int) -> None:
        self.size = size
        count = self.room(size) // ENTRY
        view = memoryview(segment.memory)

        def column(index: int, code: str, width: int) -> memoryview:
            begin = start + index * count * 4
            return view[begin : begin + count * width].cast(code)  # type: ignore[call-overload, no-any-return]

        self.hashes = column(0, "Q", 8)
        self.sent = column(2, "I", 4)
        self.left = column(3, "I", 4)
        #: ``sent`` at the latest flush: it stands for ``left`` until the owner has noticed.
        self.flushed = column(4, "I", 4)
        self.full = column(5, "I", 4)

    @staticmethod
    def room(size: int) -> int:
        """Bytes that a table takes."""
        return (size + WINDOW) * ENTRY

    def entry(self, key: int, left: memoryview) -> int:
        """The entry of a channel, a new one if it has none; NOWHERE if there is no room. Under the lock.

        :param key: the hash of the channel's name.
        :param left: the column that holds what has left.
        """
        begin = key % self.size
        window = self.hashes[begin : begin + WINDOW].tolist()
        if key in window:
            return begin + window.index(key)
        sent, full = self.sent, self.full
        for entry in range(begin, begin + WINDOW):
            if sent[entry] == left[entry] and (left is not self.left or not full[entry]):
                self.hashes[entry] = key
                return entry
        return NOWHERE

    def forget_flushed(self) -> None:
        """What was sent before the flush has left. By the owner alone."""
        self.left[:] = self.flushed
        self.full[:] = memoryview(bytes(4 * len(self.full))).cast("I")

    def start_afresh(self, unread: dict[int, int]) -> None:
        """Set what is unread. By the owner, under the lock, when nothing is on its way.

        :param unread: entry -> messages in the inbox that were counted; those of all others have left.
        """
        left, sent = self.left, self.sent
        left[:] = sent
        for entry, count in unread.items():
            left[entry] = (sent[entry] - count) & _MASK
