"""Entries of the counters that go from one channel to another while group messages are unread."""

from __future__ import annotations

import pytest
from processes import until_quiet

from channel_layers import ChannelFull
from channel_layers.ipc import IPCChannelLayer
from channel_layers.ipc.counters import hash_of
from channel_layers.ipc.mailbox import REBUILD


async def _two_that_meet(owner: IPCChannelLayer) -> tuple[str, str]:
    first = await owner.new_channel()
    reader = owner._client.reader
    assert reader is not None
    size = reader.mailbox.counters.size
    while True:
        second = await owner.new_channel()
        if hash_of(first) % size == hash_of(second) % size:
            return first, second


async def _begin(owner: IPCChannelLayer, sender: IPCChannelLayer) -> tuple[str, str]:
    """The first channel holds a group message, and its entry is the second's, which holds a direct one."""
    first, second = await _two_that_meet(owner)
    await owner.group_add("room", first)
    await sender.send(first, {"n": 0})
    await sender.group_send("room", {"n": 1})
    assert await owner.receive(first) == {"n": 0}
    await sender.send(second, {"n": 2})
    await until_quiet(owner)
    return first, second


async def _fill_with_group_messages(owner: IPCChannelLayer, sender: IPCChannelLayer) -> None:
    for n in range(4):
        await sender.group_send("room", {"n": n})
    await until_quiet(owner)


@pytest.mark.asyncio
async def test_only_the_channel_that_is_full_is_marked(prefix: str) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=4096, capacity=5) as owner,
        IPCChannelLayer(prefix=prefix, message_memory=4096, capacity=5) as sender,
    ):
        first, second = await _begin(owner, sender)
        await _fill_with_group_messages(owner, sender)
        with pytest.raises(ChannelFull):
            await sender.send(first, {"n": 3})
        await sender.send(second, {"n": 4})
        # The mark goes with the first message that leaves, and the entry may then be given away.
        await owner.receive(first)
        await sender.send(first, {"n": 5})
        await until_quiet(owner)
        assert owner.statistics().unread == 7
        assert not owner.statistics().dropped


@pytest.mark.asyncio
async def test_counting_afresh(prefix: str) -> None:
    """As after a sender's death between two steps."""
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=4096, capacity=5) as owner,
        IPCChannelLayer(prefix=prefix, message_memory=4096, capacity=5) as sender,
    ):
        first, second = await _begin(owner, sender)
        # Should two channels ever have the same entry, whatever their order is: both are counted.
        entries, queues = owner._inbox._entries, owner._inbox._queues
        entries.pop(queues[first], None)
        entries[queues[first]] = entries[queues[second]]
        reader = owner._client.reader
        assert reader is not None
        reader.words[REBUILD] = 1
        await sender.send(second, {"n": 3})
        await until_quiet(owner)
        for _ in range(2):
            await owner.receive(second)
        for n in range(5):
            await sender.send(second, {"n": n})
        with pytest.raises(ChannelFull):
            await sender.send(second, {"n": 5})


@pytest.mark.asyncio
async def test_a_channel_keeps_no_entry_that_others_may_have(prefix: str) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=4096, capacity=5) as owner,
        IPCChannelLayer(prefix=prefix, message_memory=4096, capacity=5) as sender,
    ):
        await _begin(owner, sender)
        assert len(owner._inbox._entries) == 1
        await _fill_with_group_messages(owner, sender)
        assert len(owner._inbox._entries) == 2
        assert len(set(owner._inbox._entries.values())) == 2
