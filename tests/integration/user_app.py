"""An application as a user of the package would write it; mypy checks it strictly, and a test runs it."""

from __future__ import annotations

import asyncio
import re

import channel_layers
from channel_layers import BaseChannelLayer, ChannelFull, InvalidMessage, LayerClosed, MessageTooLarge
from channel_layers.memory import InMemoryChannelLayer
from channel_layers.redis import RedisPubSubChannelLayer
from channel_layers.statistics import Statistics


def layer_of(alias: str) -> BaseChannelLayer:
    layer = channel_layers.get_channel_layer(alias)
    if layer is None:
        raise LookupError(alias)
    return layer


def in_production(lease: float, capacity: str) -> BaseChannelLayer:
    """The type of an option is known, and so is that of a bad one."""
    RedisPubSubChannelLayer(["redis://127.0.0.1"], expiry=0.5, lease=lease, on_disconnect="redis.lost")
    return RedisPubSubChannelLayer(capacity=capacity)  # type: ignore[arg-type]


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
    built = InMemoryChannelLayer(expiry=0.5, capacity=10, channel_capacity={"jobs": 5, re.compile("x.*"): 7})
    channel_layers.register_channel_layer("default", built)
    async with layer_of("default") as layer:
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
