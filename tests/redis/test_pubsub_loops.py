"""One Redis Pub/Sub layer object for all threads, event loops and forked processes, and the end of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from loop_threads import LoopThread
from numbered import until
from pubsub_sites import PubSubSite, take
from redis_servers import RedisServer, wait_until
from sites import DEADLINE, receive_all, talk, use

from channel_layers import ChannelFull, LayerClosed, LayerUnavailable
from channel_layers.conformance.running import Child, start_thread, within
from channel_layers.redis import RedisPubSubChannelLayer
from channel_layers.redis.pubsub import shard as shard_module

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def site(redis_server: RedisServer) -> Iterator[PubSubSite]:
    site = PubSubSite(redis_server)
    yield site
    site.close()


@pytest.fixture
def quick_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks often whether the home still lives."""
    monkeypatch.setattr(shard_module, "_PULSE", 0.1)


def is_home(layer: RedisPubSubChannelLayer, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this loop drives the connections over which the layer sends, and over which it gets what is published."""
    shard = layer._client.shards[0]
    near, reading = shard.near.connection, shard.reading.connection
    return layer._client.home.loop is loop and all(each is not None and each.loop is loop for each in (near, reading))


def make_home(thread: LoopThread, layer: RedisPubSubChannelLayer, channel: str) -> None:
    thread.call(talk(layer, channel, 20))
    wait_until(lambda: is_home(layer, thread.loop), "the loop becomes the home")


class TestSynchronousCode:
    def test_many_threads_send(self, site: PubSubSite) -> None:
        """4,000 calls, half of them to a group: all arrive, in the order of each thread, over a few connections."""
        sender, receiver = site.layer(), site.layer(capacity=20_000)
        channel = async_to_sync(receiver.new_channel)()
        async_to_sync(receiver.group_add)("room", channel)
        threads, each = 8, 500
        all_have_sent_some = threading.Barrier(threads + 1, timeout=DEADLINE)

        def send_all(writer: int) -> None:
            verbs = (async_to_sync(sender.send), channel), (async_to_sync(sender.group_send), "room")
            for n in range(each):
                verb, to = verbs[n % 2]
                verb(to, {"writer": writer, "n": n})
                if n == 1:
                    all_have_sent_some.wait()  # and another that it counts
                    all_have_sent_some.wait()

        async def receive_all() -> list[dict[str, Any]]:
            return [await receiver.receive(channel) for _ in range(threads * each)]

        got = start_thread(lambda: asyncio.run(receive_all()))
        works = [start_thread(lambda w=writer: send_all(w)) for writer in range(threads)]  # type: ignore[misc]
        all_have_sent_some.wait()
        connections, ever = site.connections(), site.all_connections()
        all_have_sent_some.wait()
        for work in works:
            work.result(2 * DEADLINE)
        messages = got.result(DEADLINE)
        for writer in range(threads):
            assert [message["n"] for message in messages if message["writer"] == writer] == list(range(each))
        # The receiver may have found its home meanwhile.
        assert site.all_connections() <= ever + 1
        assert connections <= site.connections()
        assert len(site.connections()) <= 2 * site.CONNECTIONS
        assert sender.statistics().accepted == threads * each

    def test_a_program_without_an_event_loop(self, site: PubSubSite) -> None:
        """Every verb, one loop for each."""
        layer = site.layer()
        channel = async_to_sync(layer.new_channel)()
        async_to_sync(layer.group_add)("room", channel)
        ever = None
        for n in range(50):
            async_to_sync(layer.send)(channel, {"n": n})
            async_to_sync(layer.group_send)("room", {"n": -n})
            assert [async_to_sync(layer.receive)(channel) for _ in "12"] == [{"n": n}, {"n": -n}]
            async_to_sync(layer.send)("jobs", {"n": n})
            assert async_to_sync(layer.receive)("jobs") == {"n": n}
            ever = ever or site.all_connections()
        async_to_sync(layer.group_discard)("room", channel)
        assert site.all_connections() == ever
        async_to_sync(layer.flush)()
        async_to_sync(layer.close)()
        site.until_all_are_closed()


class TestLoops:
    def test_fifty_one_after_the_other(self, site: PubSubSite) -> None:
        """Each is the layer's home for a while; the connections move from one to the next."""
        layer, at_home, ever = site.layer(), list[bool](), 0

        async def once(n: int) -> None:
            await use(layer, n)
            at_home.append(is_home(layer, asyncio.get_running_loop()))

        connections = set()
        for n in range(50):
            asyncio.run(once(n))
            if n == 1:
                connections, ever = site.when_all_are_connected(), site.all_connections()
        assert site.all_connections() == ever
        assert site.connections() == connections
        assert sum(at_home) > 25, "most of the loops were at home"
        wanted = {f"mailbox:{layer.client_prefix}": 1, "everyone": 1}
        wait_until(lambda: site.subscribed() == wanted, lambda: f"only these are left: {site.subscribed()}")

    @pytest.mark.usefixtures("quick_pulse")
    @pytest.mark.parametrize("end", [LoopThread.end, LoopThread.close, LoopThread.stop])
    def test_the_home_ends_while_others_wait(
        self, site: PubSubSite, loop_thread: Callable[[], LoopThread], end: Callable[[LoopThread], None]
    ) -> None:
        """Those who wait in another loop go on receiving, and so does the next home."""
        layer, sender = site.layer(), site.layer()
        send, group_send = async_to_sync(sender.send), async_to_sync(sender.group_send)
        for turn in range(3):
            home, other = loop_thread(), loop_thread()
            channel, mine = home.call(layer.new_channel()), other.call(layer.new_channel())
            other.call(layer.group_add("room", mine))
            make_home(home, layer, channel)
            waiting = [other.start(receive_all(layer, name, 1)) for name in (mine, "jobs")]
            before = site.connections()
            end(home)
            group_send("room", {"n": turn})
            send("jobs", {"n": turn})
            for one in waiting:
                assert one.result(DEADLINE) == [turn]
            make_home(other, layer, mine)
            assert site.connections() >= before, "no connection is made anew"
            other.call(use(layer))
            other.call(layer.group_discard("room", mine))
            end(other)

    def test_the_home_blocks(self, site: PubSubSite, loop_thread: Callable[[], LoopThread]) -> None:
        """Other threads send, join and leave, and nothing that came meanwhile is lost."""
        layer, sender, home = site.layer(), site.layer(), loop_thread()
        channel = home.call(layer.new_channel())
        make_home(home, layer, channel)
        blocked, go_on = threading.Event(), threading.Event()

        async def block() -> None:
            blocked.set()
            go_on.wait(DEADLINE)

        blocking = home.start(block())
        assert blocked.wait(DEADLINE)
        for n in range(40):
            async_to_sync(sender.send)(channel, {"n": 2 * n})
            async_to_sync(layer.send)(channel, {"n": 2 * n + 1})
        async_to_sync(layer.group_discard)("room", channel)
        assert site.subscribers(f"mailbox:{layer.client_prefix}") == 1
        go_on.set()
        blocking.result(DEADLINE)
        assert home.call(receive_all(layer, channel, 80)) == list(range(80))

    @pytest.mark.usefixtures("quick_pulse")
    def test_a_loop_that_stopped_runs_again(self, site: PubSubSite, loop_thread: Callable[[], LoopThread]) -> None:
        """It was the home, another became it meanwhile; both go on."""
        layer, other = site.layer(), loop_thread()
        first = asyncio.new_event_loop()
        channel = first.run_until_complete(layer.new_channel())
        first.run_until_complete(talk(layer, channel, 20))
        wait_until(lambda: layer._client.home.loop is None, "the layer notices that its home stands still")
        mine = other.call(layer.new_channel())
        make_home(other, layer, mine)
        first.run_until_complete(talk(layer, channel, 20))
        other.call(talk(layer, mine, 20))
        first.close()


@pytest.mark.asyncio
class TestFork:
    async def test_parent_and_child_each_get_what_is_theirs(self, site: PubSubSite) -> None:
        layer, sender, count = site.layer(capacity=1_000), site.layer(), 200
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await use(layer)
        await use(sender)
        waiting = asyncio.create_task(receive_all(layer, channel, count + 1))
        before = site.connections()

        async def work(child: Child) -> list[Any]:
            theirs = await layer.new_channel()
            await layer.group_add("room", theirs)
            child.tell(theirs)
            return await within(DEADLINE, receive_all(layer, theirs, count + 1), "all that is the child's arrives")

        child = Child(work, DEADLINE)
        try:
            theirs = await child.hear()
            assert theirs.partition("!")[0] != channel.partition("!")[0]
            assert site.subscribers("group:room") == 2
            for n in range(count):
                await sender.send(theirs, {"n": n})
                await sender.send(channel, {"n": n})
            await sender.group_send("room", {"n": count})
            assert await child.hear() == list(range(count + 1))
            assert await within(DEADLINE, waiting, "all that is the parent's arrives") == list(range(count + 1))
        finally:
            child.end()
        assert site.connections() >= before, "the parent keeps its connections"
        await use(layer)
        await site.until_subscribers("group:room", 1)

    async def test_in_the_middle_of_traffic(self, site: PubSubSite) -> None:
        """Children that come, work and die while the parent receives and sends: it does not notice."""
        layer, sender, count = site.layer(capacity=2_000), site.layer(), 1_000
        channel = await layer.new_channel()
        await use(layer)
        await use(sender)
        before = site.when_all_are_connected(2)

        async def send_all() -> None:
            for n in range(count):
                await sender.send(channel, {"n": n})
                await asyncio.sleep(0)

        async def work(_: Child) -> None:
            await use(layer)
            await use(sender)

        sending, receiving = asyncio.create_task(send_all()), asyncio.create_task(receive_all(layer, channel, count))
        children = []
        try:
            for _ in range(5):
                children.append(Child(work, DEADLINE))
                await asyncio.sleep(0)
            for child in children:
                await child.hear()
            await within(DEADLINE, sending, "the parent sends")
            assert await within(DEADLINE, receiving, "the parent receives") == list(range(count))
        finally:
            for child in children:
                child.end()
        await until(lambda: site.connections() == before, "those of the children end with them")


@pytest.mark.asyncio
class TestTheEnd:
    async def test_closed_and_used_again(self, site: PubSubSite) -> None:
        layer, sender = site.layer(), site.layer("sender")
        channel = await layer.new_channel()
        for n in range(5):
            await use(layer, n)
            await layer.group_add("room", channel)
            waiting = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs", channel)]
            await talk(layer, await layer.new_channel(), 10)
            await layer.close()
            site.until_all_are_closed()
            assert site.subscribed() == {}
            for one in waiting:
                with pytest.raises(LayerClosed):
                    await within(DEADLINE, one, "a waiting receive ends")
            await layer.close()  # does no harm
            await layer.new_channel()
            await sender.group_send("room", {"n": "of a member that is gone"})
            await sender.send(channel, {"n": n})
            assert await take(layer, channel) == {"n": n}, "the channel lives on"

    async def test_closed_in_the_middle_of_traffic(self, site: PubSubSite) -> None:
        """Whatever comes during close() ends; nothing is left, and nobody becomes deaf."""
        layer = site.layer()
        channel = await layer.new_channel()

        async def traffic() -> None:
            while not closed.is_set():
                for verb in (layer.send(channel, {}), layer.group_add("room", channel), layer.group_send("room", {})):
                    with contextlib.suppress(LayerUnavailable, ChannelFull):
                        await verb
                with contextlib.suppress(LayerClosed, asyncio.TimeoutError):
                    await asyncio.wait_for(layer.receive(channel), 0.001)

        for n in range(5):
            closed = asyncio.Event()
            tasks = [asyncio.create_task(traffic()) for _ in range(3)]
            await talk(layer, await layer.new_channel(), 5)
            await layer.close()
            closed.set()
            await within(DEADLINE, asyncio.gather(*tasks), "all verbs end")
            await layer.close()
            site.until_all_are_closed()
            await use(layer, n)

    async def test_async_with(self, site: PubSubSite) -> None:
        async with site.layer() as layer:
            await use(layer)
            assert site.connections()
        site.until_all_are_closed()
        assert site.held() <= {f"{site.keys.all}epoch"}

    async def test_of_a_layer_that_nobody_refers_to(self, site: PubSubSite) -> None:
        kept = site.layer()
        await use(kept)
        mine, gone = site.when_all_are_connected(), []
        for n in range(5):
            layer = site.layer()
            await use(layer, n)
            await layer.group_add("room", await layer.new_channel())
            gone.append(weakref.ref(layer))
            del layer
        gc.collect()
        assert [reference() for reference in gone] == [None] * 5
        await until(lambda: site.connections() <= mine, "their connections are closed")
        assert site.subscribed() == {f"mailbox:{kept.client_prefix}": 1, "everyone": 1}
        await use(kept)

    @pytest.mark.parametrize("way", ["asyncio.run(use())", "[async_to_sync(use)() for _ in range(3)]"])
    async def test_of_a_process(self, site: PubSubSite, way: str) -> None:
        """It ends at once, says nothing, and leaves nothing but what normal channels hold."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "error", "-c", PROGRAM + way, site.server.url, site.prefix],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert {key.removeprefix(site.keys.all) for key in site.held()} == {"queue:left"}
        assert site.subscribed() == {}


PROGRAM = """
import asyncio, sys
from asgiref.sync import async_to_sync
from channel_layers.redis import RedisPubSubChannelLayer
layer = RedisPubSubChannelLayer([sys.argv[1]], prefix=sys.argv[2], send_timeout=30)
async def use():
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for n in range(20):
        await layer.group_send("room", {"n": n})
        await layer.receive(channel)
    await layer.send("jobs", {"n": 1})
    await layer.receive("jobs")
    await layer.send("left", {"n": 1})
"""
