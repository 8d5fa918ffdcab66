"""Normal channels of the Redis Pub/Sub layer: they wait in Redis, and each message comes to one receiver."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from numbered import until
from proxy import TcpProxy
from pubsub_sites import PubSubSite, take
from redis_servers import DEADLINE, RedisServer

from channel_layers import ChannelFull, LayerClosed, LayerUnavailable
from channel_layers.conformance.running import Child, within
from channel_layers.redis import RedisPubSubChannelLayer

STOP = -1


@pytest.fixture
def site(redis_server: RedisServer) -> Iterator[PubSubSite]:
    site = PubSubSite(redis_server)
    yield site
    site.close()


async def send_all(send: Callable[[dict[str, Any]], Any], numbers: Any) -> None:
    """One after the other; where there is no room, again."""
    for n in numbers:
        while True:
            try:
                await send({"n": n})
                break
            except ChannelFull:
                await asyncio.sleep(0)


def worker(site: PubSubSite, channel: str, receivers: int) -> Child:
    """A process with so many receivers of one channel; it tells what they got when each has got a ``STOP``."""

    async def work(child: Child) -> list[int]:
        got = []

        async def receive(layer: RedisPubSubChannelLayer) -> None:
            while (n := (await layer.receive(channel))["n"]) != STOP:
                got.append(n)
                if len(got) == 1:
                    child.tell("got one")

        async with site.layer(capacity=10_000) as layer:
            child.tell("at work")
            await asyncio.gather(*(receive(layer) for _ in range(receivers)))
        return got

    return Child(work, 2 * DEADLINE)


@contextlib.contextmanager
def workers(site: PubSubSite, count: int, channel: str, receivers: int) -> Iterator[list[Child]]:
    begun: list[Child] = []
    try:
        for _ in range(count):
            begun.append(worker(site, channel, receivers))
        yield begun
    finally:
        for child in begun:
            child.end()


@pytest.mark.asyncio
class TestCompetingProcesses:
    @pytest.mark.parametrize("way", ["send", "group_send"])
    async def test_each_message_comes_to_one_of_them_once(self, site: PubSubSite, way: str) -> None:
        count, receivers, processes = 1_500, 4, 3
        layer = site.layer(capacity=10_000)
        with workers(site, processes, "jobs", receivers) as at_work:
            for child in at_work:
                assert await child.hear() == "at work"
            await layer.group_add("room", "jobs")
            send = (lambda m: layer.send("jobs", m)) if way == "send" else (lambda m: layer.group_send("room", m))
            await asyncio.gather(*(send_all(send, range(first, count, 30)) for first in range(30)))
            has_got_one = asyncio.gather(*(child.hear() for child in at_work))
            while not has_got_one.done():  # one that comes late finds something to do as well
                await send_all(send, range(count, count := count + 30))
                await asyncio.wait({has_got_one}, timeout=0.01)
            assert await has_got_one == processes * ["got one"]
            await send_all(lambda m: layer.send("jobs", m), processes * receivers * [STOP])
            got = [n for child in at_work for n in await child.hear()]
        assert Counter(got) == Counter(range(count))
        assert not site.held("queue:*")

    async def test_layer_objects_of_one_process_and_loop(self, site: PubSubSite) -> None:
        """A layer takes no more than its receivers wait for, and a message that nobody waits for stays."""
        one, other, sender = site.layer(), site.layer(), site.layer()
        for n in range(50):
            waiting = [asyncio.create_task(layer.receive("jobs")) for layer in (one, other)]
            for number in (2 * n, 2 * n + 1):
                await sender.send("jobs", {"n": number})
            done = await within(DEADLINE, asyncio.gather(*waiting), "each gets one")
            assert sorted(message["n"] for message in done) == [2 * n, 2 * n + 1]
        await sender.send("jobs", {"n": "stays"})
        await until(lambda: site.held("queue:jobs"), "it waits in Redis")
        assert (one.statistics().unread, other.statistics().unread) == (0, 0)
        assert await take(sender, "jobs") == {"n": "stays"}

    async def test_a_reader_that_comes_later(self, site: PubSubSite) -> None:
        """What was sent before waits for it, also when the sender is gone; none of it is older than its expiry."""
        async with site.layer() as sender:
            for n in range(100):
                await sender.send("jobs", {"n": n})
            with pytest.raises(ChannelFull):
                await sender.send("jobs", {})
        reader = site.layer()
        assert [(await take(reader, "jobs"))["n"] for _ in range(100)] == list(range(100))


@pytest.mark.asyncio
class TestAsMembers:
    async def test_of_groups_with_other_members(self, site: PubSubSite) -> None:
        """Each member gets it once, in one order."""
        layer, other = site.layer(), site.layer()
        channels = [await layer.new_channel(), await other.new_channel()]
        await layer.group_add("room", channels[0])
        await other.group_add("room", channels[1])
        for name in ("jobs", "others"):
            await other.group_add("room", name)
            await layer.group_add("room", name)
        for n in range(20):
            await layer.group_send("room", {"n": n})
        for receiver, name in ((layer, channels[0]), (other, channels[1]), (layer, "jobs"), (other, "others")):
            assert [(await take(receiver, name))["n"] for _ in range(20)] == list(range(20))
        await other.group_discard("room", "jobs")
        await layer.group_send("room", {"n": "late"})
        await layer.send("jobs", {"n": "last"})
        assert await take(other, "jobs") == {"n": "last"}
        assert await take(other, "others") == {"n": "late"}

    async def test_a_full_one_costs_the_others_nothing(self, site: PubSubSite) -> None:
        layer = site.layer(channel_capacity={"full": 1})
        for name in ("full", "jobs"):
            await layer.group_add("room", name)
        for n in range(5):
            await layer.group_send("room", {"n": n})
        assert await take(layer, "full") == {"n": 0}
        assert [(await take(layer, "jobs"))["n"] for _ in range(5)] == list(range(5))
        assert layer.statistics().dropped == {"full": 4}

    async def test_refused_for_want_of_memory_reaches_nobody(self, own_redis_server: RedisServer) -> None:
        """Neither the normal channels of the group nor its other members: to publish comes last. It takes no memory, so
        whatever has nothing to do with normal channels goes on.
        """
        site = PubSubSite(own_redis_server)
        layer, other = site.layer(), site.layer()
        channels = [await layer.new_channel(), await other.new_channel()]
        for group in ("room", "hall"):
            await layer.group_add(group, channels[0])
            await other.group_add(group, channels[1])
        for name in ("jobs", "others"):
            await layer.group_add("room", name)
        limit = own_redis_server.config("maxmemory", 1)
        for verb, name in ((layer.group_send, "room"), (layer.send, "jobs")):
            with pytest.raises(LayerUnavailable, match="OOM"):
                await verb(name, {"n": "refused"})
        await layer.group_send("hall", {"n": 1})
        await layer.send(channels[1], {"n": 2})
        assert [await take(other, channels[1]) for _ in "12"] == [{"n": 1}, {"n": 2}]
        own_redis_server.config("maxmemory", limit)
        await layer.group_send("room", {"n": 3})
        assert [await take(layer, channels[0]) for _ in "12"] == [{"n": 1}, {"n": 3}]
        for name in (channels[1], "jobs", "others"):
            assert await take(other, name) == {"n": 3}
        for each in (layer, other):
            assert each.statistics().unread == 0
            await each.close()

    async def test_discarded(self, site: PubSubSite) -> None:
        layer = site.layer()
        for group in ("one", "two"):
            await layer.group_add(group, "jobs")
        await layer.group_send("one", {"n": "before"})
        await layer.discard_channel("jobs")
        for group in ("one", "two"):
            await layer.group_send(group, {"n": "after"})
        await layer.send("jobs", {"n": "last"})
        assert await take(layer, "jobs") == {"n": "last"}
        assert not site.held("group*")

    async def test_a_membership_that_expires(self, site: PubSubSite) -> None:
        layer = site.layer(group_expiry=0.1)
        await layer.group_add("room", "jobs")
        client = site.server.client()
        ends, _, _ = client.hget(site.keys.group("room"), "#jobs").decode().partition("|")
        await until(lambda: 1000 * client.time()[0] > int(ends), "it expires")
        await layer.group_send("room", {"n": "late"})
        await layer.send("jobs", {"n": "last"})
        assert await take(layer, "jobs") == {"n": "last"}


@pytest.mark.asyncio
class TestWhoStopsWaiting:
    @pytest.mark.parametrize("delay", [0.0, 0.003])
    async def test_a_receive_that_is_cancelled_at_every_await(
        self, redis_server: RedisServer, site: PubSubSite, delay: float
    ) -> None:
        """Nothing is lost, in order, and nothing comes twice."""
        count, got, turns = 100, list[int](), 0
        sender = site.layer(capacity=1_000)
        with TcpProxy(*redis_server.address) as proxy:
            async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix, capacity=1_000) as layer:
                await sender.send("warm", {"n": 0})
                await take(layer, "warm")
                proxy.delay = delay
                sending = asyncio.create_task(send_all(lambda m: sender.send("jobs", m), range(count)))
                while len(got) < count:
                    receiving = asyncio.create_task(layer.receive("jobs"))
                    for _ in range(turns % 40):
                        await asyncio.sleep(0)
                    if turns % 7 == 0:
                        # As long as a message takes, at one of the moments at which it may be anywhere.
                        await asyncio.wait({receiving}, timeout=(turns % 9) * max(delay, 0.0005))
                    turns += 1
                    receiving.cancel()
                    await asyncio.wait({receiving})
                    if not receiving.cancelled():
                        got.append(receiving.result()["n"])
                await sending
                assert got == list(range(count))
                await sender.send("jobs", {"n": STOP})
                assert await take(layer, "jobs") == {"n": STOP}

    async def test_a_specific_channel_cancelled_at_every_await(self, site: PubSubSite) -> None:
        """A receive that timed out leaves the channel as it was: a member, and with all that came."""
        layer, sender = site.layer(capacity=1_000), site.layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        count, got, turns = 300, list[int](), 0

        async def send() -> None:
            for n in range(count):
                await (sender.send(channel, {"n": n}) if n % 2 else sender.group_send("room", {"n": n}))

        sending = asyncio.create_task(send())
        while len(got) < count:
            receiving = asyncio.create_task(layer.receive(channel))
            for _ in range(turns % 5):
                await asyncio.sleep(0)
            if turns % 20 == 0:
                await asyncio.wait({receiving}, timeout=0.001)
            turns += 1
            receiving.cancel()
            await asyncio.wait({receiving})
            if not receiving.cancelled():
                got.append(receiving.result()["n"])
        await sending
        assert got == list(range(count))
        assert layer.statistics().dropped == {}

    async def test_a_layer_that_is_closed_gives_back_what_nobody_took(self, site: PubSubSite) -> None:
        sender, got = site.layer(), []
        for n in range(30):
            receiver = site.layer()
            waiting = asyncio.create_task(receiver.receive("jobs"))
            await sender.send("warm", {"n": n})
            await asyncio.sleep(0.003 * (n % 3))
            closing = asyncio.create_task(receiver.close())
            await sender.send("jobs", {"n": n})
            await closing
            with contextlib.suppress(LayerClosed):
                got.append((await waiting)["n"])
        while len(got) < 30:
            got.append((await take(sender, "jobs"))["n"])
        assert sorted(got) == list(range(30))
