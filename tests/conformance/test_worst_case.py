"""The suite passes a layer that does its worst within the specification: no test asks for more than that."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from worst_case import Hub, WorstCaseLayer

from channel_layers.conformance import ChannelLayerConformance, Features


class _OnOneHub(ChannelLayerConformance):
    """All layers that a test makes share a hub, which no other test sees."""

    @functools.cached_property
    def hub(self) -> Hub:
        return Hub()


class TestEachChannelOnItsOwnWay(_OnOneHub):
    """The channels of a process overtake each other, and so a prefix receive has no order to keep."""

    features = Features(
        cross_process=False,
        cross_instance=True,
        ordered_together=False,
        prefix_receive=False,
        steady_membership=False,
    )

    def make_layer(self, **config: Any) -> WorstCaseLayer:
        return WorstCaseLayer(self.hub, by_process=False, **config)


class TestEachProcessOnItsOwnWay(_OnOneHub):
    """What one layer sends to the channels of another keeps its order."""

    features = Features(cross_process=False, cross_instance=True, steady_membership=False)

    def make_layer(self, **config: Any) -> WorstCaseLayer:
        return WorstCaseLayer(self.hub, by_process=True, **config)


class TestItsWorst:
    """The layer really does what it is there for, or the suite would pass it for nothing."""

    @pytest.fixture
    def sender(self) -> WorstCaseLayer:
        return WorstCaseLayer(Hub(), by_process=False)

    @pytest.fixture
    def receiver(self, sender: WorstCaseLayer) -> WorstCaseLayer:
        return WorstCaseLayer(sender._hub, by_process=False)

    async def sooner_or_later(self, attempt: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(1000):
            if await attempt():
                return
        pytest.fail("it never happened in 1000 attempts")

    @pytest.mark.asyncio
    async def test_channels_overtake_each_other(self, sender: WorstCaseLayer, receiver: WorstCaseLayer) -> None:
        own = await receiver.new_channel()
        prefix = receiver.non_local_name(own)

        async def attempt() -> bool:
            await sender.send(own, {"n": 1})
            await sender.send(f"{prefix}other", {"n": 2})
            first = await receiver.receive(prefix)
            await receiver.receive(prefix)
            return first == {"n": 2}

        await self.sooner_or_later(attempt)

    @pytest.mark.asyncio
    async def test_members_get_their_copies_in_any_order(
        self, sender: WorstCaseLayer, receiver: WorstCaseLayer
    ) -> None:
        own = await receiver.new_channel()
        prefix = receiver.non_local_name(own)
        members = [f"{prefix}{n}" for n in range(3)]
        for channel in members:
            await sender.group_add("group", channel)
        orders = set()

        async def attempt() -> bool:
            readers = [asyncio.create_task(receiver.receive(channel)) for channel in members]
            ended: list[int] = []
            for n, reader in enumerate(readers):
                reader.add_done_callback(lambda _, n=n: ended.append(n))  # type: ignore[misc]
            await sender.group_send("group", {"n": 1})
            await asyncio.wait(readers)
            await asyncio.sleep(0)
            orders.add(tuple(ended))
            return len(orders) == 6

        await self.sooner_or_later(attempt)

    @pytest.mark.asyncio
    async def test_the_last_to_wait_may_be_the_first_served(
        self, sender: WorstCaseLayer, receiver: WorstCaseLayer
    ) -> None:
        channel = await receiver.new_channel()

        async def attempt() -> bool:
            first = asyncio.create_task(receiver.receive(channel))
            while not receiver._box.waiters:  # noqa: ASYNC110 - a box tells nobody who waits there
                await asyncio.sleep(0)
            second = asyncio.create_task(receiver.receive(channel))
            while len(receiver._box.waiters) < 2:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            await sender.send(channel, {"n": 1})
            await sender.send(channel, {"n": 2})
            return (await first, await second) == ({"n": 2}, {"n": 1})

        await self.sooner_or_later(attempt)

    @pytest.mark.asyncio
    async def test_a_message_arrives_after_send_has_returned(
        self, sender: WorstCaseLayer, receiver: WorstCaseLayer
    ) -> None:
        channel = await receiver.new_channel()

        async def attempt() -> bool:
            await sender.send(channel, {"n": 1})
            still_on_its_way = receiver.statistics().unread == 0
            await receiver.receive(channel)
            return still_on_its_way

        await self.sooner_or_later(attempt)

    @pytest.mark.asyncio
    async def test_direct_messages_overtake_group_messages(
        self, sender: WorstCaseLayer, receiver: WorstCaseLayer
    ) -> None:
        channel = await receiver.new_channel()
        await sender.group_add("group", channel)

        async def attempt() -> bool:
            await sender.group_send("group", {"n": 1})
            await sender.send(channel, {"n": 2})
            first = await receiver.receive(channel)
            await receiver.receive(channel)
            return first == {"n": 2}

        await self.sooner_or_later(attempt)
