"""Flush and close: emptying a layer, and ending it."""

from __future__ import annotations

from contextlib import suppress

import pytest

from .base import LayerTests, layer_test
from .expect import expect, expect_equal, expect_error


class FlushTests(LayerTests):
    """Flush"""

    @layer_test("flush")
    async def test_flush_drops_messages(self) -> None:
        """*Specification Details*: after flush() no message is there, on no channel, for no layer object."""
        async with self.layers() as (sender, receiver):
            channels = [await receiver.new_channel() for _ in range(3)]
            if self.features.normal_channels and self.features.waiting:
                channels.append(self.name("jobs"))
            for channel in channels:
                await sender.send(channel, {"n": 1})
                await sender.send(channel, {"n": 2})
            await self.within(sender.flush(), "flush() returns")
            for channel in channels:
                await self.expect_nothing(sender, receiver, channel, "flush() drops unread messages")

    @layer_test("flush", "prefix_receive")
    async def test_flush_drops_messages_of_a_prefix(self) -> None:
        """*Specification Details*: nor does a prefix receive find a message after flush()."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            prefix = channel[: channel.index("!") + 1]
            await sender.send(channel, {"n": 0})
            await self.expect_next(receiver, prefix, {"n": 0}, "a prefix receive takes the message")
            await sender.send(channel, {"n": 1})
            await sender.flush()
            await sender.send(channel, {"n": 2})
            await self.expect_next(receiver, prefix, {"n": 2}, "flush() drops what was unread under a prefix")

    @layer_test("flush", "groups")
    async def test_flush_ends_memberships(self) -> None:
        """*Specification Details*: after flush() no group has a member, until somebody joins again."""
        async with self.layers() as (sender, receiver):
            group, channel = self.name("room"), await receiver.new_channel()
            await receiver.group_add(group, channel)
            await self.within(sender.flush(), "flush() returns")
            await sender.group_send(group, {"n": 1})
            await self.expect_nothing(sender, receiver, channel, "flush() ends memberships")
            await receiver.group_add(group, channel)
            await sender.group_send(group, {"n": 2})
            await self.expect_next(receiver, channel, {"n": 2}, "a group works again after flush()")

    @layer_test("flush")
    async def test_a_receive_outlives_flush(self) -> None:
        """*Specification Details*: a receive that waits goes on waiting through flush(), and gets the next message."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            waiting = self.start(receiver.receive(channel))
            await self.turns()
            await self.within(sender.flush(), "flush() returns though somebody waits")
            await self.turns()
            expect(not waiting.done(), "expected a waiting receive to wait on through flush()")
            await sender.send(channel, {"n": 1})
            got = await self.within(waiting, "a receive that waited through flush() gets what comes then")
            expect_equal(got, {"n": 1}, "it gets the message")

    @layer_test("flush", "capacity")
    async def test_flush_makes_room(self) -> None:
        """*Specification Details*: after flush() a channel that was full takes as many messages as its capacity."""
        async with self.layers(capacity=2) as (sender, receiver):
            channel = await receiver.new_channel()
            writer = sender if self.features.remote_capacity else receiver
            for n in range(2):
                await writer.send(channel, {"n": n})
            await receiver.flush()
            for n in range(2):
                await self.within(writer.send(channel, {"n": n}), "a channel is empty after flush()")
            for n in range(2):
                await self.expect_next(receiver, channel, {"n": n}, "it delivers as ever")


class CloseTests(LayerTests):
    """Close"""

    @layer_test("closing")
    async def test_close_ends_waiting_receives(self) -> None:
        """*Beyond the specification*: close() ends every receive that waits, with LayerClosed."""
        from ..exceptions import LayerClosed

        async with self.layers() as (_, receiver):
            channel = await receiver.new_channel()
            names = [channel, channel, await receiver.new_channel()]
            names += [channel[: channel.index("!") + 1]] if self.features.prefix_receive else []
            names += [self.name("jobs")] if self.features.normal_channels else []
            waiting = [self.start(receiver.receive(name)) for name in names]
            await self.turns()
            await self.within(receiver.close(), "close() returns though somebody waits")
            for name, task in zip(names, waiting, strict=True):
                rule = f"close() ends the waiting receive({name!r})"
                await expect_error(LayerClosed, lambda task=task, rule=rule: self.within(task, rule), rule)  # type: ignore[misc]

    @layer_test("closing")
    async def test_close_can_be_repeated(self) -> None:
        """*Beyond the specification*: closing a closed layer, or one that was never used, does nothing."""
        layer = await self.build()
        for _ in range(3):
            await self.within(layer.close(), "close() returns, however often it is called")

    @layer_test("restartable")
    async def test_a_closed_layer_starts_afresh(self) -> None:
        """*Beyond the specification*: any verb starts a closed layer again, empty."""
        async with self.layer() as layer:
            if not hasattr(layer, "close"):
                pytest.skip("the layer has no close()")
            old, group = await layer.new_channel(), self.name("room")
            await layer.send(old, {"n": 1})
            has_groups = await self.why_not("groups") is None
            if has_groups:
                await layer.group_add(group, old)
            await self.within(layer.close(), "close() returns")
            if has_groups:
                await layer.group_send(group, {"n": 2})
            if self.features.owned_channels:
                with suppress(ValueError):  # the layer may have another identity now
                    await self.expect_nothing(layer, layer, old, "a closed layer forgets messages and memberships")
            for n in range(2):
                channel = await layer.new_channel()
                if has_groups:
                    await layer.group_add(group, channel)
                    await layer.group_send(group, {"n": n})
                    await self.expect_next(layer, channel, {"n": n}, "groups of a closed layer work again")
                await layer.send(channel, {"n": n})
                await self.expect_next(layer, channel, {"n": n}, "a closed layer delivers again")

    @layer_test("closing")
    async def test_async_with_closes(self) -> None:
        """*Beyond the specification*: ``async with layer`` gives the layer, and closes it at the end."""
        from ..exceptions import LayerClosed

        made = await self.build()
        async with made as layer:
            expect(layer is made, "expected `async with layer as it` to give the layer itself")
            channel = await layer.new_channel()
            await layer.send(channel, {"n": 1})
            await self.expect_next(layer, channel, {"n": 1}, "the layer works inside `async with`")
            waiting = self.start(layer.receive(channel))
            await self.turns()
        rule = "the end of `async with` closes the layer"
        await expect_error(LayerClosed, lambda: self.within(waiting, rule), rule)
