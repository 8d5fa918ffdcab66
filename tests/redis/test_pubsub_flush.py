"""Emptying the Redis Pub/Sub layer: when flush() returns, it is empty for every process, whatever that process does."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from numbered import until
from proxy import TcpProxy
from pubsub_sites import PubSubSite, take
from redis_servers import SHORT_LEASE, RedisServer
from sites import DEADLINE, use

from channel_layers.conformance.running import Child, within
from channel_layers.redis import RedisPubSubChannelLayer


@pytest.fixture
def site(redis_server: RedisServer) -> Iterator[PubSubSite]:
    site = PubSubSite(redis_server)
    yield site
    site.close()


async def fill(layer: RedisPubSubChannelLayer) -> str:
    """A channel that holds three messages, and is a member of the group ``room``."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    before = layer.statistics().unread
    for n in range(3):
        await layer.send(channel, {"before": n})
    await until(lambda: layer.statistics().unread == before + 3, "they arrive")
    return channel


async def check_empty(sender: RedisPubSubChannelLayer, layer: RedisPubSubChannelLayer, channel: str) -> None:
    """The channel holds nothing, is no member, and works."""
    await sender.group_send("room", {"group": "it is no member"})
    await sender.send(channel, {"last": True})
    assert await take(layer, channel) == {"last": True}


@pytest.mark.asyncio
class TestProcessesThatAnswer:
    async def test_all_are_empty(self, site: PubSubSite) -> None:
        layers = [site.layer() for _ in range(3)]
        channels = [await fill(layer) for layer in layers]
        for n in range(200):
            await layers[0].send(f"jobs.{n}", {})
            await layers[0].group_add("queues", f"jobs.{n}")
        await within(DEADLINE, layers[1].flush(), "flush() returns")
        assert [layer.statistics().unread for layer in layers] == [0, 0, 0]
        assert [layer.statistics().dropped for layer in layers] == [{"flushed": 3}] * 3
        await site.until_subscribers("group:room", 0)
        kinds = {key.removeprefix(site.keys.all).partition(":")[0] for key in site.held()}
        assert kinds <= {"epoch", "servers", "flushed"}
        for layer, channel in zip(layers, channels, strict=True):
            await check_empty(layers[0], layer, channel)
        await layers[2].group_send("queues", {"n": 1})
        assert not site.held("queue:*")

    async def test_those_who_wait_wait_on(self, site: PubSubSite) -> None:
        layer, other = site.layer(), site.layer()
        channel = await layer.new_channel()
        waiting = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs")]
        await use(layer)
        for _ in range(3):
            await other.flush()
        for name, one in zip((channel, "jobs"), waiting, strict=True):
            assert not one.done()
            await other.send(name, {"to": name})
            assert await within(DEADLINE, one, "it comes") == {"to": name}

    async def test_by_many_at_once(self, site: PubSubSite) -> None:
        layers = [site.layer() for _ in range(3)]
        for _ in range(5):
            for layer in layers:
                await fill(layer)
                await layer.send(f"jobs.{secrets.token_hex(4)}", {})
            await within(DEADLINE, asyncio.gather(*(layer.flush() for layer in layers)), "all flushes return")
            assert [layer.statistics().unread for layer in layers] == [0, 0, 0]
            assert not site.held("queue:*")
            for layer in layers:
                await use(layer)

    async def test_of_a_layer_that_did_nothing_before(self, site: PubSubSite) -> None:
        layer = site.layer()
        channel = await fill(layer)
        await within(DEADLINE, site.layer().flush(), "flush() returns")
        assert layer.statistics().unread == 0
        await check_empty(layer, layer, channel)

    async def test_one_that_is_just_beginning(self, redis_server: RedisServer, site: PubSubSite) -> None:
        """It listens, and is not through with what comes after that: it answers all the same, and is empty."""
        flusher = site.layer(lease=DEADLINE)
        await use(flusher)
        with TcpProxy(*redis_server.address, delay=0.05) as proxy:
            for _ in range(3):
                async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix) as layer:
                    channel = await layer.new_channel()
                    await flusher.send(channel, {"n": "before"})
                    await within(DEADLINE / 3, flusher.flush(), "flush() need not wait for the lease")
                    await check_empty(flusher, layer, channel)
                    assert layer.statistics().dropped == {"flushed": 1}


