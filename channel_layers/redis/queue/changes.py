"""Changes of memberships, from the server's confirmation to their reading: in their order, also if it loses some."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .membership import START, Position, after, position_of

#: Changes that are remembered, and channels that have ended.
_APPLIED, _ENDED = 1000, 1000


class Change(NamedTuple):
    """``join`` or ``leave`` of a channel in a group; or ``discard`` of a channel, without a group."""

    what: str
    group: str
    channel: str


def read_change(fields: list[bytes]) -> tuple[Change, Position]:
    """A change as a control entry tells of it, and the position in the mailbox that it comes after.

    :raises ValueError: if it is none, or one that only a later version knows.
    """
    what, group, channel, position = fields
    if what not in (b"join", b"leave", b"discard"):
        raise ValueError(f"unknown change {what!r}")
    return Change(what.decode(), group.decode(), channel.decode()), position_of(position)


class Changes:
    """Tells which changes are to be applied, and when. All under the lock of the inbox."""

    def __init__(self) -> None:
        #: Up to where the entries were read.
        self.position: Position = START
        # What the server has confirmed, and was not read yet.
        self._promised: dict[Position, Change] = {}
        # What it had confirmed before it lost what it had, in order: the reader will see which of them it still has.
        self._at_stake: dict[Position, Change] = {}
        #: Whether what comes was asked for before the server lost something.
        self.is_outdated = False
        # The latest that were applied, and up to where others were, before those; and both as they were when the server
        # lost what it had. It may come back as it was some time ago: to apply those again would undo what came after.
        self._applied: deque[Position] = deque(maxlen=_APPLIED)
        self._long_applied: Position = START
        self._applied_before: frozenset[Position] = frozenset()
        self._long_applied_before: Position = START
        # Joins that are not to be applied when they are read.
        self._void: set[Position] = set()
        # Up to where entries are read again that were read before a flush was heard of.
        self._again_up_to: Position = START
        # Channels that ended without an entry of their own, and up to where their joins are void then.
        self._ended: dict[str, Position] = {}
        self._waiting: list[tuple[Position, Callable[[], None]]] = []

    def promise(self, entry: Position, change: Change) -> None:
        """Apply a change even if the server loses it before it was read here."""
        if entry > self.position:
            self._promised[entry] = change

    def when_applied(self, entry: Position, call: Callable[[], None]) -> None:
        """Call back when a change was applied."""
        if entry <= self.position:
            call()
        else:
            self._waiting.append((entry, call))

    def void_joins(self, channel: str, is_member: bool) -> None:
        """Apply no join of this channel that was read, or that the server has confirmed and that was not read yet.

        :param is_member: whether one that was read counts now.
        """
        up_to = max(self.position, self._again_up_to)
        for unread in (self._promised, self._at_stake):
            for entry, change in tuple(unread.items()):
                if (change.what, change.channel) == ("join", channel):
                    del unread[entry]
                    self._void.add(entry)
                    up_to = max(up_to, entry)
        if is_member or up_to > self.position:
            self._ended.pop(channel, None)
            self._ended[channel] = up_to
            if len(self._ended) > _ENDED:
                del self._ended[next(iter(self._ended))]

    # Reading

    def takes(self, entry: Position) -> bool:
        """Note that an entry was read; whether it is to be applied."""
        self.position = entry
        is_unread = self._at_stake.pop(entry, None) is not None or entry in self._promised
        if entry in self._applied_before or (entry <= self._long_applied_before and not is_unread):
            return False
        self._remember(entry)
        return entry not in self._void

    def _remember(self, applied: Position) -> None:
        if len(self._applied) == _APPLIED:
            self._long_applied = max(self._long_applied, self._applied[0])
        self._applied.append(applied)

    def has_ended(self, entry: Position, channel: str) -> bool:
        """Whether a join that is read again, because of a flush, is one of a channel that has ended since."""
        return entry <= self._again_up_to and entry <= self._ended.get(channel, START)

    def take_lost_before(self, entry: Position) -> list[Change]:
        """What the server has lost of what it had confirmed: what was not read and comes before this entry."""
        if entry in self._promised:  # since the loss: all comes before it, though the clock may be another one now
            return self._take(None)
        return self._take(entry)

    def take_lost(self) -> list[Change]:
        """What the server has lost of what it had confirmed, when all that there is was read, also what is read again.

        Nothing, as long as what comes is outdated.
        """
        if self.is_outdated:
            return []
        self._again_up_to = START
        return self._take(None)

    def _take(self, before: Position | None) -> list[Change]:
        lost = []
        while self._at_stake:
            missed = next(iter(self._at_stake))
            if before is not None and missed >= before:
                break
            lost.append(self._at_stake.pop(missed))
            self._remember(missed)
        return lost

    def have_been_applied(self) -> None:
        """Call back who waited for what was read."""
        waiting, self._waiting = self._waiting, []
        for entry, call in waiting:
            self.when_applied(entry, call)

    def forget_read(self) -> None:
        """Forget what was promised, or void, and was passed by for good."""
        if self._promised:
            self._promised = {entry: change for entry, change in self._promised.items() if entry > self.position}
        if self._void and not self.is_outdated:
            self._void = {entry for entry in self._void if entry > self.position}

    def keep_from(self) -> str:
        """The first id that the server has to keep, or "" for all."""
        return "" if self.is_outdated else after(self.position)

    # When the server has less than it had

    def start_anew(self) -> list[Change]:
        """Read from the beginning, since the server has lost what it had; who waits is called back.

        Returns what is to be applied at once, since it may never be read. It is to be applied once more, in its place
        among what is read then: when it is read itself, or when :meth:`take_lost_before` or :meth:`take_lost` tells of
        it.
        """
        self.is_outdated = True
        self.position = self._again_up_to = START
        for entry in sorted(self._void):
            self._remember(entry)
        self._applied_before, self._long_applied_before = frozenset(self._applied), self._long_applied
        promised = dict(sorted(self._promised.items()))
        self._promised.clear()
        self._at_stake.update(promised)
        self._call_back()
        return list(promised.values())

    def _call_back(self) -> None:
        waiting, self._waiting = self._waiting, []
        for _, call in waiting:
            call()

    def read_again(self) -> None:
        """What comes from now on is asked for after the loss; what was read meanwhile hides nothing that is to come."""
        if self.is_outdated and self._again_up_to > START:
            self._again_up_to = max(self._again_up_to, self.position)
            self.position = START
        self.is_outdated = False

    def flushed(self, read_before: Position = START) -> None:
        """Read from the beginning, and apply all but void joins: the flush leaves no entry from before it.

        Who waits is called back, since what he waits for may have been emptied.

        :param read_before: up to where entries had been read when it was heard of.
        """
        self._again_up_to = read_before
        self.position = START
        self._applied_before, self._long_applied_before = frozenset(), START
        self._at_stake.clear()
        self._call_back()
