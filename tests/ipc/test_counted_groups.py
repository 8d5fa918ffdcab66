"""What the summary of a mailbox says of groups whose memberships end by themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from processes import DEADLINE

from channel_layers.ipc import IPCChannelLayer
from channel_layers.ipc.reader import Reader

EXPIRY = 3.0


def _reader(layer: IPCChannelLayer) -> Reader:
    reader = layer._client.reader
    assert reader is not None
    return reader


def _names(layer: IPCChannelLayer) -> int:
    return sum(map(len, layer._client.memberships._counted.values()))


def _summary(layer: IPCChannelLayer) -> int:
    return sum(_reader(layer).mailbox.summary.tolist())


@pytest.mark.asyncio
async def test_groups_that_expire_are_not_counted_any_more(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix, group_expiry=EXPIRY) as layer:
        channel = await layer.new_channel()
        for n in range(100):
            await layer.group_add(f"room-{n}", channel)
        assert _names(layer) == _summary(layer) == 100
        await asyncio.sleep(EXPIRY)
        for _ in range(100):  # each looks at a few of those that have expired
            await layer.group_add("last", channel)
        assert _names(layer) == _summary(layer) == 1


@pytest.mark.asyncio
async def test_a_group_that_expires_while_it_gets_a_new_member(prefix: str) -> None:
    """The old member is found to have expired between the counting of the group and its new membership."""
    async with IPCChannelLayer(prefix=prefix, group_expiry=60) as layer:
        channel, other = await layer.new_channel(), await layer.new_channel()
        await layer.group_add("room", channel)
        memberships = layer._client.memberships
        count = memberships.count

        def count_and_expire(reader: Reader, group: str) -> None:
            count(reader, group)
            memberships._groups._expire(group, float("inf"))
            memberships.members(reader, group)

        memberships.count = count_and_expire  # type: ignore[method-assign]
        await layer.group_add("room", other)
        del memberships.count  # type: ignore[method-assign]
        layer._client.catch_up()  # puts the summary right
        await layer.group_add("another", channel)
        assert _names(layer) == _summary(layer) == 2
        await layer.group_send("room", {"n": 1})
        message: Any = await asyncio.wait_for(layer.receive(other), DEADLINE)
        assert message == {"n": 1}
