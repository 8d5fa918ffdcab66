"""What the tests of the Pub/Sub layer add to sites and loads: its layers, and what the server knows of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from numbered import Process, Traffic, until
from redis_servers import DEADLINE, SEND_TIMEOUT, RedisServer
from sites import Site

from channel_layers.redis import RedisPubSubChannelLayer
from channel_layers.redis.pubsub.keys import PubSubKeys


class PubSubSite(Site):
    """A prefix on a server, and the Pub/Sub layers that a test makes there."""

    #: For each layer object: the verbs of the home loop, all other verbs, what is published, normal channels.
    CONNECTIONS = 4

    def layer(self, name: str = "", **options: Any) -> RedisPubSubChannelLayer:
        """A layer, by whose name the server knows its connections."""
        host = {"address": self.server.url, "client_name": self.prefix + name}
        layer = RedisPubSubChannelLayer([host], prefix=self.prefix, **options)
        self._layers.add(layer)
        return layer

    @property
    def keys(self) -> PubSubKeys:
        """What the layers of database 0 call things."""
        return PubSubKeys(self.prefix, 0)

    def held(self, kind: str = "*") -> set[str]:
        return super().held(f"pubsub:0:{kind}")

    def subscribed(self) -> dict[str, int]:
        """The names that somebody is subscribed to, without what is common to them, and how many are."""
        client = self.server.client()
        names = client.pubsub_channels(f"{self.prefix}:*")
        return {name.decode().removeprefix(self.keys.all): count for name, count in client.pubsub_numsub(*names)}

    def subscribers(self, name: str) -> int:
        """How many are subscribed to a name, such as ``group:room``."""
        return self.subscribed().get(name, 0)

    async def until_subscribers(self, name: str, count: int) -> None:
        await until(lambda: self.subscribers(name) == count, lambda: f"{count} have {name}: {self.subscribed()}")

    @contextmanager
    def nobody_comes_back(self) -> Iterator[None]:
        """Connections that end meanwhile are not made again."""
        limit = self.server.config("maxclients", 1)
        try:
            yield
        finally:
            self.server.config("maxclients", limit)


class PubSubTraffic(Traffic):
    """The load of numbered messages, over Pub/Sub layers."""

    def __init__(self, host: Any, receivers_host: Any = None, **options: Any) -> None:
        self.options = {"prefix": self.prefix, "capacity": 100_000, "send_timeout": SEND_TIMEOUT, **options}
        self.sender = RedisPubSubChannelLayer(hosts=[host], **self.options)
        self.first, self.second = (
            RedisPubSubChannelLayer(hosts=[receivers_host or host], **self.options) for _ in "12"
        )
        self.keys = PubSubKeys(self.prefix, 0)
        self.lanes = {}
        self.readers = []

    def is_listed(self, client: Any) -> bool:
        names = [self.keys.mailbox(layer.client_prefix) for layer in (self.first, self.second)]
        counts = client.pubsub_numsub(*names, self.keys.group(self.group))
        return [count for _, count in counts] == [1, 1, 2]

    async def until_subscribed(
        self, server: Callable[[], RedisServer], lost: Collection[str] = (), seconds: float = DEADLINE
    ) -> None:
        """Whatever is sent from now on reaches both receivers, over connections that are not those that were lost."""
        await until(
            lambda: subscriber_ids(server()).isdisjoint(lost) and self.is_listed(server().client()),
            lambda: f"both are subscribed again, not as {lost}: {server().client().client_list(_type='pubsub')}",
            seconds,
        )


def subscriber_ids(server: RedisServer) -> set[str]:
    """The ids of the connections that are subscribed to anything."""
    return {each["id"] for each in server.client().client_list(_type="pubsub")}


def python(code: str, *arguments: object, command: Collection[str] = (sys.executable, "-c")) -> Process:
    """A process that runs the code; ``command`` is what stands before it, as ``skewed_python`` gives it."""
    return Process([*command, code, *map(str, arguments)])


async def take(layer: RedisPubSubChannelLayer, channel: str) -> Any:
    """The next message, which comes within the deadline."""
    return await asyncio.wait_for(layer.receive(channel), DEADLINE)
