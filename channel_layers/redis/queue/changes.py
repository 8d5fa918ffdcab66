"""Changes of memberships, entries of a stream on the server: each is applied once, even if the server loses some."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .membership import START, Position

#: Changes that are remembered.
_SETTLED = 1000


class Change(NamedTuple):
    """``join`` or ``leave`` of a channel in a group; or ``discard`` of a channel, without a group."""

    what: str
    group: str
    channel: str


class Changes:
    """The way of changes from the server's confirmation to their reading. All under the lock of the inbox."""

    def __init__(self) -> None:
        #: Up to where the entries were read.
        self.position: Position = START
        # What the server has confirmed, and was not read yet.
        self._promised: dict[Position, Change] = {}
        self._waiting: list[tuple[Position, Callable[[], None]]] = []
        # The latest about which nothing is to be done any more. If the server loses what it had, it may come back as it
        # was some time ago: to apply those again would undo what came after them.
        self._settled: deque[Position] = deque(maxlen=_SETTLED)
        # Those of them that may still be read.
        self._to_skip: set[Position] = set()

    def promise(self, entry: Position, change: Change) -> None:
        """Apply a change even if the server loses it before it was read here."""
        if entry > self.position:
            self._promised[entry] = change

    def when_read(self, entry: Position, call: Callable[[], None]) -> None:
        """Call back when the change was read."""
        if entry <= self.position:
            call()
        else:
            self._waiting.append((entry, call))

    def void_joins(self, channel: str) -> None:
        """Apply no join of this channel that the server has confirmed and that was not read yet."""
        for entry, change in tuple(self._promised.items()):
            if (change.what, change.channel) == ("join", channel):
                del self._promised[entry]
                self._settled.append(entry)
                self._to_skip.add(entry)

    def takes(self, entry: Position) -> bool:
        """Note that an entry was read; whether it is to be applied."""
        if entry <= self.position:
            return False
        self.position = entry
        if entry in self._to_skip:
            return False
        self._settled.append(entry)
        return True

    def have_been_read(self) -> None:
        """Call back who waited for what was read, and forget what will not be read any more."""
        waiting, self._waiting = self._waiting, []
        for entry, call in waiting:
            self.when_read(entry, call)
        if self._promised:
            self._promised = {entry: change for entry, change in self._promised.items() if entry > self.position}
        if self._to_skip:
            self._to_skip = {entry for entry in self._to_skip if entry > self.position}

    def start_anew(self) -> list[Change]:
        """Positions begin anew, since the server has lost what it had; who waited is called back.

        Returns what is to be applied at once: it may never be read.
        """
        self.position = START
        promised, self._promised = self._promised, {}
        self._settled.extend(sorted(promised))
        self._to_skip = set(self._settled)
        waiting, self._waiting = self._waiting, []
        for _, call in waiting:
            call()
        return [promised[entry] for entry in sorted(promised)]
