"""What the tests of the Lua scripts share: a user with few rights, and a look at what the scripts leave behind."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import Any

import pytest
from redis_servers import RedisServer

from channel_layers.redis import scripts
from channel_layers.redis.keys import Keys

#: What a Redis user must be allowed to do for a queue layer, in the words of ``ACL SETUSER``.
COMMANDS = (
    *("blpop", "llen", "lindex", "lpop", "lpush", "rpush"),
    *("hdel", "hexists", "hget", "hgetall", "hincrby", "hset", "hsetnx"),
    *("sadd", "smembers", "srem"),
    *("xadd", "xdel", "xinfo|stream", "xlen", "xrange", "xread", "xtrim"),
    *("del", "exists", "get", "pexpire", "pttl", "rename", "scan", "set", "unlink"),
    *("eval", "evalsha", "script|load"),
    *("subscribe", "pubsub|numsub"),
    *("ping", "time"),
)

#: The same for some options of a host only: a ``db`` other than 0, and a ``client_name``.
COMMANDS_OF_OPTIONS = ("select", "client|setname")

PASSWORD = "secret"

# Times to live, in milliseconds, that can be told from each other when they are rounded up to ten seconds.
LEASE, EXPIRY, GROUP_TTL = 30_000, 60_000, 100_000

# Ages of messages that have expired, and that have long to live.
OLD, YOUNG = EXPIRY + 1, EXPIRY - 30_000


def rights(commands: Iterable[str], prefix: str) -> list[str]:
    """What follows the name in ``ACL SETUSER``."""
    return ["on", f">{PASSWORD}", f"~{prefix}:*", "resetchannels", f"&{prefix}:*", *(f"+{name}" for name in commands)]


class ScriptTests:
    """Every test runs on each version of Redis, as a user who may run just ``COMMANDS``, none of them dangerous.

    After it no key may be left that would stay for ever.
    """

    server: RedisServer
    prefix: str
    keys: Keys
    #: To look and to prepare, with all rights; the first decodes what it gets.
    redis: Any
    raw_redis: Any
    _user: Any

    @pytest.fixture(autouse=True, params=["redis_server", "redis_62_server"], ids=["7.0", "6.2"])
    def _server(self, request: pytest.FixtureRequest) -> Iterator[None]:
        self.server = request.getfixturevalue(request.param)
        self.prefix = prefix = f"test{secrets.token_hex(6)}"
        self.keys = Keys(prefix)
        self.raw_redis = self.server.client()
        login = {"username": prefix, "password": PASSWORD}
        with (
            closing(self.server.new_client(decode_responses=True)) as self.redis,
            closing(self.server.new_client(decode_responses=True, **login)) as user,
        ):
            self._user = user
            self.redis.execute_command("ACL", "SETUSER", prefix, *rights(COMMANDS, prefix), "-@dangerous")
            yield
            left = self.lifetimes()
            self.redis.acl_deluser(prefix)
            self.redis.delete("-", *self.redis.scan_iter(self.keys.pattern))
        assert None not in left.values(), left

    def run(self, script: scripts.Script, keys: Iterable[str], *args: Any) -> Any:
        """What a script returns; its text is loaded as the layer loads it."""
        assert self._user.script_load(script.text) == script.sha
        return self._user.evalsha(script.sha, len(keys := [*keys]), *keys, *args)

    # Looking

    def lifetimes(self) -> dict[str, int | None]:
        """All keys of the layer, without what is common to them: seconds to live, rounded up to tens, or None."""
        names = sorted(self.redis.scan_iter(self.keys.pattern))
        lifetimes = {name.removeprefix(self.keys.all): self.redis.pttl(name) for name in names}
        return {name: math.ceil(left / 10_000) * 10 if left >= 0 else None for name, left in lifetimes.items()}

    def now(self) -> int:
        """The server's time in milliseconds."""
        seconds, microseconds = self.redis.time()
        return seconds * 1000 + microseconds // 1000

    def entries(self, stream: str) -> list[list[str]]:
        return [[*chain(*fields.items())] for _, fields in self.redis.xrange(stream)]

    def ids(self, stream: str) -> list[str]:
        return [entry for entry, _ in self.redis.xrange(stream)]

    def payloads(self, stream: str) -> list[str]:
        return [fields[1] for fields in self.entries(stream)]

    def queue(self, channel: str) -> list[str]:
        """The payloads in the list of a normal channel."""
        return [element.partition(":")[2] for element in self.redis.lrange(self.keys.queue(channel), 0, -1)]

    def unread(self, client: str = "me") -> dict[str, int]:
        """The counters of a process, but for the one that keeps the key."""
        counters = {name: int(count) for name, count in self.redis.hgetall(self.keys.unread(client)).items()}
        assert counters.pop("", 1) == 1
        return counters

    def members(self, group: str = "g") -> dict[str, str]:
        members: dict[str, str] = self.redis.hgetall(self.keys.group(group))
        return members

    # Preparing

    def write(self, stream: str, *messages: tuple[str, str], age: int = 0, ttl: int = LEASE) -> None:
        """Append messages (to, payload) to a stream, as if they had been there for ``age`` milliseconds."""
        ms = self.now() - age
        for number, (to, payload) in enumerate(messages, start=1):
            self.redis.xadd(stream, {to: payload, "writer": number}, f"{ms}-{number}")
        self.redis.pexpire(stream, ttl)

    def count(self, client: str = "me", **unread: int) -> None:
        """Set the counters of a process; a keyword stands for its channel ``<client>!<keyword>``."""
        counters = {"": 1} | {f"{client}!{name}": count for name, count in unread.items()}
        self.redis.hset(self.keys.unread(client), mapping=counters)
        self.redis.pexpire(self.keys.unread(client), LEASE + 10_000)

    def fill(self, channel: str, *payloads: str, age: int = 0) -> None:
        """Append to a normal channel, as if it had been done ``age`` milliseconds ago."""
        elements = [f"{self.now() - age}:{payload}" for payload in payloads]
        self.redis.rpush(self.keys.queue(channel), *elements)
        self.redis.pexpire(self.keys.queue(channel), EXPIRY)

    def list_in_group(self, group: str = "g", **members: str) -> None:
        """Put processes on the list of a group, as they would stand there."""
        self.redis.hset(self.keys.group(group), mapping={f"@{name}": value for name, value in members.items()})
        self.redis.pexpire(self.keys.group(group), GROUP_TTL)

    def listed(self, age: int = 0, entry: str = "5-0") -> str:
        """How a process stands on a list, if its latest join is ``age`` milliseconds ago."""
        return f"{entry}|{self.now() - age}"

    # Scripts that more than one test needs, as the layer calls them

    def register(self, *counts: str | int, client: str = "me", position: str = "0-0") -> Any:
        keys = self.keys
        own = (keys.mailbox(client), keys.early(client), keys.unread(client), keys.epoch)
        return self.run(scripts.register, own, LEASE, position, *counts)

    def send(self, *messages: tuple[str, Any], capacity: int = 2, bound: int = 10, expiry: int = EXPIRY) -> Any:
        """Messages (channel, payload) to the channels of one process, whose capacity is ``capacity``."""
        client, keys = messages[0][0].partition("!")[0], self.keys
        to = (keys.mailbox(client), keys.unread(client), keys.early(client))
        numbered = ((channel, capacity, n, payload) for n, (channel, payload) in enumerate(messages, start=1))
        return self.run(scripts.send, to, bound, expiry, "writer", *chain(*numbered))

    def push(self, channel: str = "jobs", payload: Any = "m", capacity: int = 2, overflow: str = "new") -> Any:
        return self.run(scripts.push, [self.keys.queue(channel)], capacity, EXPIRY, overflow, payload)

    def control(self, what: str, channel: str, group: str = "g", bound: int = 10, client: str = "me") -> Any:
        group = "" if what == "discard" else group
        control, mailbox, early = (of(client) for of in (self.keys.control, self.keys.mailbox, self.keys.early))
        keys = (control, mailbox, self.keys.group(group) if group else control, early)
        return self.run(scripts.control, keys, what, client, group, channel, GROUP_TTL, bound)

    def group_send(self, group: str = "g", payload: Any = "m", bound: int = 10, overflow: str = "new") -> Any:
        limits = (bound, EXPIRY, LEASE, overflow)
        to = (self.keys.group(group),)
        return self.run(scripts.group_send, to, f"@{group}", self.keys.all, *limits, "writer", 1, payload)

    def queue_join(self, channel: str = "jobs", group: str = "g", expiry: int = 0, capacity: int = 2) -> Any:
        keys = (self.keys.group(group), self.keys.groups(channel))
        return self.run(scripts.queue_join, keys, channel, group, expiry, capacity, GROUP_TTL)
