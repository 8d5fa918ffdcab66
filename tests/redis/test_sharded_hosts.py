"""Processes whose lists of hosts differ are told so, and hosts of every kind serve one layer together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from numbered import until
from redis_servers import DEADLINE, RedisServer, require_server
from server_options import certificates, redis_sentinel, redis_server, tls_lines, tls_options
from sharded_sites import LAYERS, ShardedSite, take

from channel_layers import InvalidChannelLayerError
from channel_layers.redis.pubsub import shard as pubsub_shard
from channel_layers.redis.shard import Shard

#: Seconds after which a process that is gone is forgotten.
LEASE = 1.2


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RedisServer(require_server("redis-server"))) for _ in range(4)]


class Watch:
    """How often each client has asked each server for the hosts of the others, and the warnings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self._caplog = caplog
        agree = Shard.agree

        async def noted(shard: Shard, connection: Any) -> None:
            await agree(shard, connection)
            self.asked[shard.client, shard.server.name] += 1

        monkeypatch.setattr(Shard, "agree", noted)
        monkeypatch.setattr(pubsub_shard, "_PULSE", LEASE / 3)
        caplog.set_level(logging.WARNING, "channel_layers")

    @property
    def warnings(self) -> list[str]:
        return [text for text in self._caplog.messages if "do not have the same hosts" in text]

    async def often(self, *layers: Any) -> None:
        """Each of these asks each of its servers several times more."""
        before = self.asked.copy()

        def have() -> bool:
            return all(
                self.asked[layer.client_prefix, server.name] - before[layer.client_prefix, server.name] > 3
                for layer in layers
                for server in layer._servers
            )

        await until(have, lambda: f"they ask: {self.asked}")


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Watch:
    return Watch(monkeypatch, caplog)


@pytest_asyncio.fixture(params=LAYERS)
async def site(request: pytest.FixtureRequest, servers: list[RedisServer]) -> AsyncIterator[ShardedSite]:
    site = ShardedSite(request.param, servers)
    yield site
    await site.close()


async def begin(*layers: Any) -> None:
    """They read, one after the other."""
    for layer in layers:
        channel = await layer.new_channel()
        await layer.send(channel, {"n": 0})
        assert await take(layer, channel) == [0]


@pytest.mark.asyncio
class TestDifferingHosts:
    async def test_order_is_no_difference(self, site: ShardedSite, watch: Watch) -> None:
        one, other = site.layer(lease=LEASE), site.layer(site.hosts[::-1], lease=LEASE)
        await begin(one, other)
        await watch.often(one, other)
        assert watch.warnings == []

    async def test_one_has_more(self, site: ShardedSite, watch: Watch) -> None:
        """Once, though they meet at three servers, and ask each again and again."""
        one, other = site.layer(site.hosts[:3], lease=LEASE), site.layer(lease=LEASE)
        await begin(one)
        await watch.often(one)
        await begin(other)
        await watch.often(one, other)
        (warning,) = watch.warnings
        more = one._servers[0].name, other._servers[3].name
        assert f"this one has {more[1]} besides" in warning
        assert "another has no host besides" in warning

    async def test_one_has_less(self, site: ShardedSite, watch: Watch) -> None:
        one, other = site.layer(lease=LEASE), site.layer(site.hosts[:1], lease=LEASE)
        await begin(one)
        await watch.often(one)
        await begin(other)
        await watch.often(one, other)
        (warning,) = watch.warnings
        assert "this one has no host besides" in warning
        assert f"another has {', '.join(sorted(server.name for server in one._servers[1:]))} besides" in warning

    async def test_each_has_one_that_the_other_lacks(self, site: ShardedSite, watch: Watch) -> None:
        first, second, third, _ = site.hosts
        one, other = site.layer([first, second], lease=LEASE), site.layer([third, first], lease=LEASE)
        await begin(one)
        await watch.often(one)
        await begin(other)
        await watch.often(one, other)
        (warning,) = watch.warnings
        assert f"this one has {other._servers[0].name} besides" in warning
        assert f"another has {one._servers[1].name} besides" in warning

    async def test_the_same_servers_by_other_names(self, site: ShardedSite, watch: Watch) -> None:
        first, second, *_ = site.hosts
        one = site.layer([first, second], lease=LEASE)
        other = site.layer([first, {"address": second, "name": "second"}], lease=LEASE)
        await begin(one)
        await watch.often(one)
        await begin(other)
        await watch.often(one, other)
        (warning,) = watch.warnings
        assert "this one has second besides" in warning

    async def test_another_prefix_has_its_own_hosts(self, site: ShardedSite, watch: Watch) -> None:
        other_site = ShardedSite(site.layer_class, site.servers)
        one, other = site.layer(lease=LEASE), other_site.layer(site.hosts[:2], lease=LEASE)
        await begin(one, other)
        await watch.often(one, other)
        await other_site.close()
        assert watch.warnings == []

    async def test_those_who_are_gone_are_forgotten(self, site: ShardedSite, watch: Watch) -> None:
        old = site.layer(site.hosts[:2], lease=LEASE)
        await begin(old)
        await old.close()
        keys = [f"{site.prefix}:cl1:servers", f"{site.prefix}:cl1:pubsub:0:servers"]
        await until(
            lambda: not any(server.client().exists(*keys) for server in site.servers), "the old hosts are forgotten"
        )
        new = site.layer(lease=LEASE)
        await begin(new)
        await watch.often(new)
        assert watch.warnings == []


