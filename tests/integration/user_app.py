"""An application as a user of the package would write it; mypy checks it strictly, and a test runs it."""

from __future__ import annotations

import asyncio
import re

import channel_layers
from channel_layers import BaseChannelLayer, ChannelFull, InvalidMessage, LayerClosed, MessageTooLarge
from channel_layers.memory import InMemoryChannelLayer
from channel_layers.statistics import Statistics


async def member(layer: BaseChannelLayer, room: str, joined: asyncio.Event) -> str:
    channel: str = await layer.new_channel()
    await layer.group_add(room, channel)
    joined.set()
    try:
        message = await layer.receive(channel)
    except LayerClosed:
        return ""
    finally:
        await layer.discard_channel(channel)
    return str(message["text"])


async def main() -> list[str]:
    layer = InMemoryChannelLayer(expiry=0.5, capacity=10, channel_capacity={"jobs": 5, re.compile("x.*"): 7})
    channel_layers.register_channel_layer("default", layer)
    async with layer:
        joined = [asyncio.Event() for _ in range(3)]
        members = [asyncio.ensure_future(member(layer, "room", event)) for event in joined]
        for event in joined:
            await event.wait()
        try:
            await layer.group_send("room", {"type": "chat.message", "text": "hello"})
        except (ChannelFull, MessageTooLarge, InvalidMessage):
            return []
        texts = await asyncio.gather(*members)
        counts: Statistics = layer.statistics()
        unread: int = counts.unread
    channel_layers.unregister_channel_layer("default")
    return [*texts, str(unread)]


if __name__ == "__main__":
    print(asyncio.run(main()))
