"""Layers that break a rule of delivery: once, in order, to one receiver, none lost, all woken."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from channel_layers.inbox import ChannelQueue, Inbox, Prefix
from channel_layers.waiters import Waiters

from .base import EVERYTHING, BrokenLayer


class DeliversTwice(
    BrokenLayer,
    caught_by="test_never_more_than_once test_any_order_of_steps_agrees_with_a_model",
    also=EVERYTHING,
):
    """At most once: every message is delivered twice."""

    def _break(self) -> None:
        super()._break()
        self._again: dict[str, deque[Any]] = {}

    async def _receive(self, channel: str) -> Any:
        if self._again.get(channel):
            return self._again[channel].popleft()
        payload = await self._inbox.take(channel)
        self._again.setdefault(channel, deque()).append(payload)
        return payload


class LosesEveryHundredth(
    BrokenLayer,
    caught_by="test_competing_receivers_share_the_messages test_first_in_first_out test_many_threads_send",
    also="CancellationTests CapacityTests",
):
    """No loss: every hundredth message that is sent to a channel is accepted and vanishes."""

    def _break(self) -> None:
        super()._break()
        self._sends = 0

    def _send(self, channel: str, payload: Any) -> None:
        self._sends += 1
        if self._sends % 100:
            super()._send(channel, payload)


class LosesTheFirst(BrokenLayer, caught_by="test_a_message_arrives", also=EVERYTHING):
    """No loss: the first message that a layer sends vanishes."""

    def _break(self) -> None:
        super()._break()
        self._has_sent = False

    def _send(self, channel: str, payload: Any) -> None:
        if self._has_sent:
            super()._send(channel, payload)
        self._has_sent = True


class MessagesDoNotWake(BrokenLayer, caught_by="test_a_waiting_receive_wakes", also=EVERYTHING):
    """A receive that waits gets what comes: here a direct message does not wake it."""

    class InboxType(Inbox):
        def put(self, channel: str, payload: Any) -> bool:
            queue = self._queues.get(channel) or self._open(channel)
            waiters, queue.waiters = queue.waiters, Waiters()
            accepted = super().put(channel, payload)
            queue.waiters = waiters
            return accepted


class ChannelsOfAProcessAreOne(BrokenLayer, caught_by="test_channels_are_apart", also=EVERYTHING):
    """Isolation: a receive takes what was sent to any channel of its process."""

    async def _receive(self, channel: str) -> Any:
        return await self._inbox.take(self.non_local_name(channel))


class NormalChannelsDoNotKeep(
    BrokenLayer,
    caught_by="test_a_busy_channel_does_not_silence_a_quiet_one test_a_message_arrives_on_a_normal_channel",
    also="CancellationTests CapacityTests FlushTests GroupTests LoopTests NameTests ProcessTests",
):
    """Normal channels: a message waits there for a receiver; here it is lost if nobody waits for it."""

    def _send(self, channel: str, payload: Any) -> None:
        queue = self._inbox._queues.get(channel)
        if "!" in channel or (queue is not None and queue.waiters.any()):
            super()._send(channel, payload)


class NormalChannelsDoNotWake(
    BrokenLayer,
    caught_by="test_a_waiting_receive_wakes_on_a_normal_channel",
    also="CancellationTests ExpiryTests LoopTests",
):
    """Normal channels: a receive that waits there is not woken."""

    class InboxType(Inbox):
        def _append(self, queue: ChannelQueue, payload: Any, now: float) -> None:
            waiters = queue.waiters
            if "!" not in queue.name:
                queue.waiters = Waiters()
            super()._append(queue, payload, now)
            queue.waiters = waiters


class NormalChannelsArePrefixes(BrokenLayer, caught_by="test_normal_channels_are_apart"):
    """Normal channels: a receive there takes messages of other channels whose names begin with its name."""

    class InboxType(Inbox):
        def claim(self, channel: str) -> Any:
            if "!" not in channel:
                longer = [name for name, queue in self._queues.items() if queue.items and name.startswith(channel)]
                channel = max(longer, default=channel)
            return super().claim(channel)


class LastInFirstOut(
    BrokenLayer,
    caught_by="test_first_in_first_out test_first_in_first_out_on_a_normal_channel test_timeouts_lose_nothing",
    also="CapacityTests FlushTests GroupTests LoopTests MessageTests PrefixTests ProcessTests",
):
    """Order: the newest message of a channel comes first."""

    class InboxType(Inbox):
        def _append(self, queue: ChannelQueue, payload: Any, now: float) -> None:
            super()._append(queue, payload, now)
            queue.items.rotate()


class SwapsNeighbours(
    BrokenLayer,
    caught_by="test_first_in_first_out test_order_while_receiving",
    also="CancellationTests GroupTests LoopTests PrefixTests",
):
    """Order: every tenth message of the layer overtakes the one before it in its channel."""

    class InboxType(Inbox):
        def _append(self, queue: ChannelQueue, payload: Any, now: float) -> None:
            super()._append(queue, payload, now)
            if self.arrived % 10 == 0 and len(queue.items) > 1:
                last, before = queue.items.pop(), queue.items.pop()
                queue.items += (last, before)


class GroupMessagesOvertake(
    BrokenLayer,
    caught_by="test_direct_and_group_messages_keep_their_order test_each_member_gets_the_order",
    also="CapacityTests",
):
    """Order among the messages of one group: each is put before those that already wait."""

    class InboxType(Inbox):
        in_front = False

        def put_each(self, channels: Any, payload: Any) -> None:
            self.in_front = True
            super().put_each(channels, payload)
            self.in_front = False

        def _append(self, queue: ChannelQueue, payload: Any, now: float) -> None:
            super()._append(queue, payload, now)
            if self.in_front:
                queue.items.rotate()


class EveryReceiverGetsACopy(
    BrokenLayer,
    caught_by="test_competing_receivers_share_the_messages test_concurrent_receivers_of_a_specific_channel",
    also="CancellationTests LoopTests",
):
    """One receiver: a message goes to all receivers that wait at the channel."""

    def _break(self) -> None:
        super()._break()
        self._waiting: Counter[str] = Counter()

    async def _receive(self, channel: str) -> Any:
        self._waiting[channel] += 1
        try:
            return await self._inbox.take(channel)
        finally:
            self._waiting[channel] -= 1

    def _send(self, channel: str, payload: Any) -> None:
        for _ in range(max(1, self._waiting[channel])):
            super()._send(channel, payload)


class _ByName(Prefix):
    __slots__ = ()

    def oldest(self) -> ChannelQueue | None:
        return min((self.items or {}).values(), key=lambda queue: queue.name, default=None)


class PrefixInOrderOfNames(BrokenLayer, caught_by="test_a_prefix_receives_in_order_of_arrival"):
    """Prefix receive: the channels under a prefix are emptied one after the other, not in order of arrival."""

    class InboxType(Inbox):
        def _prefix(self, name: str) -> Prefix:
            prefix = super()._prefix(name)
            prefix.__class__ = _ByName
            return prefix


class PrefixMissesNewChannels(
    BrokenLayer,
    caught_by="test_a_waiting_prefix_receive_wakes test_either_receive_wakes test_prefix_and_direct_receives_share",
    also="CancellationTests",
):
    """Prefix receive: channels that were first used after it began are not received."""

    class InboxType(Inbox):
        def _open(self, channel: str) -> ChannelQueue:
            queue = super()._open(channel)
            if queue.prefix is not None and queue.prefix.items is not None:
                queue.prefix = None
            return queue


class ReceivesForeignChannels(
    BrokenLayer,
    caught_by="test_receiving_on_a_foreign_channel_is_refused",
    also="ProcessTests",
):
    """Process-specific channels: another process's channel may be received on, where nothing will ever come."""

    def _may_receive(self, channel: str) -> bool:
        return True


class ChannelNamesIgnoreCase(BrokenLayer, caught_by="test_channel_names_differ_by_case"):
    """Isolation: channels whose names differ in case only are one channel."""

    def _send(self, channel: str, payload: Any) -> None:
        super()._send(channel.lower(), payload)

    async def _receive(self, channel: str) -> Any:
        return await self._inbox.take(channel.lower())
