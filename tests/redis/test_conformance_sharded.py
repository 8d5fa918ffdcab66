"""Both Redis layers under the conformance suite, over several servers of every kind."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from redis_sentinels import SentinelTopology
from redis_servers import RedisServer, require_server

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.redis import RedisChannelLayer, RedisPubSubChannelLayer


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RedisServer(require_server("redis-server"))) for _ in range(4)]


@pytest.fixture(scope="module")
def topologies() -> Iterator[list[SentinelTopology]]:
    """Two masters, each with replicas and Sentinels of its own."""
    with contextlib.ExitStack() as stack:
        binaries = require_server("redis-server"), require_server("redis-sentinel")
        yield [stack.enter_context(SentinelTopology(*binaries)) for _ in range(2)]


class OverServers(ChannelLayerConformance):
    """What the classes below share. Every test has a prefix of its own, so that they can run at the same time."""

    count = 3

    @pytest.fixture(autouse=True)
    def _hosts(self, servers: list[RedisServer]) -> None:
        self.hosts: list[Any] = [server.address for server in servers[: self.count]]
        self.prefix = f"test{secrets.token_hex(6)}"


class QueueOverServers(OverServers):
    # Messages to several channels, or to a channel and a group, go over several servers.
    features = Features(ordered_together=False)

    def make_layer(self, **config: Any) -> RedisChannelLayer:
        return RedisChannelLayer(hosts=self.hosts, prefix=self.prefix, **config)


class PubSubOverServers(OverServers):
    features = Features(ordered_together=False, remote_capacity=False, membership="delivery")

    def make_layer(self, **config: Any) -> RedisPubSubChannelLayer:
        return RedisPubSubChannelLayer(hosts=self.hosts, prefix=self.prefix, **config)


class TestQueueOverThree(QueueOverServers):
    pass


class TestPubSubOverThree(PubSubOverServers):
    pass


class TestQueueOverFour(QueueOverServers):
    count = 4


class TestPubSubOverFour(PubSubOverServers):
    count = 4


class BehindSentinels(OverServers):
    """Two masters behind Sentinels, and a plain server."""

    @pytest.fixture(autouse=True)
    def _hosts(self, servers: list[RedisServer], topologies: list[SentinelTopology]) -> None:
        masters = [
            {"sentinels": each.sentinel_addresses, "master_name": each.service_name, "name": f"master {number}"}
            for number, each in enumerate(topologies)
        ]
        self.hosts = self.chosen(masters, servers[0].address)
        self.prefix = f"test{secrets.token_hex(6)}"

    def chosen(self, masters: list[Any], plain: Any) -> list[Any]:
        return [*masters, plain]


class TestQueueBehindSentinels(BehindSentinels, QueueOverServers):
    pass


class TestPubSubBehindSentinels(BehindSentinels, PubSubOverServers):
    pass


class BehindOneSentinel(BehindSentinels):
    """One master alone."""

    def chosen(self, masters: list[Any], plain: Any) -> list[Any]:
        return masters[:1]


class TestQueueBehindOneSentinel(BehindOneSentinel, QueueOverServers):
    features = Features()


class TestPubSubBehindOneSentinel(BehindOneSentinel, PubSubOverServers):
    features = Features(remote_capacity=False, membership="delivery")
