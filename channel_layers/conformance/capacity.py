"""Capacity: how many unread messages a channel holds, and what happens to the next one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from .base import LayerTests, layer_test
from .delivery import numbered, numbers
from .expect import expect, expect_equal, expect_error


class CapacityTests(LayerTests):
    """Capacity"""

    @asynccontextmanager
    async def bounded(self, **config: Any) -> AsyncIterator[tuple[Any, Any]]:
        """As ``layers``, with a sender that knows the capacity of the receiver's channels."""
        async with self.layers(**config) as (sender, receiver):
            yield (sender if self.features.remote_capacity else receiver), receiver

    async def fill(self, sender: Any, channel: str, capacity: int) -> None:
        """Send as much as the channel holds, and see that the next message is refused."""
        for message in numbered(capacity):
            await self.within(sender.send(channel, message), f"a channel of capacity {capacity} takes {capacity}")
        await self.expect_full(sender, channel, f"a channel of capacity {capacity} refuses message {capacity + 1}")

    async def expect_full(self, sender: Any, channel: str, rule: str) -> None:
        full = self.full_error(sender)
        await expect_error(full, lambda: self.within(sender.send(channel, {"n": "too many"}), rule), rule)

    async def send_when_there_is_room(self, sender: Any, channel: str, message: dict[str, Any], rule: str) -> None:
        """Send until it is accepted: another process may hear of the room a moment later."""
        full = self.full_error(sender)

        async def accepted() -> bool:
            try:
                await sender.send(channel, message)
            except full:
                return False
            return True

        await self.eventually(accepted, rule)

    @layer_test("capacity")
    async def test_a_full_channel_raises(self) -> None:
        """*Capacity*: send() to a channel that holds as many unread messages as its capacity raises ChannelFull."""
        async with self.bounded(capacity=3) as (sender, receiver):
            channel = await receiver.new_channel()
            await self.fill(sender, channel, 3)

    @layer_test("capacity", "normal_channels", "waiting")
    async def test_a_full_normal_channel_raises(self) -> None:
        """*Capacity*: a normal channel has a capacity as well."""
        async with self.bounded(capacity=3) as (sender, _):
            await self.fill(sender, self.name("jobs"), 3)

    @layer_test("capacity")
    async def test_a_refused_message_is_not_delivered(self) -> None:
        """*Capacity*: a message that was refused with ChannelFull never arrives; those before it do."""
        async with self.bounded(capacity=3) as (sender, receiver):
            channel = await receiver.new_channel()
            await self.fill(sender, channel, 3)
            got = await self.take_many(receiver, channel, 3, "the messages that were accepted arrive")
            expect_equal(sorted(numbers(got)), [0, 1, 2], "a full channel keeps what it holds")
            await self.expect_nothing(sender, receiver, channel, "a refused message does not arrive")

    @layer_test("capacity")
    async def test_receiving_makes_room(self) -> None:
        """*Capacity*: each message that is received makes room for another."""
        async with self.bounded(capacity=2) as (sender, receiver):
            channel = await receiver.new_channel()
            await self.fill(sender, channel, 2)
            for n in range(5):
                await self.take(receiver, channel)
                rule = "after a receive, a full channel takes one more message"
                await self.send_when_there_is_room(sender, channel, {"n": n}, rule)
                await self.expect_full(sender, channel, "and no second one")

    @layer_test("capacity=channel")
    async def test_capacity_is_per_channel(self) -> None:
        """*Capacity*, deviating: one full channel hinders no other of the same process."""
        async with self.bounded(capacity=2) as (sender, receiver):
            full, free = await receiver.new_channel(), await receiver.new_channel()
            await self.fill(sender, full, 2)
            rule = "a channel is not full because another of its process is"
            await self.within(sender.send(free, {"n": 1}), rule)
            await self.expect_next(receiver, free, {"n": 1}, rule)

    @layer_test("capacity=process")
    async def test_capacity_is_per_process(self) -> None:
        """*Capacity*: the channels under one prefix share its capacity."""
        async with self.bounded(capacity=2) as (sender, receiver):
            one, two = await receiver.new_channel(), await receiver.new_channel()
            await sender.send(one, {"n": 1})
            await sender.send(two, {"n": 2})
            await self.expect_full(sender, one, "channels of one process share their capacity")

    @layer_test("capacity", "normal_channels", "waiting")
    async def test_a_full_channel_does_not_hinder_a_normal_one(self) -> None:
        """*Capacity*: one full normal channel hinders no other normal channel."""
        async with self.bounded(capacity=2) as (sender, receiver):
            full, free = self.name("jobs"), self.name("jobs")
            await self.fill(sender, full, 2)
            await self.within(sender.send(free, {"n": 1}), "a normal channel is not full because another is")
            await self.expect_next(receiver, free, {"n": 1}, "it delivers as ever")

    @layer_test("capacity", "channel_capacity", "normal_channels", "waiting")
    async def test_capacity_by_glob(self) -> None:
        """*Capacity*: channel_capacity gives the channels that match a glob pattern another capacity."""
        label = self.name("glob")
        config = {"capacity": 2, "channel_capacity": {f"{label}.*": 4, f"{label}-?": 1}}
        async with self.bounded(**config) as (sender, _):
            await self.fill(sender, f"{label}.orders", 4)
            await self.fill(sender, f"{label}-x", 1)
            await self.fill(sender, f"{label}-xx", 2)

    @layer_test("capacity", "channel_capacity", "normal_channels", "waiting")
    async def test_capacity_by_regular_expression(self) -> None:
        """*Capacity*: a key of channel_capacity may be a compiled regular expression, which must match from the
        beginning of the name."""
        label = self.name("regex")
        pattern = re.compile(re.escape(label) + r"\.[0-9]+$")
        async with self.bounded(capacity=2, channel_capacity={pattern: 3}) as (sender, _):
            await self.fill(sender, f"{label}.12", 3)
            await self.fill(sender, f"{label}.x", 2)
            await self.fill(sender, f"other.{label}.12", 2)

    @layer_test("capacity", "channel_capacity", "normal_channels", "waiting")
    async def test_the_first_pattern_holds(self) -> None:
        """*Capacity*: of several patterns that match a name, the first one gives its capacity."""
        label = self.name("first")
        config = {"capacity": 2, "channel_capacity": {f"{label}.a*": 3, f"{label}.*": 1}}
        async with self.bounded(**config) as (sender, _):
            await self.fill(sender, f"{label}.ab", 3)
            await self.fill(sender, f"{label}.b", 1)

    @layer_test("capacity=channel", "channel_capacity", "channel_prefix")
    async def test_patterns_apply_to_specific_channels(self) -> None:
        """*Capacity*: patterns are matched against the full name of a process-specific channel."""
        label = self.name("own")
        async with self.bounded(capacity=2, channel_capacity={f"{label}.*!?*": 4}) as (sender, receiver):
            channel = await receiver.new_channel(label)
            await self.fill(sender, channel, 4)

    @layer_test("capacity=channel", "groups")
    async def test_a_group_message_is_dropped_for_the_full_member_only(self) -> None:
        """*Capacity*: group_send never raises ChannelFull; a full member misses the message, all others get it."""
        async with self.bounded(capacity=2) as (sender, receiver):
            full, free, group = await receiver.new_channel(), await receiver.new_channel(), self.name("room")
            for channel in (full, free):
                await receiver.group_add(group, channel)
            await self.fill(sender, full, 2)
            rule = "group_send() does not raise when a member is full"
            await self.within(sender.group_send(group, {"n": "group"}), rule)
            await self.expect_next(receiver, free, {"n": "group"}, "members that are not full get the group message")
            got = await self.take_many(receiver, full, 2, "a full member keeps what it held")
            expect_equal(sorted(numbers(got)), [0, 1], "a full member keeps what it held")
            await self.expect_nothing(sender, receiver, full, "a full member misses the group message")

    @layer_test("capacity", "groups")
    async def test_group_messages_fill_a_channel_and_no_more(self) -> None:
        """*Capacity*: however many group messages nobody reads, a channel holds no more than its capacity."""
        async with self.bounded(capacity=5) as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            await receiver.group_add(group, channel)
            for message in numbered(200):
                await self.within(sender.group_send(group, message), "group_send() neither waits nor raises")
            await self.have_arrived(receiver, 200)
            got = numbers(await self.take_many(receiver, channel, 5, "as many as the capacity are kept"))
            expect(got == sorted(got), f"expected those that were kept in their order, got {got}")
            await self.expect_nothing(sender, receiver, channel, "a channel keeps no more than its capacity")

    @layer_test("capacity")
    async def test_unread_messages_are_bounded(self) -> None:
        """*Capacity*: however often one sends to a channel that nobody reads, it holds no more than its capacity."""
        async with self.bounded(capacity=5) as (sender, receiver):
            channel = await receiver.new_channel()
            full = self.full_error(sender)
            refused = 0
            for message in numbered(200):
                try:
                    await self.within(sender.send(channel, message), "send() does not wait for a reader")
                except full:
                    refused += 1
            expect_equal(refused, 195, "of 200 messages to a channel of capacity 5 that nobody reads, refused")
            await self.take_many(receiver, channel, 5, "as many as the capacity are kept")
            await self.expect_nothing(sender, receiver, channel, "a channel keeps no more than its capacity")
