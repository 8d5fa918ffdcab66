"""The layers that are put to the test, and the servers behind them."""

from __future__ import annotations

import random
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from types import TracebackType
from typing import Any, ClassVar

import redis

from benchmarks.redis_server import HOST, free_port, system_program, wait_until_it_answers

#: Seconds: short, so that a phase sees the end of the leases of those who were killed in the one before.
LEASE = 5.0


class Site:
    """Where the workers meet."""

    backend: ClassVar[str]
    #: How a server may fail here.
    faults: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._stack = ExitStack()

    @classmethod
    def is_available(cls) -> bool:
        """Whether the layer can be built on this machine."""
        return True

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def options(self) -> dict[str, Any]:
        """What a worker builds its layer with."""
        return {"prefix": "soak", "capacity": 50}

    def fail(self, fault: str, chance: random.Random) -> None:
        """Let a server fail; when this returns, it is there again."""
        raise NotImplementedError(fault)

    def problems(self) -> list[str]:
        """What is wrong with what the workers have left here while nobody does anything."""
        return []


class RedisServer:
    """One server, which comes back on its port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.client = redis.Redis(HOST, self.port)
        self._folder = tempfile.TemporaryDirectory(prefix="soak-")
        self.start()

    def start(self) -> None:
        program = system_program("redis-server") or "redis-server"
        options = ("--bind", HOST, "--port", str(self.port), "--save", "", "--dir", self._folder.name)
        self.process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        wait_until_it_answers(self.process, self.port)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.client.close()
        self._folder.cleanup()


class OnRedis(Site):
    """A layer over Redis servers, which forget everything when they are killed."""

    faults = ("restart", "cut")
    servers_count: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self._servers = [RedisServer() for _ in range(self.servers_count)]
        for server in self._servers:
            self._stack.callback(server.close)

    def options(self) -> dict[str, Any]:
        hosts = [(HOST, server.port) for server in self._servers]
        return {**super().options(), "hosts": hosts, "lease": LEASE, "send_timeout": 1.0}

    def fail(self, fault: str, chance: random.Random) -> None:
        server = chance.choice(self._servers)
        if fault == "restart":
            server.kill()
            server.start()
        else:  # every connection, at the same moment
            for kind in ("normal", "pubsub"):
                with suppress(redis.RedisError):
                    server.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def problems(self) -> list[str]:
        endless = [
            key
            for server in self._servers
            for key in server.client.scan_iter(count=1000)
            if server.client.ttl(key) == -1
        ]
        return [f"keys without an end: {endless[:5]}"] if endless else []


class RedisQueues(OnRedis):
    backend = "channel_layers.redis.RedisChannelLayer"


class RedisPubSub(OnRedis):
    backend = "channel_layers.redis.RedisPubSubChannelLayer"


class ThreeRedis(RedisQueues):
    servers_count = 3


class SharedMemory(Site):
    backend = "channel_layers.ipc.IPCChannelLayer"

    @classmethod
    def is_available(cls) -> bool:
        return find_spec("channel_layers.ipc") is not None and find_spec("posix_ipc") is not None


SITES: dict[str, type[Site]] = {
    "redis": RedisQueues,
    "redis-pubsub": RedisPubSub,
    "redis-3": ThreeRedis,
    "ipc": SharedMemory,
}
