"""What does not fit into a mailbox is counted by its owner: a group message once for each member that misses it."""

from __future__ import annotations

import asyncio

import pytest

from channel_layers.ipc import IPCChannelLayer
from channel_layers.statistics import Statistics

SMALL = 8192

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


async def _when_arrived(layer: IPCChannelLayer, count: int) -> Statistics:
    for _ in range(1000):
        counts = layer.statistics()
        if counts.arrived >= count:
            break
        await asyncio.sleep(0.01)
    assert counts.arrived == count == counts.delivered + sum(counts.dropped.values()) + counts.unread
    return counts


async def test_every_member_misses_it(prefix: str) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix) as sender,
    ):
        for name, members in {"room": 3, "hall": 2}.items():
            for _ in range(members):
                await layer.group_add(name, await layer.new_channel())
        with layer._inbox.lock:  # so that it takes nothing out meanwhile
            for n in range(10):
                await sender.group_send("room", {"n": n, "text": "x" * 1500})
                await sender.group_send("hall", {"n": n, "text": "x" * 1500})
        counts = await _when_arrived(layer, 10 * 3 + 10 * 2)
        assert counts.dropped == {"full": 50 - counts.unread}
        assert counts.unread == 3 * 3 + 2 * 2  # five of the twenty fit in
        assert not sender.statistics().dropped


async def test_more_groups_than_are_told_apart(prefix: str) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix) as sender,
    ):
        groups = [f"room-{n}" for n in range(50)]
        for group in groups:
            await layer.group_add(group, await layer.new_channel())
        with layer._inbox.lock:
            for group in groups:
                await sender.group_send(group, {"text": "x" * 1500})
        await _when_arrived(layer, 50)


async def test_nobody_misses_it(prefix: str) -> None:
    """The summary of the mailbox still has the group: it is only looked at when a message came in vain."""
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix) as sender,
    ):
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        with layer._inbox.lock:
            layer._client.memberships._groups.discard_channel(channel)
            for n in range(10):
                await sender.group_send("room", {"n": n, "text": "x" * 1500})
        await sender.send(channel, {"n": 0})
        await _when_arrived(layer, 1)
