"""A queue of records in shared memory: any number of writers, and one place from which is read.

Positions count bytes since the ring was made and never turn back; a byte lies at its position modulo the size. A record
is there once ``head`` has passed it, and that is one store: who dies before it leaves nothing, who dies after it leaves
all of the record. Whoever calls a method that changes something holds the lock of the ring.
"""

from __future__ import annotations

from . import faults
from .segment import Segment

#: Bytes that no ring sees in a lifetime: where its positions are beyond this, something else has written there.
LIFETIME = 1 << 62

#: Words of the segment's header.
HEAD, TAIL = 8, 16  # apart, since two processes write them


class Ring:
    """The ring in a segment.

    :param start: where its data begins in the segment, in bytes.
    :param size: of the data, in bytes.
    """

    def __init__(self, segment: Segment, start: int, size: int) -> None:
        self.memory = segment.memory
        self.words = segment.words
        self.start = start
        self.size = size

    @property
    def is_sound(self) -> bool:
        """Whether what head and tail say is possible. Under the lock."""
        tail, head = self.words[TAIL], self.words[HEAD]
        return bool(0 <= head - tail <= self.size and head < LIFETIME)

    @property
    def free(self) -> int:
        """Bytes that can be pushed now."""
        return self.size - (self.words[HEAD] - self.words[TAIL])

    def push(self, record: bytes) -> bool:
        """Append a record; False, and nothing done, if there is no room for it."""
        head = self.words[HEAD]
        if head - self.words[TAIL] + len(record) > self.size:
            return False
        self.append(head, record)
        return True

    def append(self, head: int, record: bytes) -> None:
        """Append a record for which there is room.

        :param head: as it is now.
        """
        self.write(head, record)
        if faults.hook is not None:
            faults.hook("push.written")
        self.words[HEAD] = head + len(record)

    def write(self, position: int, record: bytes) -> None:
        """Put a record where it will be, once head has passed it."""
        memory, size, length = self.memory, self.size, len(record)
        at = position % size
        begin = self.start + at
        if at + length <= size:
            memory[begin : begin + length] = record
        else:
            split = size - at
            memory[begin : begin + split] = record[:split]
            memory[self.start : self.start + length - split] = record[split:]

    def read(self, position: int, count: int) -> bytes:
        """The bytes from a position on. What lies between tail and head stays as it is, lock or no lock."""
        at = position % self.size
        begin = self.start + at
        if at + count <= self.size:
            return self.memory[begin : begin + count]
        split = self.size - at
        return self.memory[begin : begin + split] + self.memory[self.start : self.start + count - split]
