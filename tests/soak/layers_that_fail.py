"""Layers that a soak must find out."""

from __future__ import annotations

from typing import Any

from channel_layers.redis import RedisChannelLayer


class Doubling(RedisChannelLayer):
    """Sends every tenth message to a channel twice."""

    _count = 0

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        await super().send(channel, message)
        self._count += 1
        if self._count % 10 == 0:
            await super().send(channel, message)


class Forgetting(RedisChannelLayer):
    """Says that every third channel has joined its group, and does nothing."""

    _count = 0

    async def group_add(self, group: str, channel: str) -> None:
        self._count += 1
        if self._count % 3:
            await super().group_add(group, channel)


class Clinging(RedisChannelLayer):
    """Lets nobody leave a group."""

    async def group_discard(self, group: str, channel: str) -> None:
        return
