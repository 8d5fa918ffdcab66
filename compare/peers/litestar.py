"""Litestar's channels."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.channels.backends.redis import RedisChannelsPubSubBackend, RedisChannelsStreamBackend
from redis.asyncio import Redis, Sentinel

from compare.peers.adapter import Adapter, Message

HISTORY = 100


class LitestarAdapter(Adapter):
    """A :class:`ChannelsPlugin`, used as an application does that handles its subscriptions itself."""

    def __init__(self, make_backend: Callable[[], Any], capacity: int = 100) -> None:
        super().__init__()
        self._plugin = ChannelsPlugin(make_backend(), arbitrary_channels_allowed=True, subscriber_max_backlog=capacity)

    async def _start(self) -> None:
        await self._plugin.__aenter__()

    async def group_add(self, group: str, channel: str) -> None:
        await self.start()
        self._subscribers[channel] = await self._plugin.subscribe(group)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._plugin.unsubscribe(self._subscribers.pop(channel), group)

    async def group_send(self, group: str, message: Message) -> None:
        await self.start()
        await self._plugin.wait_published(json.dumps(message), group)

    async def receive(self, channel: str) -> Message:
        async with aclosing(self._subscribers[channel].iter_events()) as events:
            message: Message = json.loads(await anext(events))
            return message

    async def close(self) -> None:
        if self._is_started:
            await self._plugin.__aexit__(None, None, None)


class LitestarMemory(LitestarAdapter):
    def __init__(self, capacity: int = 100, **options: Any) -> None:
        super().__init__(lambda: MemoryChannelsBackend(**options), capacity)


def _client(url: str | None, sentinels: list[tuple[str, int]] | None, master_name: str) -> Redis:
    return Sentinel(sentinels).master_for(master_name) if sentinels else Redis.from_url(str(url))


class LitestarPubSub(LitestarAdapter):
    def __init__(
        self,
        url: str | None = None,
        sentinels: list[tuple[str, int]] | None = None,
        master_name: str = "",
        capacity: int = 100,
        prefix: str | None = None,
        **options: Any,
    ) -> None:
        client = _client(url, sentinels, master_name)
        options = {"key_prefix": prefix, **options} if prefix else options
        super().__init__(lambda: RedisChannelsPubSubBackend(redis=client, **options), capacity)


class LitestarStream(LitestarAdapter):
    def __init__(
        self,
        url: str | None = None,
        sentinels: list[tuple[str, int]] | None = None,
        master_name: str = "",
        capacity: int = 100,
        prefix: str | None = None,
        **options: Any,
    ) -> None:
        client = _client(url, sentinels, master_name)
        options = {"key_prefix": prefix, **options} if prefix else options
        super().__init__(lambda: RedisChannelsStreamBackend(HISTORY, redis=client, **options), capacity)
