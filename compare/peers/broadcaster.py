"""broadcaster, with a subscription held open for each channel."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Any

from broadcaster import Broadcast

from compare.peers.adapter import Adapter, Message


class BroadcasterAdapter(Adapter):
    """A :class:`Broadcast` that is connected by its first use."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__()
        self._broadcast = Broadcast(url, **options)
        self._contexts: dict[str, AbstractAsyncContextManager[Any]] = {}

    async def _start(self) -> None:
        await self._broadcast.connect()

    async def group_add(self, group: str, channel: str) -> None:
        await self.start()
        self._contexts[channel] = self._broadcast.subscribe(group)
        self._subscribers[channel] = await self._contexts[channel].__aenter__()

    async def group_discard(self, group: str, channel: str) -> None:
        del self._subscribers[channel]
        await self._contexts.pop(channel).__aexit__(None, None, None)

    async def group_send(self, group: str, message: Message) -> None:
        await self.start()
        await self._broadcast.publish(group, json.dumps(message))

    async def receive(self, channel: str) -> Message:
        message: Message = json.loads((await self._subscribers[channel].get()).message)
        return message

    async def close(self) -> None:
        if self._is_started:
            await self._broadcast.disconnect()


class BroadcasterMemory(BroadcasterAdapter):
    def __init__(self, **options: Any) -> None:
        super().__init__("memory://", **options)


class BroadcasterRedis(BroadcasterAdapter):
    """Pub/Sub. With redis-py 8, broadcaster stops listening before its first subscription is there, and takes up
    listening again at the second. ``is_primed`` makes the first one."""

    def __init__(self, url: str, *, is_primed: bool = False, **options: Any) -> None:
        super().__init__(url, **options)
        self._is_primed = is_primed

    async def group_add(self, group: str, channel: str) -> None:
        if self._is_primed:
            self._is_primed = False
            await super().group_add("nobody.uses.this", "nobody")
            await asyncio.sleep(0.1)
        await super().group_add(group, channel)


class BroadcasterStream(BroadcasterAdapter):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url.replace("redis://", "redis-stream://"), **options)
