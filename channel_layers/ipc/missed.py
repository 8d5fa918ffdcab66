"""The group messages for which a mailbox had no room, by group: only its owner knows how many members missed each.

A few groups are told apart, by the hash of their names; that is as many as are short of room at once, as a rule. Of the
others only the messages are counted.
"""

from __future__ import annotations

# Words of the mailbox's header: all that were missed ever; a table of keys, and of counts since the owner last looked.
TOTAL = 41
_KEYS, COUNTS, _END = 42, 50, 58

_MASK = (1 << 64) - 1
_MOST = 1_000_000


def possible(count: int) -> int:
    """How many messages were missed between two looks, if it can be so many: nobody sends so fast, and so something
    else has written there.
    """
    return count if count <= _MOST else 1


class Missed:
    """The table in the header of a mailbox. A death leaves a count that is wrong by one, and nothing worse."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._keys = words[_KEYS:COUNTS]
        self._counts = words[COUNTS:_END]

    def note(self, key: int) -> None:
        """Count a message to a group. By a sender, under the lock."""
        for at, known in enumerate(self._keys.tolist()):
            if known in (key, 0):
                self._keys[at] = key
                self._counts[at] = possible(self._counts[at] + 1)
                break
        self._words[TOTAL] = (self._words[TOTAL] + 1) & _MASK

    @property
    def total(self) -> int:
        """How many there were ever. Without the lock."""
        return int(self._words[TOTAL])

    def take(self) -> tuple[int, list[tuple[int, int]]]:
        """How many there were ever, and by group those since this was last asked. By the owner, under the lock."""
        missed = [
            (key, possible(count)) for key, count in zip(self._keys.tolist(), self._counts.tolist(), strict=True) if key
        ]
        for at in range(len(missed)):
            self._keys[at] = self._counts[at] = 0
        return self.total, missed
