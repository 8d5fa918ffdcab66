"""What the Redis Pub/Sub layer asks of the server: few subscriptions, no needless command, no name but its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from numbered import until
from proxy import TcpProxy
from pubsub_sites import PubSubSite, take
from redis_scripts import COMMANDS, PASSWORD, rights
from redis_servers import SEND_TIMEOUT, RedisServer
from sites import DEADLINE, use

from channel_layers import ChannelFull, LayerUnavailable
from channel_layers.conformance.running import Child, within
from channel_layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channel_layers.redis.pubsub import shard as shard_module

#: What layers do now and then by themselves, and the tests.
_IGNORED = {
    "client|setname",
    "ping",
    "time",
    "info",
    "config|resetstat",
    "config",
    "client|list",
    "client",
    "pubsub|channels",
    "pubsub",
}


@pytest.fixture
def site(redis_server: RedisServer) -> Iterator[PubSubSite]:
    site = PubSubSite(redis_server)
    yield site
    site.close()


@pytest.fixture
def own_site(own_redis_server: RedisServer) -> Iterator[PubSubSite]:
    site = PubSubSite(own_redis_server)
    yield site
    site.close()


class Commands:
    """Counts the commands that a server, which serves nobody else, has carried out since then."""

    def __init__(self, site: PubSubSite) -> None:
        self._client = site.server.client()
        self.forget()

    def forget(self) -> None:
        self._client.config_resetstat()

    def read(self) -> dict[str, int]:
        counts = {name.removeprefix("cmdstat_"): each["calls"] for name, each in self._all().items()}
        return {name: count for name, count in counts.items() if name not in _IGNORED and "pubsub" not in name}

    def _all(self) -> dict[str, Any]:
        return dict(self._client.info("commandstats"))


@pytest.mark.asyncio
class TestHowMany:
    async def test_one_for_all_channels_of_a_process(self, own_site: PubSubSite) -> None:
        """Ten thousand: from the second on, nothing is asked of the server."""
        layer, sender = own_site.layer(), own_site.layer()
        await layer.new_channel()
        await sender.group_send("nobody", {})
        await until(lambda: layer._client.shards[0].reading.connection, "it is at work")
        commands = Commands(own_site)
        channels = [await layer.new_channel() for _ in range(9_999)]
        assert commands.read() == {}
        mailbox = f"mailbox:{layer.client_prefix}"
        assert own_site.subscribed() == {mailbox: 1, "everyone": 1}
        for channel in channels[::1_000]:
            await sender.send(channel, {"to": channel})
            assert await take(layer, channel) == {"to": channel}
        assert own_site.subscribed() == {mailbox: 1, "everyone": 1}
        assert set(commands.read()) == {"publish"}

    async def test_no_byte_for_what_changes_nothing(self, redis_server: RedisServer, site: PubSubSite) -> None:
        """Counted on the way, in both directions."""
        with TcpProxy(*redis_server.address) as proxy:
            async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix) as layer:
                first = await layer.new_channel()
                await layer.group_add("room", first)
                shard = layer._client.shards[0]
                shard._pulse_task.cancel()  # it asks now and then whether the server is there
                for _ in range(20):
                    await layer.group_send("nobody", {})
                await until(lambda: shard.reading.connection and shard.near.connection, "it is at home")
                await self._until_quiet(proxy)
                before = proxy.bytes_to_target, proxy.bytes_to_client
                channels = [await layer.new_channel() for _ in range(100)]
                for channel in channels:
                    for _ in "12":
                        await layer.group_add("room", channel)
                for channel in channels:
                    for _ in "12":
                        await layer.group_discard("room", channel)
                    await layer.discard_channel(channel)
                await layer.group_discard("empty", first)
                await layer.group_add("room", first)
                for waiting in [asyncio.create_task(layer.receive(channel)) for channel in channels]:
                    await asyncio.sleep(0)
                    waiting.cancel()
                await self._until_quiet(proxy)
                assert (proxy.bytes_to_target, proxy.bytes_to_client) == before
                await layer.group_discard("room", first)
                await until(lambda: proxy.bytes_to_target > before[0], "this changes something, and is counted")

    async def _until_quiet(self, proxy: TcpProxy) -> None:
        """Nothing is on its way any more: the counters follow a moment after the bytes."""
        count = -1
        while count != (count := proxy.bytes_to_target + proxy.bytes_to_client):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)

    async def test_one_for_each_group(self, own_site: PubSubSite) -> None:
        """As long as it has members: a hundred of them are asked for once."""
        layer = own_site.layer()
        channels = [await layer.new_channel() for _ in range(100)]
        await until(lambda: layer._client.shards[0].reading.connection, "it is at work")
        commands = Commands(own_site)
        await asyncio.gather(*(layer.group_add("room", channel) for channel in channels))
        assert own_site.subscribers("group:room") == 1
        assert commands.read() == {"subscribe": 1}
        for channel in channels[1:]:
            await layer.group_discard("room", channel)
        assert commands.read() == {"subscribe": 1}
        await layer.group_discard("room", channels[0])
        await own_site.until_subscribers("group:room", 0)
        assert commands.read() == {"subscribe": 1, "unsubscribe": 1}

    async def test_none_when_the_last_channel_is_discarded(self, site: PubSubSite) -> None:
        layer = site.layer()
        channels = [await layer.new_channel() for _ in "12"]
        for group in ("one", "both"):
            await layer.group_add(group, channels[0])
        await layer.group_add("both", channels[1])
        await layer.discard_channel(channels[0])
        await site.until_subscribers("group:one", 0)
        assert site.subscribers("group:both") == 1
        await layer.discard_channel(channels[1])
        await site.until_subscribers("group:both", 0)

    @pytest.mark.parametrize("noticed_by", ["a message", "another join", "nothing"])
    async def test_none_when_the_last_membership_has_expired(
        self, site: PubSubSite, noticed_by: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if noticed_by == "nothing":
            monkeypatch.setattr(shard_module, "_PULSE", 0.05)
        layer = site.layer(group_expiry=3.0)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        assert site.subscribers("group:room") == 1

        async def notice() -> None:
            while site.subscribers("group:room"):
                if noticed_by == "a message":
                    await layer.group_send("room", {})
                elif noticed_by == "another join":
                    await layer.group_add("other", channel)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(layer.receive(channel), 0.01)

        await within(DEADLINE, notice(), "the group is unsubscribed")

    async def test_none_after_the_end(self, site: PubSubSite) -> None:
        """However a process ends, the server forgets it with its connections."""
        layer = site.layer()
        await layer.group_add("room", await layer.new_channel())

        async def work(child: Child) -> None:
            await layer.group_add("room", await layer.new_channel())
            child.tell("it may be killed now")
            await asyncio.Event().wait()

        child = Child(work, DEADLINE)
        try:
            await child.hear()
            assert site.subscribers("group:room") == 2
        finally:
            child.end()
        await site.until_subscribers("group:room", 1)
        await layer.close()
        assert site.subscribed() == {}
        await use(layer)
        assert site.subscribers("group:room") == 0, "close() ends memberships"


class TestNames:
    @pytest.mark.asyncio
    async def test_all_contain_prefix_and_database(self, own_redis_server: RedisServer) -> None:
        """Keys and what is published: nothing is said or kept under any other name."""
        prefix, database = "a.b-c_D", 3
        layer = RedisPubSubChannelLayer([{"address": own_redis_server.url, "db": database}], prefix=prefix)
        client = own_redis_server.client()
        with client.monitor() as monitor:
            await use(layer)
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            await layer.flush()
            await until(lambda: "room" not in str(client.pubsub_channels()), "the group is left")
            await layer.close()
            client.echo("that was all")
            lines = []
            while not lines or "that was all" not in lines[-1]["command"]:
                lines.append(monitor.next_command())
        named = {"subscribe", "unsubscribe", "publish", "get", "rpush", "blpop", "lpop", "lpush", "unlink"}
        seen = set()
        for command in (line["command"].split(" ") for line in lines):
            verb = command[0].lower()
            if verb in named:
                seen.add(verb)
                for name in [command[1]] if verb != "blpop" else command[1:-1]:
                    assert name.startswith(f"{prefix}:cl1:pubsub:{database}:"), command
            if verb == "evalsha":
                for name in command[3 : 3 + int(command[2])]:
                    assert name.startswith(f"{prefix}:cl1:pubsub:{database}:"), command
        assert seen >= {"subscribe", "unsubscribe", "publish", "get", "blpop"}

    @pytest.mark.asyncio
    async def test_layers_that_differ_in_prefix_database_or_kind(self, own_redis_server: RedisServer) -> None:
        """None gets what another sends, and the flush of one leaves the others as they are."""
        spots = [("a", 0), ("a.b", 0), ("A", 0), ("a", 1), ("a", 10), ("b", 1)]
        kinds = [*([RedisPubSubChannelLayer] * len(spots)), RedisChannelLayer, RedisChannelLayer]
        layers: list[Any] = [
            kind([{"address": own_redis_server.url, "db": db}], prefix=prefix)
            for kind, (prefix, db) in zip(kinds, [*spots, ("a", 0), ("a", 1)], strict=True)
        ]
        try:
            own = [await layer.new_channel() for layer in layers]
            for layer, channel in zip(layers, own, strict=True):
                await layer.group_add("room", channel)
                await layer.group_add("room", "jobs")
            for flushed in (0, len(spots)):
                for mark, layer in enumerate(layers):
                    await layer.group_send("room", {"group": mark})
                    for channel in ("jobs", *own):  # also to channels of others
                        await layer.send(channel, {"direct": mark})
                for layer in layers:
                    await until(lambda layer=layer: layer.statistics().unread == 2, "what is its own arrives")
                await layers[flushed].flush()
                for mark, (layer, channel) in enumerate(zip(layers, own, strict=True)):
                    for name in ("jobs", channel):
                        for message in ({"group": mark}, {"direct": mark}):
                            if mark != flushed:
                                assert await take(layer, name) == message
                    for name in ("jobs", channel):
                        await layer.send(name, {"last": mark})
                        assert await take(layer, name) == {"last": mark}, "nothing else comes"
                        await layer.group_add("room", name)
        finally:
            for layer in layers:
                await layer.close()

    @pytest.mark.asyncio
    async def test_rights(self, own_redis_server: RedisServer) -> None:
        """A user who may do nothing but what the layer needs, under names of this prefix."""
        site = PubSubSite(own_redis_server)
        needed = (*COMMANDS, "publish", "unsubscribe")
        with closing(own_redis_server.new_client()) as admin:
            admin.execute_command("ACL", "SETUSER", "app", *rights(needed, site.prefix), "-@dangerous")
            host = {"address": own_redis_server.url, "username": "app", "password": PASSWORD}
            async with RedisPubSubChannelLayer([host], prefix=site.prefix) as layer:
                await use(layer)
                await layer.group_add("room", await layer.new_channel())
                await layer.flush()
                await use(layer)
            log = admin.execute_command("ACL", "LOG")
            assert not log, log
            async with RedisPubSubChannelLayer([host], prefix=f"{site.prefix}x", send_timeout=SEND_TIMEOUT) as layer:
                with pytest.raises(LayerUnavailable, match="NOPERM"):
                    await layer.new_channel()
                with pytest.raises(LayerUnavailable, match="NOPERM"):
                    await layer.group_send("room", {})

    @pytest.mark.asyncio
    @pytest.mark.parametrize("whose", ["own", "another's"])
    async def test_a_join_that_the_server_refuses_is_none(self, own_redis_server: RedisServer, whose: str) -> None:
        """It raises, and can be repeated when the server has changed its mind."""
        site = PubSubSite(own_redis_server)
        with closing(own_redis_server.new_client()) as admin:
            may = rights((*COMMANDS, "publish", "unsubscribe"), site.prefix)
            only = ["resetchannels", f"&{site.keys.mailbox('*')}", f"&{site.keys.everyone}"]
            admin.execute_command("ACL", "SETUSER", "app", *may, *only)
            host = {"address": own_redis_server.url, "username": "app", "password": PASSWORD}
            async with RedisPubSubChannelLayer([host], prefix=site.prefix) as layer, site.layer() as other:
                channel = await layer.new_channel()
                group_add = layer.group_add if whose == "own" else other.group_add
                with pytest.raises(LayerUnavailable, match="NOPERM"):
                    await group_add("room", channel)
                admin.execute_command("ACL", "SETUSER", "app", f"&{site.prefix}:*")
                await group_add("room", channel)
                await other.group_send("room", {"n": 1})
                assert await take(layer, channel) == {"n": 1}


class Watch:
    """Looks again and again whether a key of a site has no time to live."""

    def __init__(self, site: PubSubSite) -> None:
        self.endless: set[str] = set()
        self.kinds: set[str] = set()
        self._pattern = f"{site.prefix}:*"
        self._client = site.server.new_client()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            for key in self._client.scan_iter(self._pattern, count=10_000):
                self.kinds.add(key.decode().split(":")[4])
                if self._client.pttl(key) == -1:
                    self.endless.add(key.decode())


@pytest.mark.asyncio
@pytest.mark.parametrize("group_expiry", [20, None])
async def test_every_key_has_a_time_to_live(site: PubSubSite, group_expiry: float | None) -> None:
    """At any moment; so what nobody needs any more is gone some time, however the processes end."""
    options: dict[str, Any] = {"capacity": 3, "expiry": 5, "group_expiry": group_expiry}
    one, other = site.layer(**options), site.layer(**options)
    with Watch(site) as watch:
        for _ in range(3):
            await use(one)
            await use(other)
            for name in (await one.new_channel(), "jobs", "never.read"):
                await one.group_add("room", name)
            for n in range(10):  # more than a channel holds
                await other.group_send("room", {"n": n})
                for name in ("jobs", "never.read"):
                    with contextlib.suppress(ChannelFull):
                        await other.send(name, {"n": n})
            assert await within(DEADLINE, one.receive("jobs"), "a message arrives") == {"n": 0}
            for name in ("jobs", "never.read"):
                await other.group_discard("room", name)
            await until(lambda: {"queue", "group", "groups"} <= watch.kinds, "they are seen")
            await one.flush()
            await other.close()
            assert {key.split(":")[4] for key in site.held()} <= {"epoch", "servers", "flushed", "wake"}
    assert watch.endless == set()
    assert watch.kinds >= {"queue", "group", "groups", "epoch"}
