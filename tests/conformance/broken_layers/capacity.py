"""Layers that break a rule of capacity."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

from channel_layers.exceptions import ChannelFull
from channel_layers.inbox import ChannelQueue, Inbox

from .base import BrokenLayer


class BlocksWhenFull(
    BrokenLayer,
    caught_by="test_a_full_channel_raises test_sending_does_not_wait_for_a_reader",
    also="StatisticsTests",
):
    """Sending never blocks: a send to a full channel waits for room."""

    async def _send(self, channel: str, payload: Any) -> None:  # type: ignore[override]
        while True:
            try:
                return super()._send(channel, payload)
            except ChannelFull:
                await asyncio.sleep(0.002)


class NeverFull(
    BrokenLayer,
    caught_by="test_a_full_channel_raises test_memory_is_bounded test_unread_messages_are_bounded",
    also="StatisticsTests",
):
    """Capacity: none at all."""

    class InboxType(Inbox):
        def _make_room(self, queue: ChannelQueue, now: float) -> bool:
            return True


class DropsSilentlyWhenFull(BrokenLayer, caught_by="test_a_full_channel_raises test_full_channels_are_counted"):
    """ChannelFull: a send to a full channel returns as if it had been accepted."""

    def _send(self, channel: str, payload: Any) -> None:
        inbox = self._inbox
        with inbox.lock:
            if not inbox.put(channel, payload):
                inbox.arrived += 1
                inbox._drop("full", channel)


class EvictsTheOldest(
    BrokenLayer,
    caught_by="test_a_full_channel_raises test_a_refused_message_is_not_delivered",
    also="StatisticsTests",
):
    """ChannelFull: a send to a full channel makes room by dropping the oldest message."""

    class InboxType(Inbox):
        def put(self, channel: str, payload: Any) -> bool:
            if super().put(channel, payload):
                return True
            queue = self._queues[channel]
            self._remove_oldest(queue, 1)
            self._drop("full", channel)
            return super().put(channel, payload)


class HoldsOneMore(
    BrokenLayer,
    caught_by="test_a_full_channel_raises test_a_full_normal_channel_raises "
    "test_group_messages_fill_a_channel_and_no_more",
    also="StatisticsTests",
):
    """Capacity: a channel holds one message more than it may."""

    def get_capacity(self, channel: str) -> int:
        return super().get_capacity(channel) + 1


class HoldsOneLess(BrokenLayer, caught_by="test_a_full_channel_raises", also="ExpiryTests FlushTests StatisticsTests"):
    """Capacity: a channel holds one message less than it may, if it may hold several."""

    def get_capacity(self, channel: str) -> int:
        return max(1, super().get_capacity(channel) - 1)


class ReceivingMakesNoRoom(BrokenLayer, caught_by="test_receiving_makes_room", also="ExpiryTests FlushTests"):
    """Capacity counts unread messages: here those already received count too."""

    class InboxType(Inbox):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.ever: Counter[str] = Counter()

        def put(self, channel: str, payload: Any) -> bool:
            if self.ever[channel] >= self.capacity_of(channel):
                return False
            self.ever[channel] += 1
            return super().put(channel, payload)


class GroupSendRaisesChannelFull(
    BrokenLayer,
    caught_by="test_a_group_message_is_dropped_for_the_full_member_only",
    also="StatisticsTests",
):
    """Groups drop silently: group_send raises ChannelFull when a member is full."""

    def _group_send(self, group: str, payload: Any) -> None:
        before = self._inbox.dropped["full"]
        super()._group_send(group, payload)
        if self._inbox.dropped["full"] != before:
            raise ChannelFull(group)


class OneFullMemberStopsAll(BrokenLayer, caught_by="test_a_group_message_is_dropped_for_the_full_member_only"):
    """Groups drop for the full member only: here nobody gets the message when one is full."""

    class InboxType(Inbox):
        def put_each(self, channels: Iterable[str], payload: Any) -> None:
            members = list(channels)
            if any(name in self._queues and self._full(self._queues[name]) for name in members):
                for name in members:
                    self.arrived += 1
                    self._drop("full", name)
            else:
                super().put_each(members, payload)

        def _full(self, queue: ChannelQueue) -> bool:
            return len(queue.items) >= queue.capacity


class GroupMessagesIgnoreCapacity(
    BrokenLayer,
    caught_by="test_group_messages_fill_a_channel_and_no_more test_dropped_group_messages_are_counted",
):
    """Capacity holds for group messages too: here a full member takes them all."""

    class InboxType(Inbox):
        def put_each(self, channels: Iterable[str], payload: Any) -> None:
            for name in channels:
                queue = self._queues.get(name) or self._open(name)
                capacity, queue.capacity = queue.capacity, 10**9
                super().put_each([name], payload)
                queue.capacity = capacity


class CapacityPerProcess(
    BrokenLayer,
    caught_by="test_capacity_is_per_channel",
    also="ExpiryTests GroupTests StatisticsTests",
):
    """Capacity is per channel: here the channels of a process share one."""

    class InboxType(Inbox):
        def put(self, channel: str, payload: Any) -> bool:
            return self._room_in_process(channel) and super().put(channel, payload)

        def put_each(self, channels: Iterable[str], payload: Any) -> None:
            for name in channels:
                if self._room_in_process(name):
                    super().put_each([name], payload)
                else:
                    self.arrived += 1
                    self._drop("full", name)

        def _room_in_process(self, channel: str) -> bool:
            process, mark, _ = channel.partition("!")
            if not mark:
                return True
            unread = sum(len(it.items) for name, it in self._queues.items() if name.startswith(process + mark))
            return unread < self.capacity_of(channel)


class NormalChannelsShareCapacity(BrokenLayer, caught_by="test_a_full_channel_does_not_hinder_a_normal_one"):
    """Capacity is per channel: here all normal channels share one."""

    class InboxType(Inbox):
        def put(self, channel: str, payload: Any) -> bool:
            unread = sum(len(queue.items) for name, queue in self._queues.items() if "!" not in name)
            return ("!" in channel or unread < self.capacity_of(channel)) and super().put(channel, payload)


class ClaimsCapacityPerProcess(BrokenLayer, caught_by="test_capacity_is_per_process"):
    """Capacity per process, if that is claimed: here it is per channel."""

    claims = {"capacity": "process"}  # noqa: RUF012 - declared in the base


class IgnoresPatterns(
    BrokenLayer,
    caught_by="test_capacity_by_glob test_capacity_by_regular_expression test_patterns_apply_to_specific_channels",
):
    """channel_capacity: patterns are ignored."""

    def get_capacity(self, channel: str) -> int:
        return self.capacity


class LastPatternWins(BrokenLayer, caught_by="test_the_first_pattern_holds"):
    """channel_capacity: where several patterns match, the last one holds instead of the first."""

    def get_capacity(self, channel: str) -> int:
        found = [capacity for pattern, capacity in self.channel_capacity if pattern.match(channel)]
        return found[-1] if found else self.capacity


class PatternsMatchAnywhere(BrokenLayer, caught_by="test_capacity_by_regular_expression"):
    """channel_capacity: a pattern matches from the beginning of the name; here anywhere in it."""

    def get_capacity(self, channel: str) -> int:
        found = (capacity for pattern, capacity in self.channel_capacity if pattern.search(channel))
        return next(found, self.capacity)


class PatternsSeeTheProcessOnly(BrokenLayer, caught_by="test_patterns_apply_to_specific_channels"):
    """channel_capacity: patterns are matched with the full name; here with the part before the mark."""

    def get_capacity(self, channel: str) -> int:
        return super().get_capacity(self.non_local_name(channel))
