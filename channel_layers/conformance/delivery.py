"""Channels: who gets a message, how often, and in what order."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from .base import LayerTests, layer_test
from .expect import expect, expect_equal
from .running import in_thread, timers_set

STOP = {"type": "stop"}


def numbered(count: int, **also: Any) -> list[dict[str, Any]]:
    """So many messages that differ in their number."""
    return [{"type": "test.message", "n": n, **also} for n in range(count)]


def numbers(messages: list[dict[str, Any]]) -> list[Any]:
    return [message.get("n") for message in messages]


async def receive_until_stop(layer: Any, channel: str) -> list[Any]:
    """The numbers of all messages up to the one that says stop."""
    got = []
    while (message := await layer.receive(channel)) != STOP:
        got.append(message["n"])
    return got


class DeliveryTests(LayerTests):
    """Channels"""

    @layer_test()
    async def test_a_message_arrives(self) -> None:
        """*Channels*: what is sent to a process-specific channel is received there, unchanged."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            message = {"type": "test.message", "text": "hello", "n": 1}
            await sender.send(channel, message)
            await self.expect_next(receiver, channel, message, "what was sent arrives")

    @layer_test("normal_channels", "waiting")
    async def test_a_message_arrives_on_a_normal_channel(self) -> None:
        """*Channels*: what is sent to a normal channel waits there for whoever receives."""
        async with self.layers() as (sender, receiver):
            channel = self.name("jobs")
            message = {"type": "test.message", "text": "hello", "n": 1}
            await sender.send(channel, message)
            await self.expect_next(receiver, channel, message, "what was sent to a normal channel arrives")

    @layer_test()
    async def test_a_waiting_receive_wakes(self) -> None:
        """*Channels*: a receive that waits already gets the message that comes then."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            for message in numbered(20):
                waiting = self.start(receiver.receive(channel))
                await self.turns()
                await sender.send(channel, message)
                expect_equal(await self.within(waiting, "a waiting receive wakes"), message, "it gets the message")

    @layer_test("normal_channels")
    async def test_a_waiting_receive_wakes_on_a_normal_channel(self) -> None:
        """*Channels*: a receive that waits on a normal channel gets the message that comes then."""
        async with self.layers() as (sender, receiver):
            channel = self.name("jobs")
            waiting = self.start(receiver.receive(channel))
            await self.turns()
            message = {"type": "test.message", "n": 1}

            async def send_until_received() -> None:
                while not waiting.done():
                    await sender.send(channel, message)
                    if self.features.waiting:  # then once is enough, whether it waits by now or not
                        return
                    await asyncio.wait({waiting}, timeout=0.1)

            sends = self.start(send_until_received())
            expect_equal(await self.within(waiting, "a waiting receive wakes"), message, "it gets the message")
            await sends

    @layer_test("no_polling")
    async def test_waiting_costs_nothing(self) -> None:
        """*Beyond the specification*: receives that wait use no processor time, however many they are."""
        async with self.layers() as (sender, receiver):
            channels = [await receiver.new_channel() for _ in range(500)]
            waiting = [self.start(receiver.receive(channel)) for channel in channels]
            await self.turns(20)
            for channel in channels[:10]:  # by the time that these have come, the others have begun to wait
                await sender.send(channel, {"n": 1})
            for task in waiting[:10]:
                await self.within(task, "a waiting receive wakes")
            idle, costs = 0.6, ""
            for _ in range(5):  # those who were woken for nothing may take a while to wait again
                used = time.process_time()
                with timers_set() as timers:
                    await in_thread(lambda: time.sleep(idle))  # elsewhere, so that every timer is the layer's
                used = time.process_time() - used
                if len(timers) < 2 and used < idle / 3:
                    return
                costs = f"{len(timers)} timers were set and {used:.2f} s of processor time used"
            expect(False, f"expected {len(waiting) - 10} receives that wait to cost nothing; in {idle} s {costs}")

    @layer_test()
    async def test_never_more_than_once(self) -> None:
        """*Channel Semantics*: no message is delivered twice, neither to one reader nor to two that wait."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            await sender.send(channel, {"n": 1})
            await self.expect_next(receiver, channel, {"n": 1}, "the message arrives once")
            await self.expect_nothing(sender, receiver, channel, "a message that was received does not come again")
            both = [self.start(receiver.receive(channel)) for _ in range(2)]
            await self.turns()
            await sender.send(channel, {"n": 2})
            await sender.send(channel, {"n": 3})
            got = [await self.within(each, "each of two waiting receives gets one of two messages") for each in both]
            expect_equal(sorted(numbers(got)), [2, 3], "two waiting receivers share two messages")

    @layer_test("ordered")
    async def test_first_in_first_out(self) -> None:
        """*Channel Semantics*: with one reader and one writer, messages come in the order in which they were sent."""
        async with self.layers(**self.roomy) as (sender, receiver):
            channel = await receiver.new_channel()
            count = 1000 if self.roomy else 50
            for message in numbered(count):
                await sender.send(channel, message)
            got = await self.take_many(receiver, channel, count, "all messages arrive")
            expect_equal(numbers(got), list(range(count)), "messages come in the order in which they were sent")

    @layer_test("normal_channels", "waiting", "ordered")
    async def test_first_in_first_out_on_a_normal_channel(self) -> None:
        """*Channel Semantics*: a normal channel with one reader and one writer keeps the order as well."""
        async with self.layers() as (sender, receiver):
            channel = self.name("jobs")
            for message in numbered(50):
                await sender.send(channel, message)
            got = await self.take_many(receiver, channel, 50, "all messages arrive")
            expect_equal(numbers(got), list(range(50)), "messages come in the order in which they were sent")

    @layer_test("ordered")
    async def test_order_while_receiving(self) -> None:
        """*Channel Semantics*: the order holds for a reader that is at times waiting and at times behind."""
        async with self.layers(**self.roomy) as (sender, receiver):
            channel = await receiver.new_channel()
            reader = self.start(self.take_many(receiver, channel, 300, "all messages arrive"))
            for n, message in enumerate(numbered(300)):
                await sender.send(channel, message)
                await self.turns(n % 4)
            expect_equal(numbers(await reader), list(range(300)), "messages come in the order in which they were sent")

    @layer_test("normal_channels", "waiting", "ordered_normal")
    async def test_competing_receivers_share_the_messages(self) -> None:
        """*Channels*: many readers of a normal channel get each message once, whichever of them it is."""
        async with self.layers(**self.roomy) as (sender, receiver):
            channel = self.name("jobs")
            waiting = [self.start(receive_until_stop((sender, receiver)[n % 2], channel)) for n in range(10)]
            await self.turns()
            count = 300 if self.roomy else 50
            for n, message in enumerate(numbered(count)):
                await sender.send(channel, message)
                await self.turns(n % 3)
            for _ in waiting:
                await sender.send(channel, STOP)
            got = [n for each in waiting for n in await self.within(each, "every reader gets its stop message")]
            expect_equal(sorted(got), list(range(count)), "each message reaches one reader, once")

    @layer_test("ordered")
    async def test_concurrent_receivers_of_a_specific_channel(self) -> None:
        """*Channels*: several coroutines may receive on one process-specific channel; each message goes to one."""
        async with self.layers(**self.roomy) as (sender, receiver):
            channel = await receiver.new_channel()
            readers = [self.start(receive_until_stop(receiver, channel)) for _ in range(5)]
            await self.turns()
            for n, message in enumerate(numbered(50)):
                await sender.send(channel, message)
                await self.turns(n % 3)
            for _ in readers:
                await sender.send(channel, STOP)
            got = [n for each in readers for n in await self.within(each, "every reader gets its stop message")]
            expect_equal(sorted(got), list(range(50)), "each message reaches one reader, once")

    @layer_test()
    async def test_channels_are_apart(self) -> None:
        """*Channels*: the reader of one channel never gets a message of another of the same process."""
        async with self.layers() as (sender, receiver):
            one, two = await receiver.new_channel(), await receiver.new_channel()
            await sender.send(one, {"for": "one"})
            await sender.send(two, {"for": "two"})
            await self.expect_next(receiver, two, {"for": "two"}, "a reader gets what was sent to its channel")
            await self.expect_next(receiver, one, {"for": "one"}, "a reader gets what was sent to its channel")
            await self.expect_nothing(sender, receiver, one, "the message for another channel does not come here")
            await self.expect_nothing(sender, receiver, two, "the message for another channel does not come here")

    @layer_test("normal_channels", "waiting")
    async def test_normal_channels_are_apart(self) -> None:
        """*Channels*: the reader of a normal channel gets no message of a channel whose name begins like its own."""
        async with self.layers() as (sender, receiver):
            one = self.name("jobs")
            two = one + ".more"
            await sender.send(two, {"for": "two"})
            await sender.send(one, {"for": "one"})
            await self.expect_next(receiver, one, {"for": "one"}, "a reader gets what was sent to its channel")
            await self.expect_next(receiver, two, {"for": "two"}, "a reader gets what was sent to its channel")

    @layer_test()
    async def test_sending_does_not_wait_for_a_reader(self) -> None:
        """*Channel Semantics*: a send to a channel that nobody reads returns, or raises ChannelFull, at once."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()

            async def send_many() -> None:
                for message in numbered(300):
                    try:
                        await sender.send(channel, message)
                    except self.full_error(sender):
                        return

            await self.within(send_many(), "send() returns or raises, though nobody reads")

    @layer_test("normal_channels", "waiting")
    async def test_a_busy_channel_does_not_silence_a_quiet_one(self) -> None:
        """*Approximate Global Ordering*: a message arrives however many others wait on another channel."""
        async with self.layers() as (sender, receiver):
            busy, quiet = self.name("busy"), self.name("quiet")
            for message in numbered(50):
                await sender.send(busy, message)
            await sender.send(quiet, {"n": "quiet"})
            await self.expect_next(receiver, quiet, {"n": "quiet"}, "the quiet channel is heard beside a busy one")
            got = await self.take_many(receiver, busy, 50, "the busy channel has lost nothing")
            expect(len(got) == 50, "the busy channel keeps its messages")

    @layer_test("discard_channel")
    async def test_discarding_a_channel_drops_its_messages(self) -> None:
        """*Beyond the specification*: discard_channel ends a channel; what was unread there never comes."""
        async with self.layers() as (sender, receiver):
            channel, other = await receiver.new_channel(), await receiver.new_channel()
            await sender.send(channel, {"n": 1})
            await sender.send(other, {"n": 2})
            await receiver.discard_channel(channel)
            await self.expect_nothing(sender, receiver, channel, "messages of a discarded channel are gone")
            await self.expect_next(receiver, other, {"n": 2}, "other channels keep their messages")

    @layer_test("discard_channel")
    async def test_a_receive_outlives_discarding(self) -> None:
        """*Beyond the specification*: a receive that waits on a discarded channel waits on, and gets the next."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            waiting = self.start(receiver.receive(channel))
            await self.turns()
            await receiver.discard_channel(channel)
            await sender.send(channel, {"n": 1})
            got = await self.within(waiting, "a receive goes on waiting when its channel is discarded")
            expect_equal(got, {"n": 1}, "it gets what is sent afterwards")


