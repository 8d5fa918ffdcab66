"""Layers that break a rule of statistics, or of the log of drops."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from channel_layers.inbox import Inbox
from channel_layers.statistics import Statistics

from .base import BrokenLayer


class DropsAreDeliveries(
    BrokenLayer,
    caught_by="test_dropped_group_messages_are_counted test_expired_messages_are_not_unread",
):
    """Statistics: a dropped message is counted as delivered."""

    class InboxType(Inbox):
        def _drop(self, reason: str, channel: str) -> None:
            self.delivered += 1
            self.drops.note(reason, channel)


class DropsAreNotCounted(
    BrokenLayer,
    caught_by="test_dropped_group_messages_are_counted test_the_counts_add_up_at_every_moment",
):
    """Statistics: dropped messages are not counted."""

    class InboxType(Inbox):
        def _drop(self, reason: str, channel: str) -> None:
            self.drops.note(reason, channel)


class UnreadIsARemainder(
    BrokenLayer,
    caught_by="test_unread_is_what_can_be_received",
    also="CancellationTests CapacityTests DeliveryTests GroupTests LoopTests PrefixTests ProcessTests",
):
    """Statistics: unread is counted by looking; here it is what remains, and hides that each
    third message in a channel pushes out the first."""

    class InboxType(Inbox):
        def put(self, channel: str, payload: Any) -> bool:
            accepted = super().put(channel, payload)
            if accepted and len(self._queues[channel].items) == 3:
                self._remove_oldest(self._queues[channel], 1)
            return accepted

        def unread(self) -> int:
            super().unread()
            return self.arrived - self.delivered - sum(self.dropped.values())


class ExpiredCountAsUnread(BrokenLayer, caught_by="test_expired_messages_are_not_unread"):
    """Statistics: an expired message is dropped; here it counts as unread until somebody receives."""

    class InboxType(Inbox):
        def unread(self) -> int:
            return sum(len(queue.items) for queue in self._due)


class RefusalsAreNotSent(
    BrokenLayer,
    caught_by="test_sends_are_counted_by_their_end test_the_counts_add_up_at_every_moment",
):
    """Statistics: a refused send counts among the sent; here it does not."""

    def _statistics(self) -> Statistics:
        counts = super()._statistics()
        return dataclasses.replace(counts, sent=counts.accepted)


class RefusalsAreNotCounted(
    BrokenLayer,
    caught_by="test_sends_are_counted_by_their_end test_full_channels_are_counted",
):
    """Statistics: a refused send is counted by its reason; here not at all."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sent.refuse = lambda error: None  # type: ignore[method-assign]


class RefusalsHaveOneReason(
    BrokenLayer,
    caught_by="test_sends_are_counted_by_their_end test_full_channels_are_counted",
):
    """Statistics: refused sends are counted by reason; here under one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        refuse = self._sent.refuse
        self._sent.refuse = lambda error: refuse(ValueError())  # type: ignore[method-assign]


class GroupMessagesArriveOnce(BrokenLayer, caught_by="test_dropped_group_messages_are_counted"):
    """Statistics: a group message counts once for each member that it reaches; here once."""

    class InboxType(Inbox):
        def put_each(self, channels: Iterable[str], payload: Any) -> None:
            members = list(channels)
            super().put_each(members, payload)
            self.surplus += max(0, len(members) - 1)

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.surplus = 0

    def _statistics(self) -> Statistics:
        counts = super()._statistics()
        return dataclasses.replace(counts, arrived=counts.arrived - self._inbox.surplus)  # type: ignore[attr-defined]


class FlushedAreNotCounted(BrokenLayer, caught_by="test_the_counts_add_up_at_every_moment"):
    """Statistics: what a flush removes is dropped; here it is forgotten."""

    async def _flush(self) -> None:
        await super()._flush()
        del self._inbox.dropped["flushed"]


class StatisticsCanBeChanged(BrokenLayer, caught_by="test_statistics_are_a_frozen_record"):
    """Statistics are a frozen record: here they can be written to."""

    def _statistics(self) -> Any:
        counts = super()._statistics()
        return SimpleNamespace(**{field.name: getattr(counts, field.name) for field in dataclasses.fields(counts)})


class StatisticsChangeLater(BrokenLayer, caught_by="test_statistics_are_a_frozen_record"):
    """Statistics are of one moment: here the drops by reason go on changing."""

    def _statistics(self) -> Statistics:
        return dataclasses.replace(super()._statistics(), dropped=self._inbox.dropped)


class DropsAreNotLogged(BrokenLayer, caught_by="test_drops_are_logged_once_a_burst"):
    """Drops are logged as a warning: here they are not."""

    class InboxType(Inbox):
        def _drop(self, reason: str, channel: str) -> None:
            self.dropped[reason] += 1


class EveryDropIsLogged(BrokenLayer, caught_by="test_drops_are_logged_once_a_burst"):
    """Drops are logged once for each burst: here each is."""

    class InboxType(Inbox):
        def _drop(self, reason: str, channel: str) -> None:
            super()._drop(reason, channel)
            if not self.drops.unwritten:
                self.drops.unwritten.append((reason, channel))


class DropsAreLoggedElsewhere(BrokenLayer, caught_by="test_drops_are_logged_once_a_burst"):
    """Drops are logged on the logger ``channel_layers``: here on the root logger."""

    class InboxType(Inbox):
        def _drop(self, reason: str, channel: str) -> None:
            self.dropped[reason] += 1
            logging.getLogger().warning("Dropped a message for channel %r (%s)", channel, reason)
