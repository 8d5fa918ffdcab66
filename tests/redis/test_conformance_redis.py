"""The Redis queue layer under the conformance suite: every claim, every kind of server, every way to encode."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

import pytest
from redis_servers import RedisServer

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.redis import RedisChannelLayer


class OnRedis(ChannelLayerConformance):
    """What the classes below share. Every test has a prefix of its own, so that they can run at the same time."""

    features = Features()
    server: RedisServer
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.server, self.prefix = redis_server, f"test{secrets.token_hex(6)}"

    def make_layer(self, **config: Any) -> RedisChannelLayer:
        return RedisChannelLayer(hosts=[self.host()], prefix=self.prefix, **{**self.options, **config})

    def host(self) -> Any:
        return self.server.address


class TestRedis(OnRedis):
    pass


class TestRedisWithJsonAndEncryption(OnRedis):
    options: ClassVar[dict[str, Any]] = {"serializer_format": "json", "symmetric_encryption_keys": ["new", "old"]}

    def host(self) -> Any:
        return self.server.unix_url


class TestRedis62(OnRedis):
    @pytest.fixture(autouse=True)
    def _server(self, redis_62_server: RedisServer) -> None:
        self.server, self.prefix = redis_62_server, f"test{secrets.token_hex(6)}"
