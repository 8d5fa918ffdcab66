"""What has expired at the owner makes room for senders, whichever loop looks after the owner, and whoever is full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from processes import DEADLINE

from channel_layers import ChannelFull
from channel_layers.ipc import IPCChannelLayer

EXPIRY = 0.3


async def _fill(layer: IPCChannelLayer, channel: str) -> int:
    count = 0
    while True:
        try:
            await layer.send(channel, {"n": count})
        except ChannelFull:
            return count
        count += 1


async def _until(has_happened: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not has_happened():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def _dropped(layer: IPCChannelLayer, count: int) -> None:
    """Nobody calls the owner's layer meanwhile: what its statistics say may come from a look that they cause."""
    await _until(lambda: layer._inbox.dropped["expired"] >= count)


def test_a_full_channel_whose_loop_has_ended(prefix: str) -> None:
    owner = IPCChannelLayer(prefix=prefix, expiry=EXPIRY, capacity=5)

    async def live_and_end() -> str:
        other = await owner.new_channel()
        for n in range(10):  # so that this loop is the home
            await owner.send(other, {"n": n})
            await owner.receive(other)
        assert owner._client.home.loop is asyncio.get_running_loop()
        channel = await owner.new_channel()
        assert await _fill(owner, channel) == 5
        await _until(lambda: owner._client.turns.expiring_at < time.monotonic() + EXPIRY)
        return channel

    channel = asyncio.run(live_and_end())

    async def go_on() -> None:
        await _dropped(owner, 5)
        async with IPCChannelLayer(prefix=prefix, expiry=EXPIRY, capacity=5) as sender:
            for _ in range(2):  # the timer comes again, too
                before = owner._inbox.dropped["expired"]
                assert await _fill(sender, channel) == 5
                await _dropped(owner, before + 5)
        await owner.close()

    asyncio.run(go_on())


@pytest.mark.asyncio
async def test_a_channel_that_is_full_for_one_sender_alone(prefix: str) -> None:
    """The owner allows more than the sender, as in a deployment that changes the capacity."""
    async with (
        IPCChannelLayer(prefix=prefix, expiry=EXPIRY, capacity=5) as sender,
        IPCChannelLayer(prefix=prefix, expiry=EXPIRY, capacity=100) as owner,
    ):
        channel = await owner.new_channel()
        for _ in range(2):
            before = owner._inbox.dropped["expired"]
            assert await _fill(sender, channel) == 5
            await _dropped(owner, before + 5)
        assert await _fill(sender, channel) == 5


@pytest.mark.asyncio
async def test_what_came_while_older_messages_were_unread_expires_in_time(prefix: str) -> None:
    """The second message to a channel is not looked for an expiry after the first, but when it expires itself."""
    async with IPCChannelLayer(prefix=prefix, expiry=1.0) as layer:
        channel = await layer.new_channel()
        await layer.send(channel, {"n": 0})
        await asyncio.sleep(0.2)
        await layer.send(channel, {"n": 1})
        due = time.monotonic() + 1.0
        await _dropped(layer, 1)
        if layer._inbox.dropped["expired"] == 1:
            assert layer._client.turns.expiring_at < due + 0.5, "an expiry later it would be 0.8"
        await _dropped(layer, 2)


@pytest.mark.asyncio
async def test_one_timer_at_a_time(prefix: str) -> None:
    """Whatever comes and goes, only one timer waits for what expires."""
    async with IPCChannelLayer(prefix=prefix, expiry=60) as layer:
        channels = [await layer.new_channel() for _ in range(50)]
        for channel in channels:
            await layer.send(channel, {"n": 0})
            await layer.receive(channel)
            await layer.send(channel, {"n": 1})
            await asyncio.sleep(0)
        client = layer._client
        loop = asyncio.get_running_loop()
        await _until(lambda: client.turns.expiring_in is loop and client.turns.expiring_at < time.monotonic() + 61)
        timers = [timer for timer in loop._scheduled if "_expire" in repr(timer)]  # type: ignore[attr-defined]
        assert len(timers) == 1