@pytest.mark.parametrize("layer_class", LAYERS)
@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        ([("h", 1), ("i", 1), ("h", 1)], r"hosts\[2\] is the same server as hosts\[0\]: h:1/0"),
        ([("h", 1), {"address": "redis://h:1", "name": "x"}], r"hosts\[1\] is the same server as hosts\[0\]"),
        ([{"host": "a", "name": "x"}, "redis://b", {"host": "c", "name": "x"}], r"hosts\[2\] has the same name"),
        ([{"host": "a", "name": "b:6379/0"}, "redis://b"], r"hosts\[1\] has the same name as hosts\[0\]"),
        (["redis://h", {"host": "i", "cluster": True}], r"hosts\[1\]: cluster: Redis Cluster is not supported"),
        (["redis://h", "redis+cluster://i"], r"hosts\[1\]: redis\+cluster: Redis Cluster is not supported"),
    ],
)
def test_hosts_that_cannot_be(layer_class: Any, hosts: list[Any], text: str) -> None:
    with pytest.raises(InvalidChannelLayerError, match=text):
        layer_class(hosts=hosts)


@pytest.mark.parametrize("layer_class", LAYERS)
@pytest.mark.asyncio
async def test_hosts_of_every_kind_together(layer_class: Any, servers: list[RedisServer], tmp_path: Path) -> None:
    """A plain one, a socket file, TLS with a password behind Sentinels that have both, a password behind Sentinels."""
    paths, secret = certificates(tmp_path), ("--requirepass", "secret")
    guarded = "requirepass guarded", "sentinel auth-pass mymaster secret"
    tls = {"ssl": True, "ssl_ca_certs": paths["ca"]}
    with contextlib.ExitStack() as stack:
        start = stack.enter_context
        encrypted = start(redis_server(tmp_path, *secret, *tls_options(paths), tls=True))
        locked = start(redis_server(tmp_path, *secret))
        encrypted_sentinel = start(redis_sentinel(tmp_path, encrypted, *guarded, *tls_lines(paths), tls=True))
        sentinel = start(redis_sentinel(tmp_path, locked, *guarded))
        behind = {"master_name": "mymaster", "password": "secret"}
        hosts = [
            servers[0].address,
            servers[1].unix_url,
            {
                **behind,
                **tls,
                "name": "encrypted",
                "sentinels": [("127.0.0.1", encrypted_sentinel)],
                "sentinel_kwargs": {"password": "guarded", **tls},
            },
            {
                **behind,
                "name": "locked",
                "sentinels": [("127.0.0.1", sentinel)],
                "sentinel_kwargs": {"password": "guarded"},
            },
        ]
        site = ShardedSite(layer_class, servers, hosts)
        sender, receiver = site.layer(send_timeout=DEADLINE), site.layer(send_timeout=DEADLINE)
        channels, rooms, jobs = await site.channels(receiver), site.names("room"), site.names("jobs")
        for room in rooms:
            for channel in channels:
                await receiver.group_add(room, channel)
        waiting = [asyncio.create_task(take(receiver, name)) for name in jobs]
        for name in (*channels, *jobs):
            await sender.send(name, {"n": 0})
        for n, room in enumerate(rooms, 1):
            await sender.group_send(room, {"n": n})
        for channel in channels:
            assert sorted(await take(receiver, channel, 5)) == [0, 1, 2, 3, 4]
        assert await asyncio.gather(*waiting) == [[0]] * 4
        await site.close()


def test_a_password_is_in_no_name_that_servers_keep(servers: list[RedisServer]) -> None:
    secret = secrets.token_hex(8)
    layer = LAYERS[0]([servers[0].address, {"address": f"redis://user:{secret}@localhost:1"}])
    assert "localhost:1/0" in layer._terms.servers
    assert secret not in layer._terms.servers
