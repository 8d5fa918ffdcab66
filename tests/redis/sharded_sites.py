"""Layers over several servers that a test makes under a prefix of its own, and names that belong to each server."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from redis_servers import DEADLINE, RedisServer

from channel_layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channel_layers.redis.hosts import parse_hosts
from channel_layers.redis.layer import RedisLayer
from channel_layers.redis.ring import Ring

Found = TypeVar("Found")

#: What a test that holds for both layers is parametrized with.
LAYERS = [RedisChannelLayer, RedisPubSubChannelLayer]


class ShardedSite:
    """Servers, and layers of one class over them.

    :param hosts: what the layers take instead of the servers' addresses.
    """

    def __init__(
        self, layer_class: type[RedisLayer[Any]], servers: Sequence[RedisServer], hosts: Sequence[Any] = ()
    ) -> None:
        self.layer_class = layer_class
        self.servers = servers
        self.hosts = list(hosts) or [server.address for server in servers]
        self.prefix = f"test{secrets.token_hex(6)}"
        self.count = len(self.hosts)
        self._ring = Ring([server.name for server in parse_hosts(self.hosts)])
        self._numbers = itertools.count(1)
        self._layers: list[RedisLayer[Any]] = []

    @property
    def is_queue(self) -> bool:
        return self.layer_class is RedisChannelLayer

    def layer(self, hosts: Sequence[Any] = (), **options: Any) -> Any:
        layer = self.layer_class(hosts or self.hosts, prefix=self.prefix, **options)
        self._layers.append(layer)
        return layer

    def place(self, name: str) -> int:
        """The number of the server that a name belongs to."""
        return self._ring.find(name)

    def name(self, place: int, kind: str = "name") -> str:
        """A new name that belongs to that server."""
        return next(name for number in self._numbers if self.place(name := f"{kind}.{number}") == place)

    def names(self, kind: str) -> list[str]:
        """A new name for each server."""
        return [self.name(place, kind) for place in range(self.count)]

    async def channels(self, layer: Any) -> list[str]:
        """A new channel of a layer for each server."""
        found: dict[int, str] = {}
        while len(found) < self.count:
            channel = await layer.new_channel()
            found[self.place(channel)] = channel
        return [channel for _, channel in sorted(found.items())]

    async def close(self) -> None:
        for layer in self._layers:
            await layer.close()


async def take(layer: Any, channel: str, count: int = 1) -> list[Any]:
    """The numbers of the next messages, which must come within the deadline."""

    async def collect() -> list[Any]:
        return [(await layer.receive(channel))["n"] for _ in range(count)]

    return await asyncio.wait_for(collect(), DEADLINE)


@contextmanager
def watched(servers: Sequence[RedisServer]) -> Iterator[list[list[str]]]:
    """What each server is told meanwhile, scripts included: filled when the block has ended."""
    told: list[list[str]] = [[] for _ in servers]
    mark = secrets.token_hex(8)
    monitors = [server.new_client().monitor() for server in servers]
    for monitor in monitors:
        monitor.__enter__()
    try:
        yield told
        for server, monitor, commands in zip(servers, monitors, told, strict=True):
            server.client().echo(mark)
            while mark not in (command := monitor.next_command()["command"]):
                commands.append(command)
    finally:
        for monitor in monitors:
            monitor.__exit__(None, None, None)
