"""Cancellation: a receive() that is given up loses nothing."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from .base import LayerTests, layer_test, outcome
from .delivery import STOP, numbered, numbers, receive_until_stop
from .expect import expect, expect_equal

#: A receive is cancelled after each of these numbers of turns of the event loop, so at each of its awaits.
TURNS = range(12)


async def receive_for(layer: Any, channel: str, seconds: float) -> dict[str, Any] | None:
    """The next message, or None if it does not come in time."""
    try:
        message: dict[str, Any] = await asyncio.wait_for(layer.receive(channel), seconds)
    except asyncio.TimeoutError:
        return None
    return message


class CancellationTests(LayerTests):
    """Cancellation"""

    async def expect_it_comes(self, task: asyncio.Task[Any], layer: Any, channel: str, message: Any) -> None:
        """A message comes to the receive that was cancelled, if that had it already, otherwise to the next."""
        task.cancel()
        got = await self.within(outcome(task), "a cancelled receive ends")
        if got is None:
            got = await self.take(layer, channel, "the next receive gets what a cancelled one did not take")
        expect_equal(got, message, "a cancelled receive loses nothing, and keeps the order")

    @pytest.mark.parametrize("kind", ["specific", "normal", "prefix"])
    @layer_test()
    async def test_cancelled_where_a_message_waits(self, kind: str) -> None:
        """*Channels*: a receive that is cancelled at any of its awaits, with messages there, loses none of them."""
        async with self.layers() as (sender, receiver):
            send_to, channel = await self.channels(kind, receiver)
            for turns in TURNS:
                await sender.send(send_to, {"n": turns})
                await sender.send(send_to, {"n": -turns})
                task = self.start(receiver.receive(channel))
                await self.turns(turns)
                await self.expect_it_comes(task, receiver, channel, {"n": turns})
                await self.expect_next(receiver, channel, {"n": -turns}, "the order is kept")
            await self.expect_nothing(sender, receiver, send_to, "nothing comes twice")

    @pytest.mark.parametrize("kind", ["specific", "normal", "prefix"])
    @layer_test()
    async def test_cancelled_when_a_message_comes(self, kind: str) -> None:
        """*Channels*: a waiting receive that is cancelled just when a message comes does not lose that message."""
        async with self.layers() as (sender, receiver):
            send_to, channel = await self.channels(kind, receiver)
            for turns in TURNS:
                task = self.start(receiver.receive(channel))
                await self.turns(5)
                await sender.send(send_to, {"n": turns})
                await self.turns(turns)
                await self.expect_it_comes(task, receiver, channel, {"n": turns})
            await self.expect_nothing(sender, receiver, send_to, "nothing comes twice")

    @pytest.mark.parametrize("kind", ["specific", "normal", "prefix"])
    @layer_test()
    async def test_cancelled_while_waiting(self, kind: str) -> None:
        """*Channels*: a waiting receive that was cancelled does not swallow what comes afterwards."""
        async with self.layers() as (sender, receiver):
            send_to, channel = await self.channels(kind, receiver)
            for turns in TURNS:
                task = self.start(receiver.receive(channel))
                await self.turns(turns)
                task.cancel()
                got = await self.within(outcome(task), "a cancelled receive ends")
                expect_equal(got, None, "a receive that was cancelled while nothing was there returns nothing")
                await sender.send(send_to, {"n": turns})
                await self.expect_next(receiver, channel, {"n": turns}, "the next receive gets what comes then")

    async def channels(self, kind: str, receiver: Any) -> tuple[str, str]:
        """Where to send and where to receive; skips if the layer does not claim this kind."""
        if kind == "normal":
            for claim in ("normal_channels", "waiting", "ordered_normal"):
                if reason := await self.why_not(claim):
                    pytest.skip(reason)
            name = self.name("jobs")
            return name, name
        own = await receiver.new_channel()
        if kind == "specific":
            return own, own
        if reason := await self.why_not("prefix_receive"):
            pytest.skip(reason)
        return own, own[: own.index("!") + 1]

    @layer_test()
    async def test_the_other_receiver_gets_it(self) -> None:
        """*Channels*: of two waiting receives, if one is cancelled when a message comes, the other gets it."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            for turns in TURNS:
                first, second = [self.start(receiver.receive(channel)) for _ in range(2)]
                await self.turns()
                await sender.send(channel, {"n": turns})
                await self.turns(turns)
                first.cancel()
                if await self.within(outcome(first), "a cancelled receive ends") is not None:
                    await sender.send(channel, {"n": turns})
                got = await self.within(second, "the other receive gets what a cancelled one did not take")
                expect_equal(got, {"n": turns}, "the other receive gets the message")
            await self.expect_nothing(sender, receiver, channel, "nothing comes twice")

    @layer_test("ordered")
    async def test_a_burst_outlives_many_cancellations(self) -> None:
        """*Channels*: while a burst of messages comes in, many receives are cancelled; none is lost, all in order."""
        async with self.layers(**self.roomy) as (sender, receiver):
            channel = await receiver.new_channel()
            choose = random.Random(1)  # noqa: S311 - the same every time
            got: list[dict[str, Any]] = []
            for message in numbered(100):
                task = self.start(receiver.receive(channel))
                await self.turns(choose.randrange(4))
                await sender.send(channel, message)
                await self.turns(choose.randrange(4))
                task.cancel()
                taken = await self.within(outcome(task), "a cancelled receive ends")
                got += [taken] if taken is not None else []
            rule = "messages outlive cancelled receives"
            got += await self.take_many(receiver, channel, 100 - len(got), rule)
            expect_equal(numbers(got), list(range(100)), f"{rule}, in order")

    @layer_test("ordered")
    async def test_timeouts_lose_nothing(self) -> None:
        """*Channels*: receives with tiny timeouts, while messages are sent: none lost, none twice, all in order."""
        async with self.layers(**self.roomy) as (sender, receiver):
            channel = await receiver.new_channel()
            choose = random.Random(2)  # noqa: S311 - the same every time
            count = 300 if self.roomy else 90
            got: list[dict[str, Any]] = []

            async def send_all() -> None:
                for message in numbered(count):
                    await sender.send(channel, message)
                    await asyncio.sleep(choose.choice((0, 0, 0.0005, 0.001)))

            async def receive_all() -> None:
                while len(got) < count:
                    message = await receive_for(receiver, channel, choose.choice((0, 0.0002, 0.0005, 0.001, 0.002)))
                    got.extend([message] if message is not None else [])
                    await asyncio.sleep(0)

            sends = self.start(send_all())
            await self.within(receive_all(), f"all {count} messages come to receives that time out again and again")
            await sends
            expect_equal(numbers(got), list(range(count)), "receives that time out lose nothing, and keep the order")
            await self.expect_nothing(sender, receiver, channel, "nothing comes twice")

    @layer_test("normal_channels", "waiting", "ordered_normal")
    async def test_competing_receivers_that_are_cancelled(self) -> None:
        """*Channels*: each message of a normal channel reaches one reader, once, though readers come and go."""
        async with self.layers(**self.roomy) as (sender, receiver):
            channel = self.name("jobs")
            choose = random.Random(3)  # noqa: S311 - the same every time
            steady = [self.start(receive_until_stop(layer, channel)) for layer in (sender, receiver)]
            got: list[Any] = []
            for message in numbered(60):
                fickle = [self.start(layer.receive(channel)) for layer in (sender, receiver)]
                await self.turns(choose.randrange(4))
                await sender.send(channel, message)
                await self.turns(choose.randrange(4))
                for task in fickle:
                    task.cancel()
                    taken = await self.within(outcome(task), "a cancelled receive ends")
                    got += [taken["n"]] if taken is not None else []
            for _ in steady:
                await sender.send(channel, STOP)
            for each in steady:
                got += await self.within(each, "every reader gets its stop message")
            expect_equal(sorted(got), list(range(60)), "each message reaches one reader, once")

    @pytest.mark.parametrize("verb", ["send", "new_channel"])
    @layer_test()
    async def test_a_cancelled_verb_disturbs_nobody(self, verb: str) -> None:
        """*Channel Semantics*: what a verb was doing when it was cancelled is done once or not at all, and no other
        verb has to wait for it.
        """
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            for turns in TURNS:
                call = sender.send(channel, {"n": turns}) if verb == "send" else sender.new_channel()
                await self.cancelled_after(turns, call)
                await self.within(sender.send(channel, {"n": -1}), f"a send after a cancelled {verb}() returns")
                got = [await self.take(receiver, channel, f"a message sent after a cancelled {verb}() arrives")]
                if got[0] != {"n": -1}:
                    got.append(await self.take(receiver, channel, f"a message sent after a cancelled {verb}() arrives"))
                done_once = [{"n": turns}, {"n": -1}]
                expect(got in (done_once, done_once[1:]), f"expected {done_once}, or only the last, got {got}")
            await self.expect_nothing(sender, receiver, channel, "nothing comes twice")

    @pytest.mark.parametrize("verb", ["group_add", "group_send", "group_discard"])
    @layer_test("groups")
    async def test_a_cancelled_group_verb_disturbs_nobody(self, verb: str) -> None:
        """*Groups*: a verb of a group that was cancelled blocks no other, and the group works on."""
        async with self.layers() as (sender, receiver):
            for turns in TURNS:
                group, channel = self.name("room"), await receiver.new_channel()
                await receiver.group_add(group, channel)
                argument = {"n": turns} if verb == "group_send" else channel
                await self.cancelled_after(turns, getattr(receiver, verb)(group, argument))
                await self.within(receiver.group_add(group, channel), f"group_add() after a cancelled {verb}() returns")
                await self.within(
                    sender.group_send(group, {"n": -1}), f"group_send() after a cancelled {verb}() returns"
                )
                rule = f"a group message after a cancelled {verb}() arrives"
                got = await self.take(receiver, channel, rule)
                if verb == "group_send" and got == {"n": turns}:
                    got = await self.take(receiver, channel, rule)
                expect_equal(got, {"n": -1}, rule)
                if verb != "group_send":  # what was sent by a cancelled one may come later
                    await self.expect_nothing(sender, receiver, channel, "one copy comes")

    async def cancelled_after(self, turns: int, call: Any) -> None:
        """Start a verb, and cancel it after so many turns of the event loop."""
        task = self.start(call)
        await self.turns(turns)
        task.cancel()
        await self.within(outcome(task), "a cancelled verb ends")

    @layer_test("groups")
    async def test_a_cancelled_member_stays_a_member(self) -> None:
        """*Groups*: cancelling a receive of a member loses no group message, and neither ends the membership."""
        async with self.layers() as (sender, receiver):
            group, channel, other = self.name("room"), await receiver.new_channel(), await receiver.new_channel()
            for each in (channel, other):
                await receiver.group_add(group, each)
            for turns in TURNS:
                task = self.start(receiver.receive(channel))
                await self.turns()
                await sender.group_send(group, {"n": turns})
                await self.turns(turns)
                await self.expect_it_comes(task, receiver, channel, {"n": turns})
                await self.expect_next(receiver, other, {"n": turns}, "the other member is not concerned")
            await self.expect_nothing(sender, receiver, channel, "nothing comes twice")
