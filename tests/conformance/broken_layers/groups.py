"""Layers that break a rule of groups, of flush or of discard_channel."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from channel_layers.groups import Groups
from channel_layers.inbox import Inbox
from channel_layers.memory import _Shared
from channel_layers.messages import is_flat
from channel_layers.names import client_id_of
from channel_layers.waiters import Waiters

from .base import BrokenLayer


class AddedTwiceGetsTwo(BrokenLayer, caught_by="test_adding_twice_is_adding_once"):
    """Membership: a channel that was added twice gets two copies."""

    class GroupsType(Groups):
        def __init__(self, expiry: float | None) -> None:
            super().__init__(expiry)
            self.times: Counter[tuple[str, str]] = Counter()

        def add(self, group: str, channel: str) -> None:
            super().add(group, channel)
            self.times[group, channel] += 1

        def _remove(self, group: str, members: Any, channel: str) -> None:
            super()._remove(group, members, channel)
            del self.times[group, channel]

        def clear(self) -> None:
            super().clear()
            self.times.clear()

        def members(self, group: str) -> Iterable[str]:
            return [channel for channel in super().members(group) for _ in range(self.times[group, channel])]


class LateMembersGetEarlierMessages(
    BrokenLayer,
    caught_by="test_a_discarded_member_can_come_back test_who_joins_later_gets_nothing",
    also="CloseTests ExpiryTests FlushTests LoopTests",
):
    """Membership counts when a message is sent: here who joins afterwards gets the latest one too."""

    def _break(self) -> None:
        super()._break()
        self._latest: dict[str, _Shared] = {}

    def _group_send(self, group: str, payload: Any) -> None:
        super()._group_send(group, payload)
        self._latest[group] = _Shared(payload, is_flat(payload))

    async def _group_add(self, group: str, channel: str) -> None:
        if group in self._latest and channel not in self._groups.members(group):
            with self._inbox.lock:
                self._inbox.put_each([channel], self._latest[group])
        await super()._group_add(group, channel)


class LeavingForgetsEarlierMessages(BrokenLayer, caught_by="test_who_leaves_later_gets_the_message"):
    """Membership counts when a message is sent: here who leaves loses what was sent before."""

    async def _group_discard(self, group: str, channel: str) -> None:
        await super()._group_discard(group, channel)
        inbox = self._inbox
        with inbox.lock:
            queue = inbox._queues.get(channel)
            if queue is None:
                return
            for item in [item for item in queue.items if isinstance(item[2], _Shared)]:
                queue.items.remove(item)
                inbox.dropped["discarded"] += 1
                if queue.prefix is not None and queue.prefix.items is not None:
                    del queue.prefix.items[item[1]]


class LeavingHasNoEffect(BrokenLayer, caught_by="test_one_discard_ends_two_adds test_anyone_can_add_and_discard"):
    """group_discard: a channel stays a member."""

    async def _group_discard(self, group: str, channel: str) -> None:
        pass


class LeavingOneLeavesAll(BrokenLayer, caught_by="test_groups_are_apart"):
    """group_discard: a channel leaves all its groups at once."""

    async def _group_discard(self, group: str, channel: str) -> None:
        with self._inbox.lock:
            self._groups.discard_channel(channel)


class LeavingTwiceIsAnError(BrokenLayer, caught_by="test_discarding_a_stranger_does_nothing", also="StatisticsTests"):
    """group_discard of a channel that is no member does nothing: here it is an error."""

    async def _group_discard(self, group: str, channel: str) -> None:
        if channel not in self._groups.members(group):
            raise KeyError(channel)
        await super()._group_discard(group, channel)


class EmptyGroupIsAnError(
    BrokenLayer,
    caught_by="test_a_group_without_members",
    also="CloseTests ExpiryTests FlushTests NameTests ProcessTests StatisticsTests",
):
    """group_send to a group without members does nothing: here it is an error."""

    def _group_send(self, group: str, payload: Any) -> None:
        if not self._groups.members(group):
            raise LookupError(group)
        super()._group_send(group, payload)


class NormalChannelsCannotJoin(BrokenLayer, caught_by="test_a_normal_channel_can_be_a_member"):
    """Any channel may be a member: here normal ones get nothing."""

    class GroupsType(Groups):
        def members(self, group: str) -> Iterable[str]:
            return [channel for channel in super().members(group) if "!" in channel]


class GoneMembersAreErrors(BrokenLayer, caught_by="test_a_hand_made_member_is_legal"):
    """group_send: a member whose process is gone hinders nobody; here it is an error."""

    def _group_send(self, group: str, payload: Any) -> None:
        for channel in self._groups.members(group):
            if "!" in channel and client_id_of(channel) is None:
                raise LookupError(channel)
        super()._group_send(group, payload)


class JoiningTakesAWhile(
    BrokenLayer,
    caught_by="test_adding_is_live_when_it_returns",
    also="CloseTests ExpiryTests FlushTests IsolationTests LoopTests MessageTests NameTests ProcessTests "
    "StatisticsTests",
):
    """group_add is live when it returns: here it is in the next turn of the loop."""

    async def _group_add(self, group: str, channel: str) -> None:
        asyncio.get_running_loop().call_soon(self._groups.add, group, channel)


class GroupMessagesDoNotWake(BrokenLayer, caught_by="test_a_waiting_member_wakes", also="LoopTests"):
    """A receive that waits gets what comes: here a group message does not wake it."""

    class InboxType(Inbox):
        def put_each(self, channels: Iterable[str], payload: Any) -> None:
            for name in channels:
                queue = self._queues.get(name) or self._open(name)
                waiters, queue.waiters = queue.waiters, Waiters()
                super().put_each([name], payload)
                queue.waiters = waiters


class OnlyTheFirstGroupMessageWakes(BrokenLayer, caught_by="test_each_group_message_wakes_a_receiver"):
    """Each message wakes a receiver: here a group message does not, where another is unread."""

    class InboxType(Inbox):
        def put_each(self, channels: Iterable[str], payload: Any) -> None:
            for name in channels:
                queue = self._queues.get(name) or self._open(name)
                waiters = queue.waiters
                if queue.items:
                    queue.waiters = Waiters()
                super().put_each([name], payload)
                queue.waiters = waiters


class OneMemberIsEnough(
    BrokenLayer,
    caught_by="test_every_member_gets_a_group_message",
    also="CancellationTests IsolationTests LoopTests MessageTests StatisticsTests",
):
    """Every member gets the message: here the one that joined last."""

    class GroupsType(Groups):
        def members(self, group: str) -> Iterable[str]:
            return tuple(super().members(group))[-1:]


class StopsAtFiftyMembers(BrokenLayer, caught_by="test_a_group_of_many_members"):
    """Every member gets the message: here the first fifty."""

    class GroupsType(Groups):
        def members(self, group: str) -> Iterable[str]:
            return tuple(super().members(group))[:50]


class GroupIsAlsoAChannel(BrokenLayer, caught_by="test_a_group_is_not_a_channel", also="StatisticsTests"):
    """Groups and channels have separate names: here a group message also goes to the channel of that name."""

    class GroupsType(Groups):
        def members(self, group: str) -> Iterable[str]:
            return (*super().members(group), group)


class GroupNamesIgnoreCase(BrokenLayer, caught_by="test_group_names_differ_by_case"):
    """Isolation: groups whose names differ in case only are one group."""

    async def _group_add(self, group: str, channel: str) -> None:
        await super()._group_add(group.lower(), channel)

    async def _group_discard(self, group: str, channel: str) -> None:
        await super()._group_discard(group.lower(), channel)

    def _group_send(self, group: str, payload: Any) -> None:
        super()._group_send(group.lower(), payload)


class FlushLeavesMemberships(BrokenLayer, caught_by="test_flush_ends_memberships"):
    """flush empties the layer: here memberships stay."""

    async def _flush(self) -> None:
        with self._inbox.lock:
            self._inbox.clear("flushed")


class FlushLeavesMessages(
    BrokenLayer,
    caught_by="test_flush_drops_messages test_flush_drops_messages_of_a_prefix test_flush_makes_room",
):
    """flush empties the layer: here messages stay."""

    async def _flush(self) -> None:
        with self._inbox.lock:
            self._groups.clear()


class FlushEndsReceivers(BrokenLayer, caught_by="test_a_receive_outlives_flush"):
    """flush: who waits for a message waits on; here it ends."""

    async def _flush(self) -> None:
        await super()._flush()
        await self._close()


class FlushDeafensReceivers(BrokenLayer, caught_by="test_a_receive_outlives_flush"):
    """flush: who waits for a message gets the next one; here it is forgotten."""

    async def _flush(self) -> None:
        await super()._flush()
        with self._inbox.lock:
            for queue in self._inbox._queues.values():
                queue.waiters.forget_all()


class DiscardedChannelStaysMember(BrokenLayer, caught_by="test_discarding_a_channel_ends_its_memberships"):
    """discard_channel ends memberships: here they stay."""

    async def _discard_channel(self, channel: str) -> None:
        with self._inbox.lock:
            self._inbox.discard(channel)


class DiscardedChannelKeepsMessages(BrokenLayer, caught_by="test_discarding_a_channel_drops_its_messages"):
    """discard_channel drops unread messages: here they stay."""

    async def _discard_channel(self, channel: str) -> None:
        with self._inbox.lock:
            self._groups.discard_channel(channel)


class DiscardedChannelDeafensReceivers(BrokenLayer, caught_by="test_a_receive_outlives_discarding"):
    """discard_channel: a receive that waits there waits on; here it is forgotten."""

    class InboxType(Inbox):
        def discard(self, channel: str) -> None:
            super().discard(channel)
            queue = self._queues.get(channel)
            if queue is not None:
                self.forgotten.append(queue.waiters.alone)
                for futures in queue.waiters.by_loop.values():
                    self.forgotten += futures
                queue.waiters.forget_all()

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.forgotten: deque[Any] = deque()
