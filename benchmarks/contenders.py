"""Who is measured: each of our layers, with the peer it is compared to. A new layer is one entry in ``CONTENDERS``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Protocol

from benchmarks.queue_peer import inherited_queue
from benchmarks.redis_server import private_redis, three_private_redis

# Far above what any workload leaves unread: a layer that drops messages at its capacity would be measured doing less.
CAPACITY = 1_000_000


class Layer(Protocol):
    """What the workloads call; both our layers and their peers have it. How one is closed, its contender says."""

    async def send(self, channel: str, message: dict[str, Any]) -> None: ...

    async def receive(self, channel: str) -> dict[str, Any]: ...

    async def new_channel(self) -> str: ...

    async def group_add(self, group: str, channel: str) -> None: ...

    async def group_discard(self, group: str, channel: str) -> None: ...

    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...

    async def flush(self) -> None: ...


def as_yielded(server: Mapping[str, Any]) -> Mapping[str, Any]:
    """For layers that take what the server yields."""
    return server


def without_read_timeout(server: Mapping[str, Any]) -> Mapping[str, Any]:
    """For channels_redis: it waits in reads of 5 s, and redis-py 8 by default fails a read after 5 s."""
    hosts = [{"host": host, "port": port, "socket_timeout": None} for host, port in server["hosts"]]
    return {**server, "hosts": hosts}


def nothing() -> Mapping[str, Any]:
    """For layers whose processes have nothing in common from their beginning."""
    return {}


def no_server() -> AbstractContextManager[Mapping[str, Any]]:
    """For layers that need none."""
    return nullcontext({})


@dataclass(frozen=True)
class Contender:
    """One layer as the benchmark builds it. It travels to the process of every round, so it holds no lambda."""

    name: str
    """For people and for ``--layer``."""

    backend: str
    """Dotted path of the class: a round's process imports no other layer."""

    config: Mapping[str, Any] = field(default_factory=lambda: {"capacity": CAPACITY})
    """Keyword arguments of the class."""

    packages: tuple[str, ...] = ()
    """The distributions whose versions belong beside the numbers."""

    programs: tuple[str, ...] = ()
    """The same for commands that are no Python packages."""

    shared: bool = False
    """Whether two objects reach each other, in two processes too. If so, sender and receiver are two, as they are in a
    deployment."""

    server: Callable[[], AbstractContextManager[Mapping[str, Any]]] = no_server
    """Starts what the layer needs, once for the whole run, and yields the keyword arguments that lead there. Two layers
    with the same function share what it starts."""

    arguments: Callable[[Mapping[str, Any]], Mapping[str, Any]] = as_yielded
    """From what the server yields to keyword arguments of this class."""

    note: str = ""
    """What a reader of the results should know of it."""

    closing: str = "close"
    """The verb that ends a layer object."""

    peer: Contender | None = None
    """What one would use instead; None for a peer itself."""

    inherited: Callable[[], Mapping[str, Any]] = nothing
    """Made in the first process of a round and inherited by the others: keyword arguments of the class, too."""

    workloads: tuple[str, ...] = ()
    """The only ones it is measured by; none: all but those that are for some layers only."""

    targets: Mapping[str, float] = field(default_factory=dict)
    """Figure -> the ratio to the peer that the project promises. For most figures it is the smallest, where less is
    better the largest."""

    @property
    def is_installed(self) -> bool:
        try:
            return find_spec(self.backend.rpartition(".")[0]) is not None
        except ModuleNotFoundError:  # not even what the module lies in
            return False

    @property
    def pair(self) -> tuple[Contender, ...]:
        """Itself and, if it has one, its peer."""
        return (self, self.peer) if self.peer else (self,)

    def reaching(self, server: Mapping[str, Any]) -> Contender:
        """The same with the way to a server in its configuration."""
        return replace(self, config={**self.config, **self.arguments(server)})

    def inheriting(self) -> Contender:
        """The same with what the processes of one round have in common in its configuration."""
        return replace(self, config={**self.config, **self.inherited()})

    def make(self) -> Layer:
        module, _, name = self.backend.rpartition(".")
        layer: Layer = getattr(importlib.import_module(module), name)(**self.config)
        return layer

    def build(self) -> tuple[Layer, Layer]:
        """Sender and receiver."""
        sender = self.make()
        return sender, self.make() if self.shared else sender

    async def close(self, layer: Layer) -> None:
        await getattr(layer, self.closing)()


