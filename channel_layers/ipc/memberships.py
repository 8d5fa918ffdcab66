"""The memberships of one client's channels, and what the summary of its mailbox must say of them."""

from __future__ import annotations

from collections.abc import Collection

from ..groups import Groups
from .counters import hash_of
from .reader import Reader


class _Groups(Groups):
    """Groups that note which of them have lost their last member."""

    def __init__(self, expiry: float | None) -> None:
        super().__init__(expiry)
        self.emptied: set[str] = set()

    def has(self, group: str) -> bool:
        """Whether a group has members, some of them perhaps expired."""
        return group in self._members

    def clear(self) -> None:
        super().clear()
        self.emptied.clear()

    def _remove(self, group: str, members: dict[str, float], channel: str) -> None:
        super()._remove(group, members, channel)
        if group not in self._members:
            self.emptied.add(group)


class Memberships:
    """Whoever calls a method holds the lock of the inbox.

    The summary may say more than there is, and never less: a group is counted before it has members, and what has
    become too much is noted as stale, to be looked at when nothing is on its way.

    :param expiry: seconds that a membership lasts; None for ever.
    """

    def __init__(self, expiry: float | None) -> None:
        self._groups = _Groups(expiry)
        # Of the groups that are counted in the summary: its bucket -> names.
        self._counted: dict[int, set[str]] = {}

    def members(self, reader: Reader, group: str) -> Collection[str]:
        """The channels that are members now. A message for nobody shows that the summary says too much."""
        members = self._groups.members(group)
        if self._groups.emptied:
            self._uncount(reader)
        if not members:
            reader.stale.add(reader.mailbox.bucket(hash_of(group)))
        return members

    def count(self, reader: Reader, group: str) -> None:
        """Count a group that will have members. Under the lock of the mailbox."""
        key = hash_of(group)
        names = self._counted.setdefault(reader.mailbox.bucket(key), set())
        if group not in names:
            reader.mailbox.count_group(key)
            names.add(group)

    def add(self, reader: Reader, group: str, channel: str) -> None:
        """Make a channel a member of a group that is counted."""
        self._groups.add(group, channel)
        if self._groups.emptied:
            self._uncount(reader)
        # It was counted, but may have lost its last member since.
        self._counted.setdefault(reader.mailbox.bucket(hash_of(group)), set()).add(group)

    def add_counted(self, reader: Reader, group: str, channel: str) -> None:
        """The same for a group that a sender has counted, perhaps once more than there are groups."""
        self.add(reader, group, channel)
        reader.stale.add(reader.mailbox.bucket(hash_of(group)))

    def discard(self, reader: Reader, group: str, channel: str) -> None:
        """End a membership."""
        self._groups.discard(group, channel)
        self.members(reader, group)

    def discard_channel(self, reader: Reader, channel: str) -> None:
        """End all memberships of a channel."""
        for group in self._groups.groups_of(channel):
            self.discard(reader, group, channel)

    def count_bucket(self, bucket: int) -> int:
        """How many groups there are that have members, and this bucket of the summary."""
        names = {name for name in self._counted.get(bucket, ()) if self._groups.members(name)}
        if names:
            self._counted[bucket] = names
        else:
            self._counted.pop(bucket, None)
        return len(names)

    def _uncount(self, reader: Reader) -> None:
        """Forget the groups that have lost their last member, and have got no other since."""
        emptied = self._groups.emptied
        while emptied:
            group = emptied.pop()
            if self._groups.has(group):
                continue
            bucket = reader.mailbox.bucket(hash_of(group))
            names = self._counted.get(bucket, set())
            names.discard(group)
            if not names:
                self._counted.pop(bucket, None)
            reader.stale.add(bucket)

    def clear(self) -> None:
        """End all memberships."""
        self._groups.clear()
        self._counted.clear()
