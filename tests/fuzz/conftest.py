"""What these tests share with those of the backends. Last on the path, like there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "redis"), str(HERE.parent / "ipc")]

from redis_servers import RedisServer, require_server  # noqa: E402
from shared_memory import SHARED, remains  # noqa: E402


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """The system's Redis, shared by the tests of a module."""
    with RedisServer(require_server("redis-server")) as server:
        yield server


@pytest.fixture
def prefix() -> Iterator[str]:
    """A prefix in shared memory that nobody else uses, and of which nothing is left when the test ends."""
    import secrets

    name = f"fuzz{secrets.token_hex(6)}"
    yield name
    for each in remains(name):
        (SHARED / each).unlink(missing_ok=True)