async def hold_messages(layer: RedisPubSubChannelLayer, child: Child) -> None:
    """What a process does that others stop or kill: it holds messages, and tells what it gets when it goes on."""
    child.tell(await fill(layer))
    channel = await child.hear()
    while True:
        got = await layer.receive(channel)
        child.tell(got)
        if got == {"last": True}:
            return


@pytest.mark.asyncio
class TestProcessesThatDoNotAnswer:
    async def test_one_that_stands_still(self, site: PubSubSite) -> None:
        """It is waited for as long as a lease. When it goes on, it drops what it held, and its memberships."""
        layer = site.layer(lease=SHORT_LEASE)
        mine = await fill(layer)
        child = Child(lambda child: hold_messages(layer, child), DEADLINE)
        try:
            channel = await child.hear()
            os.kill(child.pid, signal.SIGSTOP)
            os.waitpid(child.pid, os.WUNTRACED)  # noqa: ASYNC222 - it does not take long
            await within(DEADLINE, layer.flush(), "flush() returns")
            await check_empty(layer, layer, mine)
            os.kill(child.pid, signal.SIGCONT)
            await site.until_subscribers("group:room", 0)
            await layer.group_send("room", {"group": "it is no member"})
            child.tell(channel)
            await layer.send(channel, {"last": True})
            assert await child.hear() == {"last": True}
        finally:
            child.end()

    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    async def test_one_that_was_killed_is_not_waited_for(self, site: PubSubSite, when: str) -> None:
        layer = site.layer(lease=600)
        await fill(layer)
        child = Child(lambda child: hold_messages(layer, child), DEADLINE)
        try:
            await child.hear()
            if when == "before":
                os.kill(child.pid, signal.SIGKILL)
            else:
                os.kill(child.pid, signal.SIGSTOP)
                os.waitpid(child.pid, os.WUNTRACED)  # noqa: ASYNC222 - it does not take long
            flushing = asyncio.create_task(layer.flush())
            if when == "meanwhile":
                await until(lambda: layer.statistics().dropped, "the flush has come to this process")
                assert not flushing.done()
        finally:
            child.end()
        await within(DEADLINE, flushing, "flush() returns")
        await use(layer)

    async def test_one_whose_loop_blocks(self, site: PubSubSite) -> None:
        """What it held is dropped as soon as its loop goes on, and so are its memberships."""
        layer = site.layer(lease=SHORT_LEASE)

        async def work(child: Child) -> Any:
            await use(layer)
            channel = await fill(layer)
            child.tell(channel)
            child._hear()  # in the way that holds up the loop
            await until(lambda: layer.statistics().dropped, "it learns of the flush")
            return [await layer.receive(channel), layer.statistics().dropped]

        child = Child(work, DEADLINE)
        try:
            channel = await child.hear()
            await within(DEADLINE, layer.flush(), "flush() returns")
            await layer.group_send("room", {"group": "it is no member"})
            await layer.send(channel, {"last": True})
            child.tell("go on")
            assert await child.hear() == [{"last": True}, {"flushed": 3}]
        finally:
            child.end()

    async def test_one_that_was_away(self, redis_server: RedisServer, site: PubSubSite) -> None:
        """It learns of the flush when it is back, before anybody is told that it is."""
        flusher = site.layer(lease=SHORT_LEASE)
        await use(flusher)
        with TcpProxy(*redis_server.address) as proxy:
            told = {"on_reconnect": "redis.back"}
            async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix, **told) as layer:
                channel, witness = await fill(layer), await layer.new_channel()
                waiting = asyncio.create_task(layer.receive(witness))
                await asyncio.sleep(0)
                await until(lambda: layer._client.shards[0].reading.connection, "it is at work")
                proxy.black_hole()
                proxy.cut()
                await until(lambda: layer._client.shards[0].reading.failure, "it is away")
                await site.until_subscribers("group:room", 0)
                await within(DEADLINE, flusher.flush(), "flush() returns")
                assert layer.statistics().unread == 3
                proxy.heal()
                assert await within(DEADLINE, waiting, "it is back") == {"type": "redis.back"}
                assert layer.statistics().dropped == {"flushed": 3}
                await check_empty(flusher, layer, channel)
                await site.until_subscribers("group:room", 0)
