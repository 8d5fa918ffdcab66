"""What the error says of a message that can never fit: how large it is, and how large it may be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from processes import DEADLINE

from channel_layers import MessageTooLarge
from channel_layers.ipc import IPCChannelLayer

SMALL = 4096


@pytest.mark.asyncio
@pytest.mark.parametrize("sender_memory", [SMALL, 2 * SMALL])
@pytest.mark.parametrize("kind", ["direct", "normal", "group", "group with a normal channel"])
async def test_a_message_of_the_size_that_the_error_names_fits(prefix: str, kind: str, sender_memory: int) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as receiver,
        IPCChannelLayer(prefix=prefix, message_memory=sender_memory) as sender,
    ):
        channel = await receiver.new_channel() if kind in ("direct", "group") else "work"
        await receiver.send(channel, {})  # whose memory it is, where it is a normal channel
        await receiver.receive(channel)
        await receiver.group_add("room", channel)

        async def send(length: int) -> dict[str, Any]:
            message = {"text": "x" * length}
            await (sender.group_send("room", message) if "group" in kind else sender.send(channel, message))
            return message

        with pytest.raises(MessageTooLarge, match=r"takes \d,\d+ bytes encoded") as caught:
            await send(SMALL)
        size, limit = caught.value.size, caught.value.limit
        assert size is not None
        assert limit is not None
        most = SMALL - (size - limit)
        with pytest.raises(MessageTooLarge) as caught:
            await send(most + 1)
        assert (caught.value.size, caught.value.limit) == (limit + 1, limit)
        message = await send(most)
        assert await asyncio.wait_for(receiver.receive(channel), DEADLINE) == message
