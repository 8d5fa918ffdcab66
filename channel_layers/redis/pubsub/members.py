"""The members that one process has in groups: a group is subscribed to while it has any."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from ...groups import Groups


class LocalGroups(Groups):
    """Memberships of the channels of this process.

    :param expiry: seconds that a membership lasts after its latest ``add``; None for ever.
    :param emptied: called with a group that has lost its last member.
    """

    def __init__(self, expiry: float | None, emptied: Callable[[str], None]) -> None:
        super().__init__(expiry)
        self._emptied = emptied

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
        for group in groups:
            self._emptied(group)

    def _remove(self, group: str, members: dict[str, float], channel: str) -> None:
        super()._remove(group, members, channel)
        if group not in self._members:
            self._emptied(group)
