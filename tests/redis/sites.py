"""A prefix of its own on a shared server, the layers that a test makes there, and what it does with them."""

from __future__ import annotations

import asyncio
import secrets
import weakref
from typing import Any

from asgiref.sync import async_to_sync
from redis_servers import DEADLINE, RedisServer, wait_until

from channel_layers.conformance.running import within
from channel_layers.redis import RedisChannelLayer


class Site:
    """A prefix on a server, and the layers that a test makes there."""

    #: For each layer object: the verbs of the home loop, all other verbs, the mailbox, normal channels, presence.
    CONNECTIONS = 5

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.prefix = f"test{secrets.token_hex(6)}"
        self._layers: weakref.WeakSet[RedisChannelLayer] = weakref.WeakSet()

    def layer(self, name: str = "", **options: Any) -> RedisChannelLayer:
        """A layer, by whose name the server knows its connections."""
        host = {"address": self.server.url, "client_name": self.prefix + name}
        layer = RedisChannelLayer([host], prefix=self.prefix, **options)
        self._layers.add(layer)
        return layer

    def connections(self, name: str = "") -> set[str]:
        """The ids of those that layers of this name have open."""
        return {each["id"] for each in self.server.client().client_list() if each["name"] == self.prefix + name}

    def when_all_are_connected(self, layers: int = 1) -> set[str]:
        """The ids again, as soon as so many layers, all of them used, have all of theirs: some are made meanwhile."""
        count = layers * self.CONNECTIONS
        wait_until(lambda: len(self.connections()) == count, lambda: f"{count} are open: {self.connections()}")
        return self.connections()

    def until_all_are_closed(self) -> None:
        """One that was just being made when its layer was closed is closed as soon as it is there."""
        wait_until(lambda: not self.connections(), lambda: f"they are open: {self.connections()}")

    def all_connections(self) -> int:
        """How many the server has ever seen, of anybody."""
        return int(self.server.client().info("stats")["total_connections_received"])

    def held(self, kind: str = "*") -> set[str]:
        return {key.decode() for key in self.server.client().scan_iter(f"{self.prefix}:cl1:{kind}", count=10_000)}

    def close(self) -> None:
        for layer in tuple(self._layers):
            async_to_sync(layer.close)()


async def talk(layer: RedisChannelLayer, channel: str, count: int) -> None:
    """Send and receive so often that the running loop becomes the layer's home."""
    for n in range(count):
        await layer.send(channel, {"n": n})
        assert await within(DEADLINE, layer.receive(channel), "a message arrives") == {"n": n}


async def use(layer: RedisChannelLayer, mark: Any = 0) -> None:
    """All that a layer offers, once."""
    group, jobs = f"room.{secrets.token_hex(6)}", f"jobs.{secrets.token_hex(6)}"
    channel = await layer.new_channel()
    await talk(layer, channel, 10)
    await talk(layer, jobs, 2)
    await layer.group_add(group, channel)
    await layer.group_add(group, jobs)
    await layer.group_send(group, {"group": mark})
    for name in (channel, jobs):
        assert await within(DEADLINE, layer.receive(name), "a group message arrives") == {"group": mark}
    await layer.group_discard(group, channel)
    await layer.group_discard(group, jobs)
    await layer.group_send(group, {"group": "late"})
    await layer.send(channel, {"last": mark})
    assert await within(DEADLINE, layer.receive(channel), "who left gets no more") == {"last": mark}


async def receive_all(layer: RedisChannelLayer, channel: str, count: int) -> list[Any]:
    return [(await layer.receive(channel))["n"] for _ in range(count)]


def is_home(layer: RedisChannelLayer, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this loop drives the layer's connections, without which some tests here would test nothing."""
    near = layer._client.shards[0].near.connection
    return layer._client.home.loop is loop and near is not None and near.loop is loop


async def eventually(predicate: Any, what: str) -> None:
    await asyncio.to_thread(wait_until, predicate, what, DEADLINE)
