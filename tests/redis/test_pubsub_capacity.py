"""How much the Redis Pub/Sub layer holds for whom, what it does with the rest, and for how long it holds it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from numbered import until
from proxy import TcpProxy
from pubsub_sites import PubSubSite, python, take
from redis_servers import SEND_TIMEOUT, RedisServer, skewed_python, wait_until
from sites import DEADLINE, talk

from channel_layers import ChannelFull
from channel_layers.conformance.running import start_thread, within
from channel_layers.redis import RedisPubSubChannelLayer
from channel_layers.redis.errors import RedisUnavailable


@pytest.fixture
def site(redis_server: RedisServer) -> Iterator[PubSubSite]:
    site = PubSubSite(redis_server)
    yield site
    site.close()


@pytest.fixture
def own_site(own_redis_server: RedisServer) -> Iterator[PubSubSite]:
    site = PubSubSite(own_redis_server)
    own_redis_server.client().ping()
    yield site
    site.close()


async def at_home(layer: RedisPubSubChannelLayer, channel: str) -> None:
    """The running loop drives the layer's connections."""
    await talk(layer, channel, 20)
    shard = layer._client.shards[0]
    await until(lambda: shard.near.connection and shard.reading.connection, "the loop becomes the home")


async def outcomes(layer: RedisPubSubChannelLayer, channel: str, count: int) -> Counter[str]:
    """What becomes of so many sends at once: ``accepted``, or the name of the error."""
    sending = (layer.send(channel, {"n": n}) for n in range(count))
    done = await asyncio.gather(*sending, return_exceptions=True)
    return Counter("accepted" if each is None else type(each).__name__ for each in done)


@pytest.mark.asyncio
class TestSendToItself:
    """A layer knows what its own channels hold, and what is on its way to them."""

    @pytest.mark.parametrize("delay", [0.0, 0.005])
    @pytest.mark.parametrize("is_at_home", [False, True])
    async def test_as_many_as_there_is_room_for(
        self, redis_server: RedisServer, site: PubSubSite, delay: float, is_at_home: bool
    ) -> None:
        """Exactly, and the first of them, though none has arrived when the last is sent."""
        with TcpProxy(*redis_server.address) as proxy:
            async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix, capacity=70) as layer:
                channel = await layer.new_channel()
                if is_at_home:
                    await at_home(layer, channel)
                proxy.delay = delay
                for free in (70, 30, 1):
                    assert await outcomes(layer, channel, 200) == {"accepted": free, "ChannelFull": 200 - free}
                    await until(lambda: layer.statistics().unread == 70, "all that were accepted arrive")
                    with pytest.raises(ChannelFull):
                        await layer.send(channel, {})
                    for _ in range({70: 30, 30: 1, 1: 0}[free]):
                        await take(layer, channel)
                assert [(await take(layer, channel))["n"] for _ in range(70)] == [*range(31, 70), *range(30), 0]
                assert layer.statistics().dropped == {}

    async def test_room_for_each_channel(self, site: PubSubSite) -> None:
        layer = site.layer(capacity=2, channel_capacity={"large*": 5})
        small, other, large = [await layer.new_channel(prefix) for prefix in ("small", "small", "large")]
        for channel, capacity in ((small, 2), (large, 5), (other, 2)):
            assert (await outcomes(layer, channel, 10))["accepted"] == capacity
        assert layer.statistics().refused == {"full": 8 + 5 + 8}

    async def test_what_has_expired_takes_no_room(self, site: PubSubSite) -> None:
        layer = site.layer(capacity=1, expiry=0.1)
        channel = await layer.new_channel()
        for count in range(1, 4):
            await layer.send(channel, {})
            await until(lambda count=count: layer.statistics().dropped == {"expired": count}, "it expires")

    async def test_what_others_sent_takes_room(self, site: PubSubSite) -> None:
        layer, sender = site.layer(capacity=3), site.layer(capacity=3)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await sender.send(channel, {"n": 1})
        await sender.group_send("room", {"n": 2})
        await until(lambda: layer.statistics().unread == 2, "they arrive")
        assert await outcomes(layer, channel, 5) == {"accepted": 1, "ChannelFull": 4}
        assert await outcomes(sender, channel, 5) == {"accepted": 5}, "others cannot know"
        await until(lambda: layer.statistics().dropped == {"full": 5}, "what there is no room for is dropped")

    async def test_room_again_after_messages_were_lost_with_a_connection(self, own_site: PubSubSite) -> None:
        """Those that were on their way then, or were sent to a process that did not listen, hold no room for ever."""
        layer = own_site.layer(capacity=5, send_timeout=SEND_TIMEOUT)
        channel = await layer.new_channel()
        await at_home(layer, channel)
        for kind in ("pubsub", "normal", None, "pubsub", None):
            sending = asyncio.gather(*(outcomes(layer, channel, 20) for _ in range(5)))
            await asyncio.sleep(0)
            own_site.server.kill_clients(kind)
            await sending
            await self._has_room_for(own_site, layer, channel, 5)

    async def test_room_again_after_the_server_sent_messages_to_nobody(self, own_site: PubSubSite) -> None:
        """It takes a process for there whose connection has ended without a word."""
        layer = own_site.layer(capacity=5, send_timeout=5)
        channel = await layer.new_channel()
        await at_home(layer, channel)
        reading = layer._client.shards[0].reading.connection
        assert reading is not None
        kept_open = os.dup(reading._fd)
        with own_site.nobody_comes_back():
            reading.fail(RedisUnavailable("a router has forgotten it"))
            assert own_site.subscribers(f"mailbox:{layer.client_prefix}") == 1
            assert await outcomes(layer, channel, 10) == {"accepted": 5, "ChannelFull": 5}
            os.close(kept_open)
        await self._has_room_for(own_site, layer, channel, 5)
        assert layer.statistics().delivered == 20 + 5

    async def _has_room_for(
        self, site: PubSubSite, layer: RedisPubSubChannelLayer, channel: str, capacity: int
    ) -> None:
        shard = layer._client.shards[0]
        await until(lambda: shard.reading.connection and shard.near.connection, "it is back")
        await site.until_subscribers(f"mailbox:{layer.client_prefix}", 1)
        while layer.statistics().unread:
            await take(layer, channel)
        assert (await outcomes(layer, channel, 3 * capacity))["accepted"] == capacity
        await until(lambda: layer.statistics().unread == capacity, "they arrive")
        for _ in range(capacity):
            await take(layer, channel)


