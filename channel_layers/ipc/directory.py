"""The directory of one user and prefix: which clients there are, and which normal channels.

It is a segment of fixed size. All that changes it holds its lock. Reading needs none where stores are seen in their
order, since every entry is written before the word that makes it valid, and after both ``version``, which tells when to
look again. Elsewhere single words are read without it, and entries under it (``Site.look()``).
"""

from __future__ import annotations

from collections.abc import Iterator

from .segment import HEADER, Segment

#: What kind of segment a directory is.
KIND = 1

#: Clients at one time, and normal channels.
SLOTS = 1024
NORMALS = 1024

#: States of a slot.
FREE, JOINING, HERE, LEAVING = range(4)

#: The word that changes whenever anything here does.
VERSION = 8
_SLOT_WORDS = 4
_NORMAL_WORDS = 2
_SLOT_AT = HEADER // 8
_NORMAL_AT = _SLOT_AT + SLOTS * _SLOT_WORDS

_INSIDE_AT = _NORMAL_AT + NORMALS * _NORMAL_WORDS

_MASK = (1 << 63) - 1

SIZE = 8 * (_INSIDE_AT + SLOTS)


def inside_word(slot: int) -> int:
    """The word in which a client says at which mailbox it is inside; see ``door.py``."""
    return _INSIDE_AT + slot


class Directory:
    """The directory in a segment."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.words = segment.words

    @property
    def version(self) -> int:
        """Changes whenever anything here does."""
        return self.words[VERSION]

    def changed(self) -> None:
        """Let everybody look again."""
        self.words[VERSION] = self.words[VERSION] + 1 & _MASK

    # Clients

    def state(self, slot: int) -> int:
        """One of FREE, JOINING, HERE, LEAVING."""
        return self.words[_SLOT_AT + slot * _SLOT_WORDS]

    def set_state(self, slot: int, state: int) -> None:
        self.words[_SLOT_AT + slot * _SLOT_WORDS] = state

    def take_out(self, slot: int) -> None:
        """Say that the client of a slot, which is dead or has left, is inside nowhere."""
        self.words[inside_word(slot)] = 0

    def used_slots(self) -> list[int]:
        """Slots that are not free, whether or not their client lives."""
        states = self.words[_SLOT_AT : _SLOT_AT + SLOTS * _SLOT_WORDS : _SLOT_WORDS].tolist()
        return [slot for slot, state in enumerate(states) if state != FREE]

    def write_client(self, slot: int, client: str, has_mailbox: bool) -> None:
        """Say who is in a slot, before its state becomes HERE, and which mailbox it has: it may have had others."""
        at = _SLOT_AT + slot * _SLOT_WORDS
        digits = int(client[2:], 16)
        self.words[at + 1], self.words[at + 2] = digits & (1 << 64) - 1, digits >> 64
        self.words[at + 3] = (self.words[VERSION] & _MASK) + 1 if has_mailbox else 0

    def clients(self) -> Iterator[tuple[int, str, int]]:
        """Slot, client id and number of the mailbox, of all that have one. No two mailboxes have the same number."""
        for slot in self.used_slots():
            at = _SLOT_AT + slot * _SLOT_WORDS
            state, low, high, mailbox = self.words[at : at + _SLOT_WORDS].tolist()
            if state == HERE and mailbox:
                yield slot, f"cl{high << 64 | low:020x}", mailbox

    # Normal channels

    def normals(self) -> list[tuple[int, int]]:
        """Number and key of all normal channels: the hash of their name."""
        return [(number, key) for number, key in enumerate(self._keys()) if key]

    def find_normal(self, key: int) -> int | None:
        """The number of a normal channel."""
        keys = self._keys()
        return keys.index(key) if key in keys else None

    def free_normal(self) -> int | None:
        """A number that was never used."""
        return self.find_normal(0)

    def write_normal(self, number: int, key: int) -> None:
        """Give a number to a channel; it is a member of no group."""
        at = _NORMAL_AT + number * _NORMAL_WORDS
        self.words[at + 1] = 0
        self.words[at] = key

    def is_member(self, number: int) -> bool:
        """Whether a normal channel may be a member of any group."""
        return bool(self.words[_NORMAL_AT + number * _NORMAL_WORDS + 1])

    def set_member(self, number: int) -> None:
        self.words[_NORMAL_AT + number * _NORMAL_WORDS + 1] = 1

    def _keys(self) -> list[int]:
        return self.words[_NORMAL_AT : _NORMAL_AT + NORMALS * _NORMAL_WORDS : _NORMAL_WORDS].tolist()
