"""Nobody shares: a message is nobody else's but the receiver's."""

from __future__ import annotations

import copy
from typing import Any

from .base import LayerTests, layer_test
from .expect import expect_equal


def sample() -> dict[str, Any]:
    return {"type": "test.message", "list": [1, {"deep": ["x"]}], "dict": {"list": [2]}, "data": b"abc"}


def spoil(message: dict[str, Any]) -> None:
    """Change a message wherever it can be changed."""
    message["list"][1]["deep"].append("spoilt")
    message["list"].append("spoilt")
    message["dict"]["list"].clear()
    message["dict"]["spoilt"] = True
    message["type"] = "spoilt"


class IsolationTests(LayerTests):
    """Isolation"""

    @layer_test()
    async def test_the_sender_changes_its_message_afterwards(self) -> None:
        """*Messages*: a message arrives as it was when it was sent, whatever the sender does to it then."""
        async with self.layers() as (sender, receiver):
            channel, message = await receiver.new_channel(), sample()
            await sender.send(channel, message)
            spoil(message)
            await self.expect_next(receiver, channel, sample(), "a message is not what the sender made of it later")

    @layer_test()
    async def test_a_waiting_receiver_does_not_share_with_the_sender(self) -> None:
        """*Messages*: the same holds if the receiver waits already."""
        async with self.layers() as (sender, receiver):
            channel, message = await receiver.new_channel(), sample()
            waiting = self.start(self.expect_next(receiver, channel, sample(), "a message is as it was when sent"))
            await self.turns()
            await sender.send(channel, message)
            spoil(message)
            await waiting

    @layer_test()
    async def test_sending_does_not_change_the_message(self) -> None:
        """*Messages*: the sender's own message stays as it was, through sending and receiving."""
        async with self.layers() as (sender, receiver):
            channel, message = await receiver.new_channel(), sample()
            before = copy.deepcopy(message)
            await sender.send(channel, message)
            spoil(await self.take(receiver, channel))
            expect_equal(message, before, "sending leaves the sender's message as it was")

    @layer_test()
    async def test_a_message_sent_twice_arrives_as_two(self) -> None:
        """*Messages*: one dict that is sent twice arrives as two messages that share nothing."""
        async with self.layers() as (sender, receiver):
            channel, message = await receiver.new_channel(), sample()
            await sender.send(channel, message)
            await sender.send(channel, message)
            spoil(await self.take(receiver, channel))
            await self.expect_next(receiver, channel, sample(), "the second of two equal messages is another object")

    @layer_test("groups")
    async def test_the_sender_changes_its_group_message_afterwards(self) -> None:
        """*Messages*: a group message arrives as it was when it was sent."""
        async with self.layers() as (sender, receiver):
            channel, group, message = await receiver.new_channel(), self.name("room"), sample()
            await receiver.group_add(group, channel)
            await sender.group_send(group, message)
            spoil(message)
            await self.expect_next(receiver, channel, sample(), "a group message is as it was when it was sent")

    @layer_test("groups")
    async def test_members_do_not_share(self) -> None:
        """*Messages*: each member of a group gets an object of its own, down to the innermost list."""
        async with self.layers() as (sender, receiver):
            group, members = self.name("room"), [await receiver.new_channel() for _ in range(3)]
            for channel in members:
                await receiver.group_add(group, channel)
            await sender.group_send(group, sample())
            for channel in members:
                got = await self.take(receiver, channel)
                expect_equal(got, sample(), "each member gets its own copy, as it was sent")
                spoil(got)

    @layer_test("groups")
    async def test_flat_group_messages_are_not_shared(self) -> None:
        """*Messages*: the same holds for a message without lists and dicts."""
        async with self.layers() as (sender, receiver):
            group, members = self.name("room"), [await receiver.new_channel() for _ in range(3)]
            message = {"type": "test.message", "n": 1}
            for channel in members:
                await receiver.group_add(group, channel)
            await sender.group_send(group, message)
            message["n"] = 2
            for channel in members:
                got = await self.take(receiver, channel)
                expect_equal(got, {"type": "test.message", "n": 1}, "each member gets its own copy, as it was sent")
                got["n"] = 3

    @layer_test("plain_types")
    async def test_the_sender_changes_its_bytearray_afterwards(self) -> None:
        """*Beyond the specification*: a bytearray arrives with the bytes that it held when it was sent."""
        async with self.layers() as (sender, receiver):
            channel, data = await receiver.new_channel(), bytearray(b"abc")
            await sender.send(channel, {"data": data})
            data[0] = 0
            await self.expect_next(receiver, channel, {"data": b"abc"}, "a bytearray arrives as it was when sent")
