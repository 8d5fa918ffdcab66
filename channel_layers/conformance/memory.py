"""Memory: a layer lets go of what it has delivered, refused or dropped, and is let go itself."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .base import LayerTests, layer_test
from .cancellation import receive_for
from .expect import expect

_KILOBYTES = 32
_COUNT = 200


def large(n: int) -> dict[str, Any]:
    return {"n": n, "text": "x" * (_KILOBYTES * 1024)}


@contextmanager
def traced() -> Iterator[None]:
    """Count what Python allocates from here on."""
    already = tracemalloc.is_tracing()
    if not already:
        tracemalloc.start()
    try:
        yield
    finally:
        if not already:
            tracemalloc.stop()


def kept(since: int) -> int:
    """Kilobytes that were allocated since then and are in use."""
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - since) // 1024


class MemoryTests(LayerTests):
    """Memory"""

    limit = _COUNT * _KILOBYTES // 4

    def expect_let_go(self, since: int, what: str) -> None:
        size = kept(since)
        expect(size < self.limit, f"expected {what} to be let go; of {_COUNT * _KILOBYTES} kB, {size} kB are kept")

    async def warm_up(self, sender: Any, receiver: Any) -> None:
        """Use the layer, so that what it loads or opens only then is not taken for messages that it keeps."""
        channel = await receiver.new_channel()
        if await self.why_not("groups") is None:
            group = self.name("room")
            await receiver.group_add(group, channel)
            await sender.group_send(group, {"n": 0})
            await self.take(receiver, channel)
        for n in range(20):
            await sender.send(channel, {"n": n})
            await self.take(receiver, channel)

    @layer_test("lets_go")
    async def test_delivered_messages_are_let_go(self) -> None:
        """*Persistence*: a layer keeps no message that was delivered."""
        async with self.layers() as (sender, receiver):
            await self.warm_up(sender, receiver)
            with traced():
                before, _ = tracemalloc.get_traced_memory()
                channel = await receiver.new_channel()
                for n in range(_COUNT):
                    await sender.send(channel, large(n))
                    await self.take(receiver, channel)
                self.expect_let_go(before, "delivered messages")

    @layer_test("lets_go", "capacity", "groups")
    async def test_dropped_messages_are_let_go(self) -> None:
        """*Capacity*: a layer keeps no message that it refused with ChannelFull, or dropped for a full member."""
        async with self.layers(capacity=2) as (sender, receiver):
            await self.warm_up(sender, receiver)
            with traced():
                before, _ = tracemalloc.get_traced_memory()
                channel, group = await receiver.new_channel(), self.name("room")
                await receiver.group_add(group, channel)
                for n in range(_COUNT // 2):
                    await sender.group_send(group, large(n))
                    try:
                        await sender.send(channel, large(n))
                    except self.full_error(sender):
                        pass

                async def let_go() -> bool:  # what is on its way to the receiver is not dropped yet
                    return kept(before) < self.limit

                await self.eventually(let_go, "messages that a full channel did not take are let go")

    @layer_test("lets_go", "expiry")
    async def test_expired_messages_are_let_go(self) -> None:
        """*Channels*: what nobody reads is let go after its expiry, though nobody asks for that channel again."""
        expiry = 0.2 if self.features.sub_second_expiry else 1
        async with self.layers() as (sender, receiver):
            await self.warm_up(sender, receiver)
        async with self.layers(expiry=expiry, **self.roomy) as (sender, receiver):
            with traced():
                before, _ = tracemalloc.get_traced_memory()
                for n in range(_COUNT):
                    await sender.send(await receiver.new_channel(), large(n))
                other = await receiver.new_channel()

                async def let_go() -> bool:
                    # Elsewhere life goes on: a layer needs no timer of its own to tidy up.
                    for _ in range(50):
                        await sender.send(other, {"n": 1})
                        await receive_for(receiver, other, expiry)
                    return kept(before) < self.limit

                await self.eventually(let_go, f"unread messages are let go after {expiry} s")

    @layer_test("statistics", "capacity=channel", "groups")
    async def test_memory_is_bounded(self) -> None:
        """*Capacity*: however much is sent to channels that nobody reads, unread stays within their capacities."""
        async with self.layers(capacity=4) as (sender, receiver):
            group, channels = self.name("room"), [await receiver.new_channel() for _ in range(5)]
            for channel in channels:
                await receiver.group_add(group, channel)
            for n in range(60):
                await sender.group_send(group, {"n": n})
                try:
                    await sender.send(channels[n % 5], {"n": n})
                except self.full_error(sender):
                    pass
                unread = receiver.statistics().unread
                expect(unread <= 20, f"expected at most 20 unread messages in 5 channels of capacity 4, got {unread}")
            await self.eventually(lambda: receiver.statistics().unread == 20, "5 channels of capacity 4 are full")

    @layer_test("lets_go", "closing")
    async def test_a_layer_that_nobody_refers_to_is_collected(self) -> None:
        """*Beyond the specification*: a layer that was closed, and that nobody refers to, is let go."""
        layer = await self.build()
        channel = await layer.new_channel()
        await layer.send(channel, {"n": 1})
        await self.expect_next(layer, channel, {"n": 1}, "the layer works")
        await layer.close()
        there = weakref.ref(layer)
        del layer

        def collected() -> bool:
            gc.collect()
            return there() is None

        await self.eventually(collected, "a layer that nobody refers to is collected")
