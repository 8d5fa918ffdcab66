"""The servers and the slow network that the tests of the Redis layers use; here they carry the peers as well."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = str(Path(__file__).parents[1] / "tests" / "redis")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

from proxy import TcpProxy  # noqa: E402
from redis_sentinels import SentinelTopology  # noqa: E402
from redis_servers import RedisServer, require_server  # noqa: E402

NotReady = pytest.fail.Exception
"""What is raised if a server does not come up in time; it is no Exception."""

__all__ = ["NotReady", "RedisServer", "SentinelTopology", "TcpProxy", "new_sentinels", "new_server"]


def new_server() -> RedisServer:
    """To be entered: then it runs, on a free port, with nothing in it."""
    return RedisServer(require_server("redis-server"))


def new_sentinels() -> SentinelTopology:
    """A master, two replicas and three sentinels, likewise."""
    return SentinelTopology(require_server("redis-server"), require_server("redis-sentinel"))
