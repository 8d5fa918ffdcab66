"""What must hold of all that is received, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channel_layers.statistics import Statistics

#: Bytes by which a process may grow once it has seen everything that a phase can hold.
GROWTH = 64 << 20


class Order:
    """Of one channel with one receiver: what one sender sends there, or to one group, comes once and in its order."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}

    def problem_with(self, channel: str, message: Mapping[str, Any]) -> str | None:
        """What is wrong with a message that came now."""
        lane = message["by"], message["lane"]
        last, number = self._last.get(lane, 0), message["n"]
        if number > last:
            self._last[lane] = number
            return None
        how = "twice" if number == last else f"after {last}"
        return f"{channel} got number {number} of {lane[0]} to {lane[1]} {how}"


class Once:
    """Of the normal channels, wherever they are received: nothing comes twice."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, str]] = set()

    def problem_with(self, channel: str, by: str, number: int) -> str | None:
        """What is wrong with a message that came now."""
        message = by, number, channel
        if message in self._seen:
            return f"{channel} gave number {number} of {by} twice"
        self._seen.add(message)
        return None


def problem_with_counts(counts: Statistics) -> str | None:
    """What is wrong with the statistics of a layer that nobody sends over now."""
    if counts.sent != counts.accepted + sum(counts.refused.values()):
        return f"what was sent does not balance: {counts}"
    if counts.arrived != counts.delivered + sum(counts.dropped.values()) + counts.unread:
        return f"what arrived does not balance: {counts}"
    return None
