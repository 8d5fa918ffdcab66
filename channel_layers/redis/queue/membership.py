"""Which channels of this process are members of which groups, from which position in the mailbox to which."""

from __future__ import annotations

from collections.abc import Collection

from ...groups import Groups

#: The id of an entry in a stream: milliseconds and a number, in the order in which entries came.
Position = tuple[int, int]

START: Position = (0, 0)


class Memberships(Groups):
    """Memberships with positions: a member gets the messages after its joining, up to its leaving.

    :param expiry: seconds that a membership lasts after its latest ``join``; None for ever.
    """

    def __init__(self, expiry: float | None) -> None:
        super().__init__(expiry)
        self._joined: dict[tuple[str, str], Position] = {}
        self._latest_join: dict[str, Position] = {}
        # Members that have left, and messages from before that may still come: (channel, joined, left) by group.
        self._departed: dict[str, list[tuple[str, Position, Position]]] = {}

    def join(self, group: str, channel: str, position: Position) -> None:
        """Make the channel a member from this position on, or renew its membership."""
        self.members(group)  # what has expired is forgotten first: it cannot be renewed
        self.add(group, channel)
        if (group, channel) not in self._joined:
            self._joined[group, channel] = position
            self._latest_join[group] = max(position, self._latest_join.get(group, START))

    def leave(self, group: str, channel: str, position: Position) -> None:
        """End a membership at this position, if there is one."""
        joined = self._joined.get((group, channel))
        if joined is not None:
            self._departed.setdefault(group, []).append((channel, joined, position))
            self.discard(group, channel)

    def leave_all(self, channel: str, position: Position) -> list[str]:
        """End all memberships of a channel at this position; returns the groups."""
        groups = self.groups_of(channel)
        for group in groups:
            self.leave(group, channel, position)
        return groups

    def discard_channel(self, channel: str) -> None:
        """End all memberships of a channel; no message from before is for it any more, of groups it has left either."""
        super().discard_channel(channel)
        for group, departed in tuple(self._departed.items()):
            self._keep_departed(group, [entry for entry in departed if entry[0] != channel])

    def reached(self, group: str, position: Position) -> Collection[str]:
        """The channels that the message at this position is for. Valid until the table changes."""
        members = self.members(group)
        if self._latest_join.get(group, START) >= position:
            members = [channel for channel in members if self._joined[group, channel] < position]
        if group in self._departed:
            members = [*members]
            members += [name for name, joined, left in self._departed[group] if joined < position <= left]
        return members

    def pass_by(self, position: Position) -> None:
        """Forget who left before this position: no message from then will come any more."""
        for group, departed in tuple(self._departed.items()):
            self._keep_departed(group, [entry for entry in departed if entry[2] > position])

    def forget_departed(self) -> None:
        """Forget who has left: no message from before will come any more."""
        self._departed.clear()

    def _keep_departed(self, group: str, departed: list[tuple[str, Position, Position]]) -> None:
        if departed:
            self._departed[group] = departed
        else:
            del self._departed[group]

    def groups(self) -> Collection[str]:
        """The groups that have members now."""
        return tuple(self._members)

    def restart(self) -> None:
        """Positions begin anew: who is a member gets all that comes."""
        self._joined = dict.fromkeys(self._joined, START)
        self._latest_join.clear()
        self._departed.clear()

    def clear(self) -> None:
        super().clear()
        self._joined.clear()
        self._latest_join.clear()
        self._departed.clear()

    def _remove(self, group: str, members: dict[str, float], channel: str) -> None:
        super()._remove(group, members, channel)
        self._joined.pop((group, channel), None)
        if group not in self._members:
            self._latest_join.pop(group, None)


def position_of(stream_id: bytes) -> Position:
    """A stream's id as something that compares."""
    milliseconds, _, number = stream_id.partition(b"-")
    return int(milliseconds), int(number)


def as_text(position: Position) -> str:
    """A position as the id that it is on the server."""
    return f"{position[0]}-{position[1]}"


def after(position: Position) -> str:
    """The first id after a position, as text."""
    return f"{position[0]}-{position[1] + 1}"
