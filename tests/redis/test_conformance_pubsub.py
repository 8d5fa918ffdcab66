"""The Redis Pub/Sub layer under the conformance suite."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

import pytest
from redis_servers import RedisServer

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.redis import RedisPubSubChannelLayer


class OnPubSub(ChannelLayerConformance):
    """What the classes below share. Every test has a prefix of its own, so that they can run at the same time."""

    # Nobody but the process itself knows what its channels hold, and who is a member there when a message comes.
    features = Features(remote_capacity=False, membership="delivery")
    server: RedisServer
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.server, self.prefix = redis_server, f"test{secrets.token_hex(6)}"

    def make_layer(self, **config: Any) -> RedisPubSubChannelLayer:
        return RedisPubSubChannelLayer(hosts=[self.host()], prefix=self.prefix, **{**self.options, **config})

    def host(self) -> Any:
        return self.server.address


class TestPubSub(OnPubSub):
    pass


class TestPubSubWithJsonAndEncryption(OnPubSub):
    options: ClassVar[dict[str, Any]] = {"serializer_format": "json", "symmetric_encryption_keys": ["new", "old"]}

    def host(self) -> Any:
        return self.server.unix_url


class TestPubSub62(OnPubSub):
    @pytest.fixture(autouse=True)
    def _server(self, redis_62_server: RedisServer) -> None:
        self.server, self.prefix = redis_62_server, f"test{secrets.token_hex(6)}"
