"""Who is compared. A new layer is one entry in ``LAYERS``; one without the verbs of a layer gets an adapter in
``peers/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from benchmarks.contenders import Contender

ABILITIES = {
    "direct": "sends to one channel by name",
    "normal": "channels on which any process may receive",
    "processes": "reaches other processes",
    "server": "runs on a server that may be restarted",
    "hosts": "spreads over several servers",
    "sentinel": "finds its server through Redis Sentinel",
    "prefix": "has a prefix of its own for each installation",
    "databases": "takes the number of a Redis database",
    "expiry": "lets messages expire",
    "capacity": "has a capacity for unread messages",
    "names": "says which names are legal",
    "types": "says which values a message may hold",
    "limit": "says how large a message may be",
    "loops": "belongs to no particular event loop",
    "notices": "has callbacks for a lost connection",
}
"""What scenarios may need. A layer lists what it lacks, with the reason that the page gives."""

IN_PROCESS = "lives in one process"
NO_SERVER = "has no server"
BROADCASTS = "broadcasts only; there is no sending to one receiver"
ANY_STRING = "its names are strings of any kind"
TEXT_ONLY = "carries text or bytes; what they mean is the program's business"
NO_LIMIT = "sets no limit to the size of a message"
ONE_LOOP = "belongs to the event loop in which it was started"

_NO_SERVER = {
    "server": NO_SERVER,
    "hosts": NO_SERVER,
    "sentinel": NO_SERVER,
    "databases": NO_SERVER,
    "notices": NO_SERVER,
}
_MEMORY = {**_NO_SERVER, "processes": IN_PROCESS, "prefix": IN_PROCESS}
_BROADCAST = {
    "direct": BROADCASTS,
    "normal": BROADCASTS,
    "expiry": "has no expiry",
    "names": ANY_STRING,
    "types": TEXT_ONLY,
    "limit": NO_LIMIT,
    "loops": ONE_LOOP,
    "notices": "has no such callbacks",
    "hosts": "takes one server",
}


@dataclass(frozen=True)
class Compared(Contender):
    """A layer as the comparison builds it: the benchmark's contender, and what it can."""

    title: str = ""
    """The head of its column."""

    family: str = ""
    """The table it stands in."""

    ours: bool = False

    servers: int = 0
    """How many Redis servers it runs on, where the scenario does not say."""

    cannot: Mapping[str, str] = field(default_factory=dict)
    """Keys of ``ABILITIES`` that it does not have, each with the reason."""

    style: str = "urls"
    """How it is told of its servers: a key of ``STYLES``."""

    plain_style: str = ""
    """The same as in the quick start of its documentation, where that is different."""

    limits: str = ""
    """What its own documentation says that it does not do."""

    library: str = ""
    """For an adapter: the module that it adapts."""

    @property
    def is_installed(self) -> bool:
        return super().is_installed and (not self.library or find_spec(self.library) is not None)

    def lacks(self, needs: tuple[str, ...]) -> str | None:
        """The reason why it cannot do a scenario with these needs; None if it can."""
        return next((self.cannot[need] for need in needs if need in self.cannot), None)

    def leading_to(self, way: Way, *, plain: bool = False) -> Compared:
        """The same with the way to its servers; ``plain``: as in the quick start of its documentation."""
        style = (plain and self.plain_style) or self.style
        return replace(self, config={**self.config, **STYLES[style](way)}) if way.is_somewhere else self


@dataclass(frozen=True)
class Way:
    """What leads to servers: their addresses and a database, or sentinels."""

    addresses: tuple[tuple[str, int], ...] = ()
    database: int = 0
    sentinels: tuple[tuple[str, int], ...] = ()
    master_name: str = ""

    @property
    def is_somewhere(self) -> bool:
        return bool(self.addresses or self.sentinels)

    @property
    def urls(self) -> list[str]:
        return [f"redis://{host}:{port}/{self.database}" for host, port in self.addresses]


def _urls(way: Way) -> dict[str, Any]:
    if way.sentinels:
        return {"hosts": [{"sentinels": list(way.sentinels), "master_name": way.master_name}]}
    if len(way.urls) == 1:
        return {"hosts": way.urls}
    # As the how-to for several servers says: names that stay when an address changes.
    return {"hosts": [{"address": url, "name": f"host-{n}"} for n, url in enumerate(way.urls)]}


