"""The Redis queue layer under the conformance suite: every claim, every kind of server, every way to encode."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from redis_servers import RedisServer

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.redis import RedisChannelLayer


class OnRedis(ChannelLayerConformance):
    """What the classes below share. Every test has a prefix of its own, so that they can run at the same time."""

    features = Features()
    server: RedisServer
    options: dict[str, Any] = {}

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> Iterator[None]:
        self.server, self.prefix = redis_server, f"test{secrets.token_hex(6)}"
        yield

    def make_layer(self, **config: Any) -> RedisChannelLayer:
        return RedisChannelLayer(hosts=[self.host()], prefix=self.prefix, **{**self.options, **config})

    def host(self) -> Any:
        return self.server.address


class TestRedis(OnRedis):
    pass


class TestRedisWithJsonAndEncryption(OnRedis):
    options = {"serializer_format": "json", "symmetric_encryption_keys": ["new", "old"]}

    def host(self) -> Any:
        return self.server.unix_url


class TestRedis62(OnRedis):
    @pytest.fixture(autouse=True)
    def _server(self, redis_62_server: RedisServer) -> Iterator[None]:
        self.server, self.prefix = redis_62_server, f"test{secrets.token_hex(6)}"
        yield