REDIS = Contender(
    name="redis",
    backend="channel_layers.redis.RedisChannelLayer",
    config={"capacity": CAPACITY, "mailbox_capacity": CAPACITY},
    packages=("channel_layers", "redis", "hiredis", "msgpack"),
    programs=("redis-server",),
    shared=True,
    server=private_redis,
    targets={"pingpong": 4, "conc100": 30, "fan1000": 15, "xproc": 20, "latency p50": 0.55},
    peer=Contender(
        name="channels-redis",
        backend="channels_redis.core.RedisChannelLayer",
        packages=("channels_redis", "channels", "asgiref", "Django"),
        shared=True,
        server=private_redis,
        arguments=without_read_timeout,
        note="with ``socket_timeout`` None for its host, without which redis-py 8 ends an idle receive after 5 s",
        closing="close_pools",
    ),
)

CHANNELS_REDIS_PUBSUB = Contender(
    name="channels-redis-pubsub",
    backend="channels_redis.pubsub.RedisPubSubChannelLayer",
    config={},
    packages=("channels_redis", "channels", "asgiref", "Django"),
    shared=True,
    server=private_redis,
    arguments=without_read_timeout,
    note="with ``socket_timeout`` None for its host, without which redis-py 8 ends its subscription after 5 s",
    closing="flush",
)

MEMORY = Contender(
    name="memory",
    backend="channel_layers.memory.InMemoryChannelLayer",
    packages=("channel_layers",),
)

IPC = Contender(
    name="ipc",
    backend="channel_layers.ipc.IPCChannelLayer",
    config={"prefix": "benchmark", "capacity": CAPACITY},
    packages=("channel_layers", "posix_ipc", "msgpack"),
    shared=True,
)

CONTENDERS: tuple[Contender, ...] = (
    replace(
        MEMORY,
        targets={"pingpong": 3, "conc100": 3.5, "fan1000": 80, "idle10k": 800},
        peer=Contender(
            name="channels-memory",
            backend="channels.layers.InMemoryChannelLayer",
            packages=("channels", "asgiref", "Django"),
        ),
    ),
    REDIS,
    Contender(
        name="redis-pubsub",
        backend="channel_layers.redis.RedisPubSubChannelLayer",
        packages=("channel_layers", "redis", "hiredis", "msgpack"),
        programs=("redis-server",),
        shared=True,
        server=private_redis,
        targets={"pingpong": 2.2, "conc100": 10, "fan1000": 2, "join": 8, "xproc": 8, "latency p50": 0.85},
        peer=CHANNELS_REDIS_PUBSUB,
    ),
    replace(
        REDIS,
        name="redis-3",
        server=three_private_redis,
        note="over three servers on this machine; its peer is the same layer over one",
        targets={"conc100": 0.7},
        peer=replace(REDIS, peer=None, targets={}),
    ),
    replace(
        IPC,
        workloads=("pingpong", "conc100", "fan1000", "idle10k", "join", "xproc", "latency", "crowd"),
        targets={"latency p50": 0.4},
        peer=CHANNELS_REDIS_PUBSUB,
    ),
    replace(
        IPC,
        name="ipc-memory",
        note="beside our layer in memory: what it costs to reach other processes, where there are none",
        workloads=("pingpong", "conc100", "fan1000", "idle1k", "idle10k", "idle100k"),
        targets={"pingpong": 0.25, "conc100": 0.25, "fan1000": 0.25},
        peer=MEMORY,
    ),
    replace(
        IPC,
        name="ipc-queue",
        workloads=("xproc",),
        targets={"xproc": 1.2},
        peer=Contender(
            name="multiprocessing-queue",
            backend="benchmarks.queue_peer.QueueLayer",
            config={},
            shared=True,
            inherited=inherited_queue,
            note="of the standard library: no names, groups, capacity or expiry; its receiver holds up its event loop",
        ),
    ),
)