def _dicts(way: Way) -> dict[str, Any]:
    """For channels_redis and its kin: they wait in reads of 5 s, and redis-py 8 by default fails a read after 5 s."""
    if way.sentinels:
        host = {"sentinels": list(way.sentinels), "master_name": way.master_name, "socket_timeout": None}
        return {"hosts": [host]}
    hosts = [{"host": host, "port": port, "db": way.database} for host, port in way.addresses]
    return {"hosts": [{**host, "socket_timeout": None} for host in hosts]}


def _plain(way: Way) -> dict[str, Any]:
    return {"hosts": list(way.addresses)}


def _one_url(way: Way) -> dict[str, Any]:
    if way.sentinels:
        return {"sentinels": list(way.sentinels), "master_name": way.master_name}
    return {"url": way.urls[0]}


def _primed_url(way: Way) -> dict[str, Any]:
    return {**_one_url(way), "is_primed": True}


STYLES = {"primed_url": _primed_url, "urls": _urls, "dicts": _dicts, "plain": _plain, "url": _one_url}

ONE_MACHINE, QUEUES, PUBSUB = "Without a server", "Queues on Redis", "Redis Pub/Sub"
_REDIS_PACKAGES = ("redis", "hiredis", "msgpack")

QUEUE = Compared(
    name="redis",
    title="channel_layers: Redis",
    family=QUEUES,
    ours=True,
    backend="channel_layers.redis.RedisChannelLayer",
    config={},
    packages=("channel_layers", *_REDIS_PACKAGES),
    programs=("redis-server",),
    shared=True,
    servers=1,
    cannot={"notices": "loses nothing at which it would have to call"},
)