@pytest.mark.asyncio
class TestOverflow:
    @pytest.mark.parametrize("way", ["send", "group_send"])
    @pytest.mark.parametrize(("overflow", "kept"), [("drop_new", range(3)), ("drop_old", range(17, 20))])
    async def test_from_others(self, site: PubSubSite, way: str, overflow: str, kept: range) -> None:
        layer, sender = site.layer(capacity=3, overflow=overflow), site.layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        for n in range(20):
            await (sender.send(channel, {"n": n}) if way == "send" else sender.group_send("room", {"n": n}))
        await until(lambda: layer.statistics().arrived == 20, "all arrive")
        counts = layer.statistics()
        assert (counts.unread, counts.dropped) == (3, {"full": 17})
        assert [(await take(layer, channel))["n"] for _ in kept] == list(kept)

    async def test_drop_old_refuses_nobody(self, site: PubSubSite) -> None:
        layer = site.layer(capacity=3, overflow="drop_old")
        channel = await layer.new_channel()
        assert await outcomes(layer, channel, 20) == {"accepted": 20}
        await until(lambda: layer.statistics().arrived == 20, "all arrive")
        assert [(await take(layer, channel))["n"] for _ in range(3)] == [17, 18, 19]
        assert layer.statistics().dropped == {"full": 17}

    async def test_a_group_message_never_raises(self, site: PubSubSite) -> None:
        layer = site.layer(capacity=1)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        for n in range(10):
            await layer.group_send("room", {"n": n})
        await until(lambda: layer.statistics().dropped == {"full": 9}, "the rest is dropped")

    @pytest.mark.parametrize("fast", [10, 200])
    async def test_a_slow_consumer_next_to_fast_ones(self, site: PubSubSite, fast: int) -> None:
        """Only the slow one drops, and that is counted; few members, and more than are woken at once."""
        layer, sender, count, capacity = site.layer(capacity=10), site.layer(), 60, 10
        slow, *others = [await layer.new_channel() for _ in range(fast + 1)]
        for channel in (*others, slow):
            await layer.group_add("room", channel)

        async def receive_all(channel: str) -> list[int]:
            return [(await layer.receive(channel))["n"] for _ in range(count)]

        receiving = [asyncio.create_task(receive_all(channel)) for channel in others]
        for n in range(count):
            await sender.group_send("room", {"n": n})
            await until(lambda n=n: layer.statistics().delivered == (n + 1) * fast, "the fast ones take it")
        for got in await within(DEADLINE, asyncio.gather(*receiving), "the fast ones get all"):
            assert got == list(range(count))
        counts = layer.statistics()
        assert (counts.dropped, counts.unread) == ({"full": count - capacity}, capacity)
        assert [(await take(layer, slow))["n"] for _ in range(capacity)] == list(range(capacity))

    async def test_a_channel_that_nobody_reads(self, site: PubSubSite) -> None:
        """However much comes, no more than its capacity is held, and the statistics say where the rest is."""
        layer, sender, count = site.layer(), site.layer(), 10_000
        channel = await layer.new_channel()
        await layer.group_add("room", channel)

        async def send(number: int) -> None:
            for n in range(number):
                await (sender.send(channel, {"n": n}) if n % 2 else sender.group_send("room", {"n": n}))

        await asyncio.gather(*(send(count // 50) for _ in range(50)))
        await until(lambda: layer.statistics().arrived == count, "all arrive")
        counts = layer.statistics()
        assert (counts.unread, counts.dropped) == (100, {"full": count - 100})
        assert sender.statistics().accepted == count


class TestExpiry:
    def test_of_what_waited_before_a_loop_that_was_blocked(self, site: PubSubSite) -> None:
        """Its age is counted from when it was sent, not from when the loop looked."""
        expiry = 0.5
        layer, sender = site.layer(expiry=expiry), site.layer()
        blocked, go_on = threading.Event(), threading.Event()

        async def work() -> tuple[Any, Any]:
            channel = await layer.new_channel()
            names.append(channel)
            await at_home(layer, channel)
            blocked.set()
            go_on.wait(DEADLINE)
            return await take(layer, channel), layer.statistics()

        names: list[str] = []
        working = start_thread(lambda: asyncio.run(work()))
        assert blocked.wait(DEADLINE)

        async def send() -> None:
            await sender.send(names[0], {"n": "too old"})
            await sender.group_send("nobody", {})
            too_old = time.monotonic() + expiry
            await until(lambda: time.monotonic() > too_old, "it is too old")
            await sender.send(names[0], {"n": "new"})

        try:
            asyncio.run(send())
        finally:
            go_on.set()
        got, counts = working.result(DEADLINE)
        assert got == {"n": "new"}
        assert counts.dropped == {"expired": 1}

    @pytest.mark.asyncio
    async def test_of_what_was_on_its_way(self, redis_server: RedisServer, site: PubSubSite) -> None:
        """The network held it back for longer than it was good for; another that is as old is still good elsewhere."""
        sender = site.layer()
        with TcpProxy(*redis_server.address) as proxy:
            brief, long = (
                RedisPubSubChannelLayer([proxy.address], prefix=site.prefix, expiry=expiry) for expiry in (3.0, 60)
            )
            async with brief, long:
                channels = [await layer.new_channel() for layer in (brief, long)]
                for layer, channel in zip((brief, long), channels, strict=True):
                    await at_home(layer, channel)
                proxy.black_hole()
                for channel in channels:
                    await sender.send(channel, {"n": "old"})
                too_old = time.monotonic() + 3.0
                await until(lambda: time.monotonic() > too_old, "one is too old")
                proxy.heal()
                for channel in channels:
                    await sender.send(channel, {"n": "new"})
                assert await take(brief, channels[0]) == {"n": "new"}
                assert [await take(long, channels[1]) for _ in "12"] == [{"n": "old"}, {"n": "new"}]


RECEIVER = """
import asyncio, sys
from channel_layers.redis import RedisPubSubChannelLayer

async def main(port, prefix):
    layer = RedisPubSubChannelLayer([("127.0.0.1", int(port))], prefix=prefix, capacity=100_000, send_timeout=30)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    print(channel, flush=True)
    while True:
        print((await layer.receive(channel))["n"], flush=True)

asyncio.run(main(*sys.argv[1:]))
"""

SENDER = """
import asyncio, sys
from channel_layers.redis import RedisPubSubChannelLayer

async def main(port, prefix, first, last, *channels):
    layer = RedisPubSubChannelLayer([("127.0.0.1", int(port))], prefix=prefix, send_timeout=30)
    for n in range(int(first), int(last)):
        if n % 2:
            await layer.group_send("room", {"n": n})
        else:
            for channel in channels:
                await layer.send(channel, {"n": n})
    print("done", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("skew", [-3600.0, -0.5, 61.0, 3600.0])
def test_a_process_whose_clock_is_wrong_loses_nothing(site: PubSubSite, skew: float) -> None:
    """Neither what it gets from others nor what others get from it."""
    port, count, right = site.server.port, 100, [sys.executable, "-c"]
    with (
        python(RECEIVER, port, site.prefix) as one,
        python(RECEIVER, port, site.prefix, command=skewed_python(skew)) as other,
    ):
        wait_until(lambda: one.lines and other.lines, lambda: f"{one.lines} {other.lines}", DEADLINE)
        channels = one.lines[0], other.lines[0]
        for turn, command in enumerate((right, skewed_python(skew), right)):
            bounds = turn * count, (turn + 1) * count
            with python(SENDER, port, site.prefix, *bounds, *channels, command=command) as sender:
                wait_until(lambda s=sender: s.says("done"), lambda s=sender: f"{s.lines}", DEADLINE)
        for process in (one, other):
            wait_until(lambda p=process: len(p.numbers()) >= 3 * count, lambda p=process: f"{p.lines}", DEADLINE)
            assert process.numbers() == list(range(3 * count))
