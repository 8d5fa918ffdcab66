"""Who is compared. A new layer is one entry in ``LAYERS``; one without the verbs of a layer gets an adapter in
``peers/``."""

from __future__ import annotations

from dataclasses import replace

from compare.contender import ABILITIES, Compared, Way

__all__ = ["ABILITIES", "LAYERS", "Compared", "Way"]

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
    cannot={"notices": "has no such callbacks"},
)

_ALL: tuple[Compared, ...] = (
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
        name="ipc",
        title="channel_layers: IPC",
        family=ONE_MACHINE,
        ours=True,
        backend="channel_layers.ipc.IPCChannelLayer",
        config={},
        packages=("channel_layers", "posix_ipc", "msgpack"),
        shared=True,
        cannot=_NO_SERVER,
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
        limits="for tests only",
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
        limits="mostly for tests and local development, not for several processes; a bounded backlog drops messages",
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
        limits="capacity is that of the specification, shared by the channels of a process; changing the list of hosts "
        "loses some of what lies there",
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
        limits="a stream is trimmed at about its history, and expires a minute after its latest message; a bounded "
        "backlog drops messages",
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
        limits="beta; messages can be dropped when the network fails",
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
        limits="no history; a bounded backlog drops messages",
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

LAYERS = tuple(layer for layer in _ALL if layer.is_installed or not layer.ours)
"""Without those of ours that this checkout does not have. A peer that is missing is an error."""
