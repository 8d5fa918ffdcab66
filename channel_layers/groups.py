"""Which channels are members of which groups, and until when."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Collection

#: Groups that one ``add`` looks at, at the most, to drop memberships that have expired.
_SWEEP_STEPS = 4


class Groups:
    """The memberships that one process knows of. Whoever calls a method holds the lock that guards the table.

    :param expiry: seconds that a membership lasts after its latest ``add``; None for ever.
    """

    def __init__(self, expiry: float | None) -> None:
        self.expiry = math.inf if expiry is None else expiry
        # Each group's members with their deadlines. Adding again moves to the end, so the earliest deadline is first.
        self._members: dict[str, OrderedDict[str, float]] = {}
        self._groups_of: dict[str, set[str]] = {}
        # When to look at a group for expired members: one entry for each group, earliest first.
        self._due: OrderedDict[str, float] = OrderedDict()
        self._next_due = math.inf

    def add(self, group: str, channel: str) -> None:
        """Make the channel a member, or renew its membership."""
        now = time.monotonic()
        if now >= self._next_due:
            self._sweep(now)
        deadline = now + self.expiry
        members = self._members.get(group)
        if members is None:
            members = self._members[group] = OrderedDict()
            self._due[group] = deadline
            self._next_due = min(deadline, self._next_due)
        members[channel] = deadline
        members.move_to_end(channel)
        groups = self._groups_of.get(channel)
        if groups is None:
            self._groups_of[channel] = {group}
        else:
            groups.add(group)

    def discard(self, group: str, channel: str) -> None:
        """End a membership, if there is one."""
        members = self._members.get(group)
        if members is not None and channel in members:
            self._remove(group, members, channel)

    def discard_channel(self, channel: str) -> None:
        """End all memberships of a channel."""
        for group in self.groups_of(channel):
            self.discard(group, channel)

    def members(self, group: str) -> Collection[str]:
        """The channels that are members now. Valid until the table changes."""
        self._expire(group, time.monotonic())
        return self._members.get(group, ())

    def seconds_left(self) -> dict[str, dict[str, float]]:
        """All groups with their members, and how long each membership lasts from now on."""
        now = time.monotonic()
        for group in tuple(self._members):
            self._expire(group, now)
        return {
            group: {channel: deadline - now for channel, deadline in members.items()}
            for group, members in self._members.items()
        }

    def groups_of(self, channel: str) -> list[str]:
        """The groups that a channel is a member of."""
        return list(self._groups_of.get(channel, ()))

    def clear(self) -> None:
        """End all memberships."""
        self._members.clear()
        self._groups_of.clear()
        self._due.clear()

    def _expire(self, group: str, now: float) -> None:
        members = self._members.get(group)
        while members:
            channel, deadline = next(iter(members.items()))
            if deadline > now:
                return
            self._remove(group, members, channel)

    def _remove(self, group: str, members: dict[str, float], channel: str) -> None:
        del members[channel]
        groups = self._groups_of[channel]
        groups.remove(group)
        if not groups:
            del self._groups_of[channel]
        if not members:
            del self._members[group]
            del self._due[group]

    def _sweep(self, now: float, steps: int = _SWEEP_STEPS) -> None:
        # Groups that nobody sends to must not keep their members for ever.
        for _ in range(steps):
            group, self._next_due = next(iter(self._due.items()), ("", math.inf))
            if self._next_due > now:
                return
            self._expire(group, now)
            if group in self._due:
                self._due[group] = now + self.expiry
                self._due.move_to_end(group)
