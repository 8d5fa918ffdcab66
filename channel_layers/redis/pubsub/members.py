"""The members that one process has in groups: a group is subscribed to while it has any."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from ...groups import Groups


class Attempt:
    """One attempt to make a channel a member of a group."""

    __slots__ = ("channel", "group")

    def __init__(self, group: str, channel: str) -> None:
        self.group = group
        self.channel = channel


class LocalGroups(Groups):
    """Memberships of the channels of this process.

    :param expiry: seconds that a membership lasts after its latest ``add``; None for ever.
    :param emptied: called with a group that has lost its last member.
    """

    def __init__(self, expiry: float | None, emptied: Callable[[str], None]) -> None:
        super().__init__(expiry)
        self._emptied = emptied
        # Of a membership of which nobody knows yet whether it will hold, the attempts that are under way.
        self._attempts: dict[tuple[str, str], set[Attempt]] = {}

    def add(self, group: str, channel: str) -> None:
        super().add(group, channel)
        self._attempts.pop((group, channel), None)

    def attempt(self, group: str, channel: str) -> Attempt:
        """Add a member, to be taken back if the server does not let us listen to the group."""
        attempt, membership = Attempt(group, channel), (group, channel)
        is_certain = channel in self.members(group) and membership not in self._attempts
        super().add(group, channel)
        if not is_certain:
            self._attempts.setdefault(membership, set()).add(attempt)
        return attempt

    def succeed(self, attempt: Attempt) -> None:
        """The membership holds, whatever becomes of other attempts."""
        membership = attempt.group, attempt.channel
        if attempt in self._attempts.get(membership, ()):
            del self._attempts[membership]

    def fail(self, attempt: Attempt) -> None:
        """End the membership, unless others still attempt it or have succeeded."""
        attempts = self._attempts.get((attempt.group, attempt.channel))
        if attempts is not None and attempt in attempts:
            attempts.remove(attempt)
            if not attempts:
                self.discard(attempt.group, attempt.channel)

    def groups(self) -> Collection[str]:
        """The groups that have members."""
        return tuple(self._members)

    def tidy(self) -> None:
        """Forget memberships that have expired, also of groups that nobody sends to."""
        now = time.monotonic()
        while now >= self._next_due:
            self._sweep(now)

    def clear(self) -> None:
        groups = self.groups()
        super().clear()
        self._attempts.clear()
        for group in groups:
            self._emptied(group)

    def _remove(self, group: str, members: dict[str, float], channel: str) -> None:
        super()._remove(group, members, channel)
        self._attempts.pop((group, channel), None)
        if group not in self._members:
            self._emptied(group)
