"""Statistics: what a layer counts, and that it adds up."""

from __future__ import annotations

import inspect
import logging
import random
from typing import Any

import pytest

from .base import LayerTests, layer_test, outcome
from .delivery import numbered
from .expect import expect, expect_equal, expect_error
from .sizes import LIMIT, padded


class StatisticsTests(LayerTests):
    """Statistics"""

    def expect_balance(self, *layers: Any) -> None:
        for layer in layers:
            counts = layer.statistics()
            sent = counts.accepted + sum(counts.refused.values())
            expect(counts.sent == sent, f"expected sent == accepted + sum(refused), got {counts}")
            arrived = counts.delivered + sum(counts.dropped.values()) + counts.unread
            expect(counts.arrived == arrived, f"expected arrived == delivered + sum(dropped) + unread, got {counts}")
            parts = [counts.sent, counts.accepted, counts.arrived, counts.delivered, counts.unread]
            parts += [*counts.refused.values(), *counts.dropped.values()]
            expect(min(parts) >= 0, f"expected no count below zero, got {counts}")

    @layer_test("statistics", "name_rules")
    async def test_statistics_are_a_frozen_record(self) -> None:
        """*Beyond the specification*: statistics() returns at once, with a record of that moment that cannot be
        changed."""
        async with self.layers() as (sender, receiver):
            before, inbox = sender.statistics(), receiver.statistics()
            expect(not inspect.isawaitable(before), "expected statistics() to be no coroutine")
            channel = await receiver.new_channel()
            await sender.send(channel, {"n": 1})
            await expect_error(TypeError, lambda: sender.send("no name", {}), "an illegal name is refused")
            await self.drop_all(receiver, channel)
            expect_equal((before.sent, dict(before.refused)), (0, {}), "a record of statistics() stays what it was")
            expect_equal((inbox.arrived, dict(inbox.dropped)), (0, {}), "a record of statistics() stays what it was")
            expect_equal(sender.statistics().sent, 2, "statistics() counts each send")

            async def change() -> None:
                before.sent = 5

            await expect_error(AttributeError, change, "statistics() returns a frozen record")

    async def drop_all(self, layer: Any, channel: str) -> None:
        """Make the layer drop what is unread, if it knows a way."""
        if self.features.discard_channel:
            await layer.discard_channel(channel)
        elif await self.why_not("flush") is None:
            await layer.flush()

    @layer_test("statistics")
    async def test_sends_are_counted_by_their_end(self) -> None:
        """*Beyond the specification*: each send is counted as accepted or, by reason, as refused."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            for message in numbered(3):
                await sender.send(channel, message)
            expected = 3
            if self.features.message_types:
                await expect_error(TypeError, lambda: sender.send(channel, {"n": {1}}), "a set is refused")
                expect_equal(sender.statistics().refused.get("invalid"), 1, "a refused value is counted as invalid")
                expected += 1
            if self.features.size_limit:
                too_large = padded({}, LIMIT + 1)
                await expect_error(
                    self.too_large_error(sender), lambda: sender.send(channel, too_large), "it is refused"
                )
                expect_equal(sender.statistics().refused.get("too_large"), 1, "it is counted as too_large")
                expected += 1
            counts = sender.statistics()
            expect_equal((counts.sent, counts.accepted), (expected, 3), "sent and accepted")
            self.expect_balance(sender, receiver)

    @layer_test("statistics", "capacity", "remote_capacity")
    async def test_full_channels_are_counted(self) -> None:
        """*Beyond the specification*: a send that raises ChannelFull is counted as refused, with the reason full."""
        async with self.layers(capacity=2) as (sender, receiver):
            channel = await receiver.new_channel()
            for message in numbered(2):
                await sender.send(channel, message)
            for _ in range(3):
                await expect_error(self.full_error(sender), lambda: sender.send(channel, {"n": 9}), "it is full")
            expect_equal(sender.statistics().refused.get("full"), 3, "three refused sends are counted as full")
            self.expect_balance(sender, receiver)

    @layer_test("statistics", "capacity=channel", "groups")
    async def test_dropped_group_messages_are_counted(self) -> None:
        """*Beyond the specification*: a group message counts once when sent, and once for each member that it reaches
        or, being full, misses it."""
        async with self.layers(capacity=2) as (sender, receiver):
            group, members = self.name("room"), [await receiver.new_channel() for _ in range(3)]
            for channel in members:
                await receiver.group_add(group, channel)
            for message in numbered(5):
                await sender.group_send(group, message)
            expect_equal(sender.statistics().accepted, 5, "group_send() counts once, however many members there are")
            await self.eventually(lambda: receiver.statistics().arrived == 15, "15 arrivals at 3 members are counted")
            counts = receiver.statistics()
            expect_equal((counts.unread, sum(counts.dropped.values())), (6, 9), "unread and dropped")
            expect_equal(counts.dropped.get("full"), 9, "drops for full members are counted as full")
            self.expect_balance(sender, receiver)

    @layer_test("statistics")
    async def test_unread_is_what_can_be_received(self) -> None:
        """*Beyond the specification*: unread is the number of messages that receive() can still return."""
        async with self.layers() as (sender, receiver):
            await self.until_it_reads(sender, receiver)
            before = receiver.statistics().delivered
            channels = [await receiver.new_channel() for _ in range(3)]
            for n, channel in enumerate(channels):
                for message in numbered(n + 1):
                    await sender.send(channel, message)
            await self.eventually(lambda: receiver.statistics().unread == 6, "unread is 6 after 6 messages")
            left = 6
            for n, channel in enumerate(channels):
                for _ in range(n + 1):
                    await self.take(receiver, channel)
                    left -= 1
                    counts = receiver.statistics()
                    expect_equal((counts.unread, counts.delivered - before), (left, 6 - left), "unread and delivered")
            self.expect_balance(sender, receiver)

    async def until_it_reads(self, sender: Any, receiver: Any) -> None:
        """A layer may begin to read with its first receive(), and count nothing until then."""
        channel = await receiver.new_channel()
        waiting = self.start(receiver.receive(channel))

        async def has_read() -> bool:
            if not waiting.done():
                await sender.send(channel, {"n": 1})
            return waiting.done()

        await self.eventually(has_read, "a receive gets a message")
        await self.drop_all(receiver, channel)

    @layer_test("statistics", "expiry")
    async def test_expired_messages_are_not_unread(self) -> None:
        """*Beyond the specification*: what has expired is counted as dropped, with the reason expired."""
        expiry = 0.1 if self.features.sub_second_expiry else 1
        async with self.layers(expiry=expiry) as (sender, receiver):
            await self.until_it_reads(sender, receiver)
            before = receiver.statistics().dropped.get("expired", 0)
            channel = await receiver.new_channel()
            for message in numbered(3):
                await sender.send(channel, message)
            rule = "expired messages are counted as dropped, and not as unread"
            await self.eventually(lambda: receiver.statistics().dropped.get("expired", 0) - before >= 3, rule)
            expect_equal(receiver.statistics().unread, 0, rule)
            self.expect_balance(sender, receiver)

    @layer_test("drop_log", "capacity=channel", "groups")
    async def test_drops_are_logged_once_a_burst(self, caplog: pytest.LogCaptureFixture) -> None:
        """*Beyond the specification*: messages that full members miss are logged, once for many, as a warning of the
        logger channel_layers that names the channel."""
        async with self.layers(capacity=2) as (sender, receiver):
            group, channel = self.name("room"), await receiver.new_channel()
            await receiver.group_add(group, channel)
            with caplog.at_level(logging.WARNING, "channel_layers"):
                for message in numbered(50):
                    await sender.group_send(group, message)
                await self.eventually(lambda: caplog.records, "a drop is logged")
                await self.have_arrived(receiver, 50)
                await self.take_many(receiver, channel, 2, "the channel keeps what it held")
                await self.expect_nothing(sender, receiver, channel, "the member misses the rest")
            logged = [record for record in caplog.records if channel in record.getMessage()]
            expect(len(logged) == 1, f"expected 48 drops in one burst to be logged once, got {len(logged)} records")
            expect_equal((logged[0].name, logged[0].levelname), ("channel_layers", "WARNING"), "logger and level")

    @layer_test("statistics", "capacity")
    async def test_the_counts_add_up_at_every_moment(self) -> None:
        """*Beyond the specification*: after each step of a random workload, both equations hold."""
        choose = random.Random(4)  # noqa: S311 - the same every time
        has = {name: await self.why_not(name) is None for name in ("groups", "flush", "discard_channel")}
        verbs = ["send"] * 4 + ["receive", "cancel", "refuse"]
        verbs += ["group_add", "group_discard", "group_send"] * has["groups"]
        verbs += ["flush"] * has["flush"] + ["discard"] * has["discard_channel"]
        async with self.layers(capacity=3) as (sender, receiver):
            channels = [await receiver.new_channel() for _ in range(3)]
            groups = [self.name("room") for _ in range(2)]
            for n in range(400):
                where = (choose.choice(groups), choose.choice(channels))
                await self.step(choose.choice(verbs), (sender, receiver), where, n)
                self.expect_balance(sender, receiver)

    async def step(self, verb: str, layers: tuple[Any, Any], where: tuple[str, str], n: int) -> None:
        """One step of the workload."""
        (sender, receiver), (group, channel) = layers, where
        if verb in ("group_add", "group_discard"):
            await getattr(receiver, verb)(group, channel)
        elif verb == "group_send":
            await sender.group_send(group, {"n": n})
        elif verb == "flush":
            await sender.flush()
        elif verb == "discard":
            await receiver.discard_channel(channel)
        elif verb in ("receive", "cancel"):
            task = self.start(receiver.receive(channel))
            await self.turns(3 if verb == "receive" else n % 3)
            task.cancel()
            await self.within(outcome(task), "a cancelled receive ends")
        else:
            try:
                await sender.send(channel, {"n": n if verb == "send" else {n}})
            except (TypeError, self.full_error(sender)):
                pass
