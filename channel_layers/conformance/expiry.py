"""Expiry: of messages that nobody reads, and of memberships that nobody renews.

The tests wait for the clock, as nothing else can end an expiry, and bear with a machine that stands still meanwhile:
where a test must do something before a moment and could not, it tries again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .base import LayerTests, layer_test
from .expect import expect, expect_equal, fail, shown

#: How often a test that could not keep to its own time tries again.
_TRIES = 8


class ExpiryTests(LayerTests):
    """Expiry"""

    @property
    def expiry(self) -> float:
        return 0.2 if self.features.sub_second_expiry else 1

    @property
    def group_expiry(self) -> float:
        return 0.2 if self.features.sub_second_group_expiry else 1

    def beyond(self, expiry: float) -> float:
        """A time after which what expires in ``expiry`` seconds is gone: a layer of whole seconds may round up."""
        return expiry + (0.05 if expiry < 1 else 1.05)

    async def expect_only_new(
        self, sender: Any, receiver: Any, channel: str, rule: str, prefix: str | None = None
    ) -> None:
        """As ``expect_nothing``, with a message that is sent again and again, since it expires soon as well."""
        waiting = self.start(receiver.receive(prefix or channel))
        await self.turns()  # it looks for old messages before there is a new one
        await self.until_received(waiting, lambda: sender.send(channel, {"type": "new"}), rule)
        if waiting.result() != {"type": "new"}:
            raise fail(f"{rule}: expected only new messages, got {shown(waiting.result())}")

    async def until_received(self, waiting: asyncio.Task[Any], send: Callable[[], Awaitable[None]], rule: str) -> None:
        async def received() -> bool:
            await send()
            await asyncio.wait({waiting}, timeout=self.expiry / 4)
            return waiting.done()

        await self.eventually(received, f"{rule}: a message sent afterwards arrives")

    async def in_time(self, attempt: Callable[[], Awaitable[bool]], rule: str) -> None:
        """Repeat an attempt until it says that it could do in time what it had to; it fails by itself."""
        for _ in range(_TRIES):
            if await attempt():
                return
        raise fail(
            f"{rule}: it did not come in time in any of {_TRIES} attempts (or this machine stood still again and again)"
        )

    async def comes_before(self, end: float, layer: Any, channel: str, message: dict[str, Any], rule: str) -> bool:
        """Whether the next message comes before a time (monotonic seconds); fail if it is another."""
        receiving = self.start(layer.receive(channel))
        await asyncio.wait({receiving}, timeout=max(0.0, end - time.monotonic()))
        if not receiving.done():
            receiving.cancel()
            return False
        expect_equal(receiving.result(), message, rule)
        return True

    async def reaches_member(self, until: float, layer: Any, channel: str, message: dict[str, Any], rule: str) -> bool:
        """Whether a group message that was sent comes while the membership lasts, where that is what counts."""
        if self.features.membership == "delivery":
            return await self.comes_before(until, layer, channel, message, rule)
        await self.expect_next(layer, channel, message, rule)
        return True

    @layer_test("expiry")
    async def test_an_expired_message_is_not_delivered(self) -> None:
        """*Channels*: a message that nobody read for expiry seconds is never delivered."""
        async with self.layers(expiry=self.expiry) as (sender, receiver):
            channel = await receiver.new_channel()
            await sender.send(channel, {"type": "old"})
            await self.time_passes(self.beyond(self.expiry))
            await self.expect_only_new(sender, receiver, channel, "an expired message is not delivered")

    @layer_test("expiry", "normal_channels", "waiting")
    async def test_an_expired_message_of_a_normal_channel_is_not_delivered(self) -> None:
        """*Channels*: messages on a normal channel expire as well."""
        async with self.layers(expiry=self.expiry) as (sender, receiver):
            channel = self.name("jobs")
            await sender.send(channel, {"type": "old"})
            await self.time_passes(self.beyond(self.expiry))
            await self.expect_only_new(sender, receiver, channel, "an expired message is not delivered")

    @layer_test("expiry", "prefix_receive")
    async def test_an_expired_message_does_not_come_to_the_prefix(self) -> None:
        """*Channels*: receive("prefix!") does not deliver what has expired."""
        async with self.layers(expiry=self.expiry) as (sender, receiver):
            channel = await receiver.new_channel()
            prefix = channel[: channel.index("!") + 1]
            await sender.send(channel, {"type": "old"})
            await self.time_passes(self.beyond(self.expiry))
            rule = "an expired message does not come to the prefix"
            await self.expect_only_new(sender, receiver, channel, rule, prefix)

    @layer_test("expiry", "groups")
    async def test_an_expired_group_message_is_not_delivered(self) -> None:
        """*Channels*: a group message that a member did not read expires as any other."""
        async with self.layers(expiry=self.expiry) as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            await receiver.group_add(group, channel)
            await sender.group_send(group, {"type": "old"})
            await self.time_passes(self.beyond(self.expiry))
            await self.expect_only_new(sender, receiver, channel, "an expired group message is not delivered")

    @layer_test("expiry")
    async def test_a_receive_waits_as_long_as_it_takes(self) -> None:
        """*Channels*: receive() returns the next message; it never ends because none came, whatever time passes."""
        async with self.layers(expiry=self.expiry) as (sender, receiver):
            channel = await receiver.new_channel()
            waiting = self.start(receiver.receive(channel))
            await self.time_passes(self.beyond(self.expiry))
            expect(not waiting.done(), "expected receive() to wait on though nothing comes")
            rule = "a receive that has waited longer than messages last gets the next"
            await self.until_received(waiting, lambda: sender.send(channel, {"n": 1}), rule)
            expect_equal(waiting.result(), {"n": 1}, rule)

    @layer_test("expiry", "ordered")
    async def test_a_message_outlives_others_that_expire(self) -> None:
        """*Channels*: each message has its own time: a later one is delivered when an earlier one has expired."""
        rule = "a message that is younger than its expiry is delivered"
        async with self.layers(expiry=self.expiry) as (sender, receiver):

            async def attempt() -> bool:
                channel, other = await receiver.new_channel(), await receiver.new_channel()
                await sender.send(channel, {"n": 1})
                await self.time_passes(self.beyond(self.expiry) - self.expiry / 2)
                sent = time.monotonic()
                await sender.send(channel, {"n": 2})
                await sender.send(other, {"n": 3})
                await self.time_passes(self.expiry / 2)
                end = sent + self.expiry
                return await self.comes_before(end, receiver, channel, {"n": 2}, rule) and await self.comes_before(
                    end, receiver, other, {"n": 3}, rule
                )

            await self.in_time(attempt, rule)

    @layer_test("expiry", "capacity")
    async def test_expired_messages_do_not_fill_a_channel(self) -> None:
        """*Capacity*: what has expired takes no room: a channel that was full of it accepts messages again."""
        async with self.layers(expiry=self.expiry, capacity=2) as (sender, receiver):
            channel = await receiver.new_channel()
            writer = sender if self.features.remote_capacity else receiver
            for n in range(2):
                await writer.send(channel, {"n": n})
            await self.time_passes(self.beyond(self.expiry))

            async def accepted() -> bool:
                try:
                    await writer.send(channel, {"n": "new"})
                except self.full_error(writer):
                    return False
                return True

            if self.features.shares_between_instances:
                await self.eventually(accepted, "a channel whose messages have expired takes new ones")
            else:
                expect(await accepted(), "expected a channel whose messages have expired to take new ones")

    @layer_test("expiry", "steady_membership", "groups")
    async def test_a_membership_outlives_expired_messages(self) -> None:
        """*Persistence*, stricter: a channel stays a member though messages on it expire."""
        async with self.layers(expiry=self.expiry) as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            await receiver.group_add(group, channel)
            await sender.send(channel, {"type": "old"})
            await self.time_passes(self.beyond(self.expiry))
            rule = "a channel whose message expired is a member still"
            waiting = self.start(receiver.receive(channel))
            await self.until_received(waiting, lambda: sender.group_send(group, {"type": "new"}), rule)
            expect_equal(waiting.result(), {"type": "new"}, rule)

    @layer_test("group_expiry", "groups")
    async def test_a_membership_expires(self) -> None:
        """*Persistence*: a membership ends group_expiry seconds after the latest group_add()."""
        async with self.layers(group_expiry=self.group_expiry) as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            await receiver.group_add(group, channel)
            await self.time_passes(self.beyond(self.group_expiry))
            await sender.group_send(group, {"n": 1})
            await self.expect_nothing(sender, receiver, channel, "an expired member gets no group message")

    @layer_test("group_expiry", "groups")
    async def test_a_member_that_expired_can_join_again(self) -> None:
        """*Persistence*: a membership that has ended can be begun anew."""
        rule = "a member that expired can join again"
        async with self.layers(group_expiry=self.group_expiry) as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            await receiver.group_add(group, channel)
            await self.time_passes(self.beyond(self.group_expiry))

            async def attempt() -> bool:
                added = time.monotonic()
                await receiver.group_add(group, channel)
                await sender.group_send(group, {"n": 1})
                end = added + self.group_expiry
                if time.monotonic() >= end:
                    return False
                return await self.reaches_member(end, receiver, channel, {"n": 1}, rule)

            await self.in_time(attempt, rule)

    @layer_test("group_expiry", "groups")
    async def test_only_adding_renews_a_membership(self) -> None:
        """*Persistence*: neither messages to the group nor those to the channel prolong a membership."""
        async with self.layers(group_expiry=self.group_expiry) as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            await receiver.group_add(group, channel)
            await self.time_passes(self.group_expiry / 2)
            await sender.group_send(group, {"n": "in time"})
            await sender.send(channel, {"n": "direct"})
            await self.take(receiver, channel, "a message arrives")
            await self.time_passes(self.beyond(self.group_expiry) - self.group_expiry / 2)
            await sender.group_send(group, {"n": "too late"})
            await sender.send(channel, {"n": "last"})
            while (message := await self.take(receiver, channel, "a message arrives")) != {"n": "last"}:
                rule = "expected a membership to end though messages were sent meanwhile"
                expect(message != {"n": "too late"}, rule)

    @layer_test("group_expiry", "groups")
    async def test_adding_again_renews_a_membership(self) -> None:
        """*Persistence*: the time of a membership begins anew with each group_add()."""
        rule = "a renewed member gets group messages"
        async with self.layers(group_expiry=self.group_expiry) as (sender, receiver):

            async def attempt() -> bool:
                channel, group = await receiver.new_channel(), self.name("room")
                await receiver.group_add(group, channel)
                await self.time_passes(self.beyond(self.group_expiry) - self.group_expiry / 2)
                renewed = time.monotonic()
                await receiver.group_add(group, channel)
                await self.time_passes(self.group_expiry / 2)
                await sender.group_send(group, {"n": 1})
                end = renewed + self.group_expiry
                if time.monotonic() >= end:
                    return False
                return await self.reaches_member(end, receiver, channel, {"n": 1}, rule)

            await self.in_time(attempt, rule)

    @layer_test("group_expiry", "groups")
    async def test_memberships_expire_one_by_one(self) -> None:
        """*Persistence*: one member's expiry ends no other membership, neither of the group nor of the channel."""
        async with self.layers(group_expiry=self.group_expiry) as (sender, receiver):

            async def attempt() -> bool:
                old, new = await receiver.new_channel(), await receiver.new_channel()
                group, other = self.name("room"), self.name("room")
                await receiver.group_add(group, old)
                await self.time_passes(self.beyond(self.group_expiry) - self.group_expiry / 2)
                joined = time.monotonic()
                await receiver.group_add(group, new)
                await receiver.group_add(other, old)
                await self.time_passes(self.group_expiry / 2)
                await sender.group_send(group, {"to": "group"})
                await sender.group_send(other, {"to": "other"})
                end = joined + self.group_expiry
                if time.monotonic() >= end:
                    return False
                of_group, of_channel = "a member that joined later is one still", "each membership has its own time"
                return await self.reaches_member(
                    end, receiver, new, {"to": "group"}, of_group
                ) and await self.reaches_member(end, receiver, old, {"to": "other"}, of_channel)

            await self.in_time(attempt, "the expiry of one membership leaves all others")

    @layer_test("endless_membership", "groups")
    async def test_memberships_without_expiry(self) -> None:
        """*Beyond the specification*: with group_expiry=None, memberships do not expire."""
        async with self.layers(group_expiry=None) as (sender, receiver):
            expect_equal(receiver.group_expiry, None, "layer.group_expiry is what the option says")
            channel, group = await receiver.new_channel(), self.name("room")
            await receiver.group_add(group, channel)
            for n in range(2):
                await sender.group_send(group, {"n": n})
                await self.expect_next(receiver, channel, {"n": n}, "a membership without expiry stays")
                await self.time_passes(0 if n else self.beyond(self.group_expiry))
