"""Layers that break a rule of time: how long messages wait and memberships last."""

from __future__ import annotations

import math
import time
from typing import Any

from channel_layers.groups import Groups
from channel_layers.inbox import ChannelQueue, Inbox

from .base import BrokenLayer


class DeliversExpired(BrokenLayer, caught_by="test_an_expired_message_is_not_delivered"):
    """Expiry: a message past its expiry is still delivered."""

    class InboxType(Inbox):
        def claim(self, channel: str) -> Any:
            queue = self._source(channel).oldest()
            if queue is None:
                return None
            _, number, payload = queue.items[0]
            queue.items[0] = math.inf, number, payload
            return super().claim(channel)


class ExpiredMessagesTakeRoom(BrokenLayer, caught_by="test_expired_messages_do_not_fill_a_channel"):
    """Expiry: expired messages count as unread, so that a channel nobody reads stays full for ever."""

    class InboxType(Inbox):
        def _make_room(self, queue: ChannelQueue, now: float) -> bool:
            return False

        def _tidy(self, now: float, steps: int = 0) -> None:
            while self._abandoned:
                self._leave(*self._abandoned.popleft())


class ExpiryInWholeSeconds(
    BrokenLayer,
    caught_by="test_an_expired_message_is_not_delivered "
    "test_an_expired_message_of_a_normal_channel_is_not_delivered "
    "test_an_expired_message_does_not_come_to_the_prefix",
):
    """Expiry: fractions of a second are rounded up."""

    def _break(self) -> None:
        super()._break()
        self._inbox.expiry = math.ceil(self.expiry)


class ExpiresEarly(BrokenLayer, caught_by="test_a_message_outlives_others_that_expire"):
    """Expiry: messages are dropped after a tenth of the time."""

    def _break(self) -> None:
        super()._break()
        self._inbox.expiry = self.expiry / 10


class ExpiresWithTheFirst(BrokenLayer, caught_by="test_a_message_outlives_others_that_expire"):
    """Expiry counts for each message: here all of a channel expire together with the first."""

    class InboxType(Inbox):
        def _append(self, queue: ChannelQueue, payload: Any, now: float) -> None:
            super()._append(queue, payload, now)
            queue.items[-1] = queue.items[0][0], *queue.items[-1][1:]


class LaterMessagesRenewExpiry(BrokenLayer, caught_by="test_a_message_outlives_others_that_expire"):
    """Expiry counts for each message: here the next message of the channel renews it for all before."""

    class InboxType(Inbox):
        def _append(self, queue: ChannelQueue, payload: Any, now: float) -> None:
            super()._append(queue, payload, now)
            for place, (_, *rest) in enumerate(queue.items):
                queue.items[place] = queue.items[-1][0], *rest


class GroupMessagesDoNotExpire(BrokenLayer, caught_by="test_an_expired_group_message_is_not_delivered"):
    """Expiry holds for group messages too: here it does not."""

    class InboxType(Inbox):
        def put_each(self, channels: Any, payload: Any) -> None:
            expiry, self.expiry = self.expiry, math.inf
            super().put_each(channels, payload)
            self.expiry = expiry


class MembershipsDoNotExpire(BrokenLayer, caught_by="test_a_membership_expires"):
    """group_expiry: memberships last for ever."""

    def _break(self) -> None:
        super()._break()
        self._groups.expiry = math.inf


class MembershipsAlwaysExpire(BrokenLayer, caught_by="test_memberships_without_expiry"):
    """group_expiry=None: a membership lasts as long as the process; here a tenth of a second."""

    def _break(self) -> None:
        super()._break()
        self._groups.expiry = 0.1 if self.group_expiry is None else self.group_expiry


class MembershipsEndWithMessages(BrokenLayer, caught_by="test_a_membership_outlives_expired_messages"):
    """Memberships outlive the messages of their channel: here one ends when a message expires."""

    class InboxType(Inbox):
        memberships: Groups

        def _drop(self, reason: str, channel: str) -> None:
            super()._drop(reason, channel)
            if reason == "expired":
                self.memberships.discard_channel(channel)

    def _break(self) -> None:
        super()._break()
        self._inbox.memberships = self._groups  # type: ignore[attr-defined]


class AddingAgainDoesNotRenew(BrokenLayer, caught_by="test_adding_again_renews_a_membership"):
    """group_expiry: group_add of a member does not renew its membership."""

    class GroupsType(Groups):
        def add(self, group: str, channel: str) -> None:
            self._expire(group, time.monotonic())
            if channel not in self._members.get(group, ()):
                super().add(group, channel)


class MembersExpireWithTheFirst(BrokenLayer, caught_by="test_memberships_expire_one_by_one"):
    """group_expiry counts for each member: here all expire together with the first."""

    class GroupsType(Groups):
        def add(self, group: str, channel: str) -> None:
            super().add(group, channel)
            members = self._members[group]
            members[channel] = min(members.values())


class WhoHasLeftStaysOut(BrokenLayer, caught_by="test_a_member_that_expired_can_join_again"):
    """A membership that has ended can begin anew: here the first time is remembered for ever."""

    class GroupsType(Groups):
        def add(self, group: str, channel: str) -> None:
            self._expire(group, time.monotonic())
            former: set[tuple[str, str]] = self.__dict__.setdefault("former", set())
            if (group, channel) not in former or channel in self._members.get(group, ()):
                former.add((group, channel))
                super().add(group, channel)


class SendingRenewsMemberships(BrokenLayer, caught_by="test_only_adding_renews_a_membership"):
    """group_expiry counts from group_add: here a group_send renews all memberships."""

    class GroupsType(Groups):
        def members(self, group: str) -> Any:
            members = tuple(super().members(group))
            for channel in members:
                self.add(group, channel)
            return members