LAYERS: tuple[Compared, ...] = (
    Compared(
        name="memory",
        title="channel_layers: memory",
        family=ONE_MACHINE,
        ours=True,
        backend="channel_layers.memory.InMemoryChannelLayer",
        config={},
        packages=("channel_layers",),
        cannot=_MEMORY,
    ),
    Compared(
        name="channels-memory",
        title="Channels: in-memory",
        family=ONE_MACHINE,
        backend="channels.layers.InMemoryChannelLayer",
        config={},
        packages=("channels", "asgiref", "Django"),
        cannot={**_MEMORY, "limit": NO_LIMIT},
        limits="for tests and local development, not for production; no two processes reach each other",
    ),
    Compared(
        name="fast-channels-memory",
        title="fast-channels: in-memory",
        family=ONE_MACHINE,
        backend="fast_channels.layers.in_memory.InMemoryChannelLayer",
        config={},
        packages=("fast-channels",),
        cannot={**_MEMORY, "limit": NO_LIMIT},
        limits="for development and tests",
    ),
    Compared(
        name="litestar-memory",
        title="Litestar: memory",
        family=ONE_MACHINE,
        backend="compare.peers.litestar.LitestarMemory",
        library="litestar",
        config={},
        packages=("litestar",),
        cannot={**_BROADCAST, **_MEMORY},
        note="with ``subscriber_max_backlog`` as the capacity, which is unlimited by default",
        limits="events are bytes; one process; useful for tests and for applications of one process",
    ),
    Compared(
        name="broadcaster-memory",
        title="broadcaster: memory",
        family=ONE_MACHINE,
        backend="compare.peers.broadcaster.BroadcasterMemory",
        library="broadcaster",
        config={},
        packages=("broadcaster",),
        cannot={**_BROADCAST, **_MEMORY, "capacity": "its queues have no bound"},
        limits="calls itself alpha; what is published is text",
    ),
    QUEUE,
    replace(
        QUEUE,
        name="redis-3",
        title="channel_layers: Redis, 3 servers",
        servers=3,
        cannot={**QUEUE.cannot, "sentinel": "is the column beside it, which takes Sentinels alike"},
        note="over three servers",
    ),
    Compared(
        name="channels-redis",
        title="channels_redis: queues",
        family=QUEUES,
        backend="channels_redis.core.RedisChannelLayer",
        config={},
        packages=("channels_redis", "channels", *_REDIS_PACKAGES),
        programs=("redis-server",),
        shared=True,
        servers=1,
        closing="close_pools",
        style="dicts",
        plain_style="plain",
        cannot={"notices": "has no such callbacks", "limit": NO_LIMIT},
        note="with ``socket_timeout`` None for its host, except where its defaults are the matter",
        limits="message expiry and capacity are those of the specification: the channels of a process share a capacity",
    ),
    Compared(
        name="fast-channels",
        title="fast-channels: queues",
        family=QUEUES,
        backend="fast_channels.layers.redis.core.RedisChannelLayer",
        config={},
        packages=("fast-channels", *_REDIS_PACKAGES),
        programs=("redis-server",),
        shared=True,
        servers=1,
        closing="close_pools",
        style="dicts",
        plain_style="plain",
        cannot={"notices": "has no such callbacks", "limit": NO_LIMIT},
        note="with ``socket_timeout`` None for its host, except where its defaults are the matter",
    ),
    Compared(
        name="litestar-stream",
        title="Litestar: Redis streams",
        family=QUEUES,
        backend="compare.peers.litestar.LitestarStream",
        library="litestar",
        config={},
        packages=("litestar", "redis"),
        programs=("redis-server",),
        shared=True,
        servers=1,
        style="url",
        cannot=_BROADCAST,
        note="with a history of 100, and ``subscriber_max_backlog`` as the capacity",
        limits="a stream is trimmed at about its history, and expires a minute after the latest message",
    ),
    Compared(
        name="broadcaster-stream",
        title="broadcaster: Redis streams",
        family=QUEUES,
        backend="compare.peers.broadcaster.BroadcasterStream",
        library="broadcaster",
        config={},
        packages=("broadcaster", "redis"),
        programs=("redis-server",),
        shared=True,
        servers=1,
        style="url",
        cannot={
            **_BROADCAST,
            "prefix": "has no prefix",
            "sentinel": "takes one URL",
            "capacity": "its queues have no bound",
        },
        limits="calls itself alpha; what is published is text; streams are never trimmed",
    ),
    Compared(
        name="redis-pubsub",
        title="channel_layers: Pub/Sub",
        family=PUBSUB,
        ours=True,
        backend="channel_layers.redis.RedisPubSubChannelLayer",
        config={},
        packages=("channel_layers", *_REDIS_PACKAGES),
        programs=("redis-server",),
        shared=True,
        servers=1,
    ),
    Compared(
        name="channels-redis-pubsub",
        title="channels_redis: Pub/Sub",
        family=PUBSUB,
        backend="channels_redis.pubsub.RedisPubSubChannelLayer",
        config={},
        packages=("channels_redis", "channels", *_REDIS_PACKAGES),
        programs=("redis-server",),
        shared=True,
        servers=1,
        closing="flush",
        style="dicts",
        plain_style="plain",
        cannot={"expiry": "has no expiry", "capacity": "has no capacity", "limit": NO_LIMIT},
        note="with ``socket_timeout`` None for its host, except where its defaults are the matter",
        limits="no capacity and no expiry; group_add for channels of the same process only",
    ),
    Compared(
        name="fast-channels-pubsub",
        title="fast-channels: Pub/Sub",
        family=PUBSUB,
        backend="fast_channels.layers.redis.pubsub.RedisPubSubChannelLayer",
        config={},
        packages=("fast-channels", *_REDIS_PACKAGES),
        programs=("redis-server",),
        shared=True,
        servers=1,
        closing="flush",
        style="dicts",
        plain_style="plain",
        cannot={"expiry": "has no expiry", "capacity": "has no capacity", "limit": NO_LIMIT},
        note="with ``socket_timeout`` None for its host, except where its defaults are the matter",
    ),
    Compared(
        name="litestar-redis",
        title="Litestar: Pub/Sub",
        family=PUBSUB,
        backend="compare.peers.litestar.LitestarPubSub",
        library="litestar",
        config={},
        packages=("litestar", "redis"),
        programs=("redis-server",),
        shared=True,
        servers=1,
        style="url",
        cannot=_BROADCAST,
        note="with ``subscriber_max_backlog`` as the capacity, which is unlimited by default",
        limits="no history",
    ),
    Compared(
        name="broadcaster-redis",
        title="broadcaster: Pub/Sub",
        family=PUBSUB,
        backend="compare.peers.broadcaster.BroadcasterRedis",
        library="broadcaster",
        config={},
        packages=("broadcaster", "redis"),
        programs=("redis-server",),
        shared=True,
        servers=1,
        style="primed_url",
        plain_style="url",
        cannot={
            **_BROADCAST,
            "prefix": "has no prefix",
            "sentinel": "takes one URL",
            "capacity": "its queues have no bound",
        },
        note="with a first subscription that nobody uses, except where its defaults are the matter: with today's "
        "redis-py, it hears nothing without one",
        limits="calls itself alpha; what is published is text",
    ),
)
