"""Groups: who gets a group message."""

from __future__ import annotations

import asyncio

from .base import LayerTests, layer_test
from .delivery import numbered, numbers
from .expect import expect_equal


class GroupTests(LayerTests):
    """Groups"""

    @layer_test("groups")
    async def test_every_member_gets_a_group_message(self) -> None:
        """*Groups*: what is sent to a group reaches each of its members, once, and nobody else."""
        async with self.layers() as (sender, receiver):
            group = self.name("room")
            members = [await receiver.new_channel() for _ in range(5)]
            stranger = await receiver.new_channel()
            for channel in members:
                await receiver.group_add(group, channel)
            await sender.group_send(group, {"n": 1})
            for channel in members:
                await self.expect_next(receiver, channel, {"n": 1}, "every member gets the group message")
            for channel in [*members, stranger]:
                rule = "a group message reaches a member once, and nobody who is no member"
                await self.expect_nothing(sender, receiver, channel, rule)

    @layer_test("groups")
    async def test_a_group_of_many_members(self) -> None:
        """*Groups*: a group may have any number of members; each gets the message."""
        async with self.layers(**self.roomy) as (sender, receiver):
            group, members = self.name("room"), [await receiver.new_channel() for _ in range(500)]
            for channel in members:
                await receiver.group_add(group, channel)
            await self.within(sender.group_send(group, {"n": 1}), "group_send() to 500 members returns")
            for channel in members:
                await self.expect_next(receiver, channel, {"n": 1}, "each of 500 members gets the message")

    @layer_test("groups")
    async def test_adding_twice_is_adding_once(self) -> None:
        """*Specification Details*: group_add() of a member returns normally, and the member still gets one copy."""
        async with self.layers() as (sender, receiver):
            group, channel = self.name("room"), await receiver.new_channel()
            await receiver.group_add(group, channel)
            await receiver.group_add(group, channel)
            await sender.group_send(group, {"n": 1})
            await self.expect_next(receiver, channel, {"n": 1}, "a member that was added twice gets the message")
            await self.expect_nothing(sender, receiver, channel, "a member that was added twice gets one copy")

    @layer_test("groups")
    async def test_one_discard_ends_two_adds(self) -> None:
        """*Specification Details*: after group_discard() a channel is no member, however often it was added."""
        async with self.layers() as (sender, receiver):
            group, channel, other = self.name("room"), await receiver.new_channel(), await receiver.new_channel()
            for _ in range(3):
                await receiver.group_add(group, channel)
            await receiver.group_add(group, other)
            await receiver.group_discard(group, channel)
            await sender.group_send(group, {"n": 1})
            await self.expect_next(receiver, other, {"n": 1}, "the other member gets the message")
            await self.expect_nothing(sender, receiver, channel, "a discarded member gets no group message")

    @layer_test("groups")
    async def test_discarding_a_stranger_does_nothing(self) -> None:
        """*Specification Details*: group_discard() of a channel that is no member does nothing."""
        async with self.layers() as (sender, receiver):
            group, member, stranger = self.name("room"), await receiver.new_channel(), await receiver.new_channel()
            await receiver.group_discard(group, stranger)
            await receiver.group_add(group, member)
            await receiver.group_discard(group, stranger)
            await sender.group_discard(self.name("other"), member)
            await sender.group_send(group, {"n": 1})
            await self.expect_next(receiver, member, {"n": 1}, "the member is one still")

    @layer_test("groups")
    async def test_a_discarded_member_can_come_back(self) -> None:
        """*Specification Details*: a channel that was discarded and added again is a member."""
        async with self.layers() as (sender, receiver):
            group, channel = self.name("room"), await receiver.new_channel()
            for n in range(5):
                await receiver.group_add(group, channel)
                await sender.group_send(group, {"n": n})
                await self.expect_next(receiver, channel, {"n": n}, "a member that came back gets group messages")
                await receiver.group_discard(group, channel)

    @layer_test("groups")
    async def test_a_group_without_members(self) -> None:
        """*Groups*: sending to a group that has no member, or never had one, is no error."""
        async with self.layers() as (sender, receiver):
            group, channel = self.name("room"), await receiver.new_channel()
            await self.within(sender.group_send(group, {"n": 1}), "group_send() to an unknown group returns")
            await receiver.group_add(group, channel)
            await receiver.group_discard(group, channel)
            await self.within(sender.group_send(group, {"n": 2}), "group_send() to an empty group returns")
            await self.expect_nothing(sender, receiver, channel, "who is no member gets nothing")

    @layer_test("groups")
    async def test_groups_are_apart(self) -> None:
        """*Groups*: a message to one group does not reach the members of another with a similar name."""
        async with self.layers() as (sender, receiver):
            one = self.name("room")
            two = one + ".two"
            in_one, in_two, in_both = [await receiver.new_channel() for _ in range(3)]
            for group, channel in ((one, in_one), (two, in_two), (one, in_both), (two, in_both)):
                await receiver.group_add(group, channel)
            await sender.group_send(one, {"to": "one"})
            await self.expect_next(receiver, in_one, {"to": "one"}, "members get what is sent to their group")
            await self.expect_next(receiver, in_both, {"to": "one"}, "a channel can be in several groups")
            await self.expect_nothing(sender, receiver, in_two, "who is in another group gets nothing")
            await receiver.group_discard(one, in_both)
            await sender.group_send(two, {"to": "two"})
            await self.expect_next(receiver, in_both, {"to": "two"}, "leaving one group leaves the other")

    @layer_test("groups")
    async def test_a_group_is_not_a_channel(self) -> None:
        """*Groups*: a channel and a group of the same name have nothing to do with each other."""
        async with self.layers() as (sender, receiver):
            name, member = self.name("same"), await receiver.new_channel()
            await receiver.group_add(name, member)
            if self.features.normal_channels and self.features.waiting:
                await sender.send(name, {"to": "channel"})
                await sender.group_send(name, {"to": "group"})
                await self.expect_next(receiver, name, {"to": "channel"}, "a channel gets what is sent to it")
                await self.expect_nothing(sender, receiver, name, "a channel gets nothing of a group of its name")
            else:
                await sender.group_send(name, {"to": "group"})
            await self.expect_next(receiver, member, {"to": "group"}, "a member gets what is sent to the group")

    @layer_test("groups", "normal_channels", "waiting")
    async def test_a_normal_channel_can_be_a_member(self) -> None:
        """*Groups*: a normal channel can be a member; its readers share the group messages."""
        async with self.layers() as (sender, receiver):
            group, channel = self.name("room"), self.name("jobs")
            await receiver.group_add(group, channel)
            await sender.group_send(group, {"n": 1})
            await self.expect_next(receiver, channel, {"n": 1}, "a normal channel gets the group message")
            await self.expect_nothing(sender, receiver, channel, "it gets it once")
            await receiver.group_discard(group, channel)
            await sender.group_send(group, {"n": 2})
            await self.expect_nothing(sender, receiver, channel, "a discarded normal channel gets no group message")

    @layer_test("groups")
    async def test_anyone_can_add_and_discard(self) -> None:
        """*Groups*: group_add() and group_discard() take channels of other layer objects and processes."""
        async with self.layers() as (sender, receiver):
            group, channel = self.name("room"), await receiver.new_channel()
            await sender.group_add(group, channel)
            await sender.group_send(group, {"n": 1})
            await self.expect_next(receiver, channel, {"n": 1}, "a member that somebody else added gets the message")
            await sender.group_discard(group, channel)
            await sender.group_send(group, {"n": 2})
            await self.expect_nothing(sender, receiver, channel, "somebody else's group_discard() counts as well")

    @layer_test("groups")
    async def test_a_hand_made_member_is_legal(self) -> None:
        """*Groups*: a process-specific channel of a process that is gone, or never was, hinders no other member."""
        async with self.layers() as (sender, receiver):
            group, channel = self.name("room"), await receiver.new_channel()
            await receiver.group_add(group, f"{self.name('gone')}!gone")
            await receiver.group_add(group, channel)
            await self.within(sender.group_send(group, {"n": 1}), "group_send() returns")
            await self.expect_next(receiver, channel, {"n": 1}, "members that live get the message")

    @layer_test("groups", "ordered")
    async def test_each_member_gets_the_order(self) -> None:
        """*Channel Semantics*: what one writer sends to a group comes to each member in that order."""
        async with self.layers(**self.roomy) as (sender, receiver):
            group, members = self.name("room"), [await receiver.new_channel() for _ in range(3)]
            for channel in members:
                await receiver.group_add(group, channel)
            for message in numbered(50):
                await sender.group_send(group, message)
            for channel in members:
                got = await self.take_many(receiver, channel, 50, "every member gets all group messages")
                expect_equal(numbers(got), list(range(50)), "group messages come in the order in which they were sent")

    @layer_test("groups", "ordered_together")
    async def test_direct_and_group_messages_keep_their_order(self) -> None:
        """*Channel Semantics*: the order holds also between direct and group messages of one writer."""
        async with self.layers(**self.roomy) as (sender, receiver):
            group, channel = self.name("room"), await receiver.new_channel()
            await receiver.group_add(group, channel)
            for n, message in enumerate(numbered(50)):
                await (sender.group_send(group, message) if n % 2 else sender.send(channel, message))
            got = await self.take_many(receiver, channel, 50, "direct and group messages arrive")
            expect_equal(numbers(got), list(range(50)), "direct and group messages do not overtake each other")

    @layer_test("groups")
    async def test_a_waiting_member_wakes(self) -> None:
        """*Groups*: members that wait already each get the message that comes then."""
        async with self.layers() as (sender, receiver):
            group, members = self.name("room"), [await receiver.new_channel() for _ in range(10)]
            for channel in members:
                await receiver.group_add(group, channel)
            waiting = [self.start(receiver.receive(channel)) for channel in members]
            await self.turns()
            await sender.group_send(group, {"n": 1})
            for each in waiting:
                expect_equal(await self.within(each, "a waiting member wakes"), {"n": 1}, "it gets the message")

    @layer_test("groups")
    async def test_each_group_message_wakes_a_receiver(self) -> None:
        """*Groups*: where several wait on one member, each message wakes one of them, also in a large group."""
        async with self.layers(**self.roomy) as (sender, receiver):
            group, members = self.name("room"), [await receiver.new_channel() for _ in range(100)]
            for channel in members:
                await receiver.group_add(group, channel)
            waiting = [self.start(receiver.receive(members[0])) for _ in range(20)]
            await self.turns()
            sends = asyncio.gather(*(sender.group_send(group, message) for message in numbered(20)))
            await self.within(sends, "20 sends to a group return")
            got = [await self.within(each, "each of 20 messages wakes one of 20 receivers") for each in waiting]
            expect_equal(sorted(numbers(got)), list(range(20)), "each receiver gets one of the messages")

    @layer_test("groups", "membership=send")
    async def test_who_joins_later_gets_nothing(self) -> None:
        """*Groups*: a channel that was added after a message was sent does not get that message."""
        async with self.layers() as (sender, receiver):
            group, channel, member = self.name("room"), await receiver.new_channel(), await receiver.new_channel()
            await receiver.group_add(group, member)
            for n in range(10):
                await sender.group_send(group, {"n": n})
                await receiver.group_add(group, channel)
                await self.expect_nothing(sender, receiver, channel, "who joins after a message was sent misses it")
                await receiver.group_discard(group, channel)

    @layer_test("groups", "membership=send")
    async def test_who_leaves_later_gets_the_message(self) -> None:
        """*Groups*: a channel that was a member when a message was sent gets it, though it left before receiving."""
        async with self.layers() as (sender, receiver):
            group, channel = self.name("room"), await receiver.new_channel()
            for n in range(10):
                await receiver.group_add(group, channel)
                await sender.group_send(group, {"n": n})
                await receiver.group_discard(group, channel)
                await self.expect_next(receiver, channel, {"n": n}, "who leaves after a message was sent gets it")

    @layer_test("groups")
    async def test_adding_is_live_when_it_returns(self) -> None:
        """*Groups*: what anyone sends after group_add() has returned arrives."""
        async with self.layers() as (sender, receiver):
            for n in range(30):
                group, channel = self.name("room"), await receiver.new_channel()
                await receiver.group_add(group, channel)
                await sender.group_send(group, {"n": n})
                await self.expect_next(receiver, channel, {"n": n}, "the first message after group_add() arrives")

    @layer_test("groups", "discard_channel")
    async def test_discarding_a_channel_ends_its_memberships(self) -> None:
        """*Beyond the specification*: discard_channel() takes a channel out of all its groups, and no other."""
        async with self.layers() as (sender, receiver):
            groups = [self.name("room") for _ in range(3)]
            channel, other = await receiver.new_channel(), await receiver.new_channel()
            for group in groups:
                await receiver.group_add(group, channel)
                await receiver.group_add(group, other)
            await receiver.discard_channel(channel)
            for group in groups:
                await sender.group_send(group, {"to": group})
                await self.expect_next(receiver, other, {"to": group}, "other members stay")
            await self.expect_nothing(sender, receiver, channel, "a discarded channel is in no group")
