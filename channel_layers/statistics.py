"""What a layer object has counted: what it sent, and what arrived in its inbox."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .exceptions import ChannelFull, LayerUnavailable, MessageTooLarge

if TYPE_CHECKING:
    from .inbox import Inbox

logger = logging.getLogger("channel_layers")


def _as_raised_by_hooks(kind: type[Exception]) -> type[Exception]:
    """The error that Channels calls so, where it is installed: a hook may raise either."""
    base: type[Exception] = kind.__mro__[1]
    return kind if base is Exception else base


_REASONS: dict[type[Exception], str] = {
    _as_raised_by_hooks(ChannelFull): "full",
    _as_raised_by_hooks(MessageTooLarge): "too_large",
    LayerUnavailable: "unavailable",
    TypeError: "invalid",  # InvalidMessage, and a name that is not legal
}

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

    #: Calls of ``send`` and ``group_send`` that returned or raised. One that was cancelled counts nowhere.
    sent: int = 0
    #: Those that returned.
    accepted: int = 0
    #: Those that raised, by reason: ``full``, ``too_large``, ``invalid``, ``unavailable``, ``error``.
    refused: Mapping[str, int] = field(default_factory=dict)
    #: Messages that reached the inbox, a group message once for each member.
    arrived: int = 0
    #: Messages that a ``receive`` returned.
    delivered: int = 0
    #: Messages that will never be delivered, by reason: ``full``, ``expired``, ``malformed``, ``flushed``,
    #: ``discarded``, ``closed``.
    dropped: Mapping[str, int] = field(default_factory=dict)
    #: Messages that wait for a ``receive``.
    unread: int = 0


class SentCounts:
    """Counts what the verbs that send did, from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused: Counter[str] = Counter()
        # next() is one step that threads cannot split, and needs no lock; += would be three.
        self.accept = itertools.count().__next__
        self._looks = 0

    def refuse(self, error: Exception) -> None:
        """Count a call that raised, by the reason."""
        reason = next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), "error")
        with self._lock:
            self._refused[reason] += 1

    def read(self) -> dict[str, Any]:
        """The sender's half of :class:`Statistics`, as keyword arguments."""
        with self._lock:
            accepted = self.accept() - self._looks  # looking draws a number, too
            self._looks += 1
            refused = dict(self._refused)
        return {"sent": accepted + sum(refused.values()), "accepted": accepted, "refused": refused}


def read_statistics(sent: SentCounts, inbox: Inbox) -> Statistics:
    """What a layer object has sent, and what its inbox has seen."""
    with inbox.lock:
        unread = inbox.unread()  # first: it may drop some
        counts = Statistics(
            **sent.read(),
            arrived=inbox.arrived,
            delivered=inbox.delivered,
            dropped=dict(inbox.dropped),
            unread=unread,
        )
    if inbox.drops.unwritten:
        inbox.drops.write()
    return counts


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
        while self.unwritten:
            with suppress(IndexError):  # another thread may be writing, too
                self._warn(*self.unwritten.pop(0))

    def _warn(self, reason: str, channel: str) -> None:
        with suppress(Exception):  # a handler that fails must not cost a message
            logger.warning(
                "Dropped a message for channel %r (%s). Further drops are not logged, only counted in statistics(),"
                " until there has been none for %d seconds.",
                channel,
                reason,
                _BURST_GAP,
            )