class PrefixTests(LayerTests):
    """Process-specific prefixes"""

    @staticmethod
    async def names_under_one_prefix(receiver: Any) -> tuple[str, str, str]:
        """A prefix of this process up to its ``!``, and two channels under it."""
        own = await receiver.new_channel()
        prefix = own[: own.index("!") + 1]
        return prefix, f"{prefix}one", f"{prefix}two"

    @layer_test("prefix_receive", "ordered", "ordered_together")
    async def test_a_prefix_receives_in_order_of_arrival(self) -> None:
        """*Channels*: receive("prefix!") takes any message under that prefix, the earliest first."""
        async with self.layers() as (sender, receiver):
            prefix, one, two = await self.names_under_one_prefix(receiver)
            for n in range(12):
                await sender.send(two if n % 3 else one, {"n": n})
            got = await self.take_many(receiver, prefix, 12, "a prefix receive takes messages of all its channels")
            expect_equal(numbers(got), list(range(12)), "messages under a prefix come in order of arrival")

    @layer_test("prefix_receive", "ordered", "ordered_together")
    async def test_prefix_and_direct_receives_share(self) -> None:
        """*Channels*: what a direct receive took does not come to the prefix again, and the other way round."""
        async with self.layers() as (sender, receiver):
            prefix, one, two = await self.names_under_one_prefix(receiver)
            for n, channel in enumerate((one, two, one, two, one)):
                await sender.send(channel, {"n": n})
            rule = "prefix and direct receives take each message once, the earliest first"
            for channel, n in ((prefix, 0), (two, 1), (prefix, 2), (one, 4), (prefix, 3)):
                await self.expect_next(receiver, channel, {"n": n}, rule)
            await self.expect_nothing(sender, receiver, prefix, rule)

    @layer_test("prefix_receive")
    async def test_a_waiting_prefix_receive_wakes(self) -> None:
        """*Channels*: a receive that waits on a prefix gets a message that comes to any channel under it."""
        async with self.layers() as (sender, receiver):
            prefix, one, two = await self.names_under_one_prefix(receiver)
            for n, channel in enumerate((one, two, one)):
                waiting = self.start(receiver.receive(prefix))
                await self.turns()
                await sender.send(channel, {"n": n})
                expect_equal(await self.within(waiting, "a waiting prefix receive wakes"), {"n": n}, "it gets it")

    @layer_test("prefix_receive")
    async def test_either_receive_wakes(self) -> None:
        """*Channels*: of a prefix and a direct receive that both wait, one gets the message, the other the next."""
        async with self.layers() as (sender, receiver):
            prefix, one, _ = await self.names_under_one_prefix(receiver)
            both = [self.start(receiver.receive(channel)) for channel in (prefix, one)]
            await self.turns()
            await sender.send(one, {"n": 0})
            await sender.send(one, {"n": 1})
            got = [await self.within(each, "both receives get one of two messages") for each in both]
            expect_equal(sorted(numbers(got)), [0, 1], "each message goes to one of the two")
