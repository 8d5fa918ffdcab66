"""What a layer object has counted: what it sent, and what arrived in its inbox."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

logger = logging.getLogger("channel_layers")

#: Seconds without a drop that end a burst of them.
_BURST_GAP = 10.0


@dataclass(frozen=True)
class Statistics:
    """Counts of one layer object since it was made, at one moment.

    Two equations hold at every moment::

        sent == accepted + sum(refused.values())
        arrived == delivered + sum(dropped.values()) + unread

    A ``group_send`` counts once among the sent messages; among the arrived ones it counts once for each member.
    """

    #: Calls of ``send`` and ``group_send`` that have ended.
    sent: int = 0
    #: Those that returned.
    accepted: int = 0
    #: Those that raised, by reason: ``full``, ``too_large``, ``invalid``, ``unavailable``, ``error``.
    refused: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    #: Messages that reached the inbox, a group message once for each member.
    arrived: int = 0
    #: Messages that a ``receive`` returned.
    delivered: int = 0
    #: Messages that will never be delivered, by reason: ``full``, ``expired``, ``flushed``, ``discarded``, ``closed``.
    dropped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    #: Messages that wait for a ``receive``.
    unread: int = 0


class Tally:
    """A count that threads may raise at once without a lock: ``next()`` is one step, ``+= 1`` is three."""

    def __init__(self) -> None:
        numbers = itertools.count()
        self.add = numbers.__next__
        self._looked = 0

    def read(self) -> int:
        """How often ``add()`` was called. Looking draws a number too; the caller keeps others from looking."""
        self._looked += 1
        return self.add() - self._looked + 1


class DropLog:
    """Logs the first drop of a burst as a warning, and keeps silent until no drop has come for ten seconds.

    Noting and writing are two steps, because a drop is found while the inbox is locked, and a handler of the log may
    itself want to send.
    """

    def __init__(self) -> None:
        self.unwritten: list[tuple[str, str]] = []
        self._last: dict[str, float] = {}

    def note(self, reason: str, channel: str) -> None:
        """Note a drop that happens now."""
        now = time.monotonic()
        if now - self._last.get(reason, -math.inf) >= _BURST_GAP:
            self.unwritten.append((reason, channel))
        self._last[reason] = now

    def write(self) -> None:
        """Log what was noted. Call it without holding a lock."""
        noted, self.unwritten = self.unwritten, []
        for reason, channel in noted:
            logger.warning(
                "Dropped a message for channel %r (%s). Further drops are not logged, only counted in statistics(),"
                " until there has been none for %d seconds.",
                channel,
                reason,
                _BURST_GAP,
            )
