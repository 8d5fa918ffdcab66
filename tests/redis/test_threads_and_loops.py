"""One Redis layer object for all threads, event loops and forked processes, over a few connections that stay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from loop_threads import LoopThread
from redis_servers import wait_until
from sites import DEADLINE, Site, is_home, receive_all, use

from channel_layers.conformance.running import start_thread, within
from channel_layers.redis import RedisChannelLayer

pytestmark = pytest.mark.usefixtures("quiet")

STOP = {"type": "stop"}


async def receive_until_stop(layer: RedisChannelLayer, channel: str) -> list[Any]:
    got = []
    while (message := await layer.receive(channel)) != STOP:
        got.append(message["n"])
    return got


# Synchronous code


def test_many_threads_send_synchronously(site: Site) -> None:
    """10,000 calls, half of them to a group: all arrive, in the order of each thread, without new connections."""
    options = {"capacity": 20_000, "mailbox_capacity": 20_000}
    sender, receiver = site.layer(**options), site.layer(**options)
    channel = async_to_sync(receiver.new_channel)()
    async_to_sync(receiver.group_add)("room", channel)
    threads, each = 8, 1_250
    all_have_sent_one = threading.Barrier(threads + 1, timeout=DEADLINE)

    def send_all(writer: int) -> None:
        verbs = (async_to_sync(sender.send), channel), (async_to_sync(sender.group_send), "room")
        for n in range(each):
            verb, to = verbs[n % 2]
            verb(to, {"writer": writer, "n": n})
            if n == 1:
                all_have_sent_one.wait()  # and another that it counts
                all_have_sent_one.wait()

    async def receive_all() -> list[dict[str, Any]]:
        return [await receiver.receive(channel) for _ in range(threads * each)]

    got = start_thread(lambda: asyncio.run(receive_all()))
    works = [start_thread(lambda w=writer: send_all(w)) for writer in range(threads)]  # type: ignore[misc]
    all_have_sent_one.wait()
    wait_until(lambda: receiver._client.shards[0].near.connection, "the receiver is at home")
    connections, ever = site.connections(), site.all_connections()
    all_have_sent_one.wait()
    for work in works:
        work.result(4 * DEADLINE)
    messages = got.result(DEADLINE)
    for writer in range(threads):
        assert [message["n"] for message in messages if message["writer"] == writer] == list(range(each))
    assert site.all_connections() == ever
    assert site.connections() == connections
    assert len(connections) <= 2 * site.CONNECTIONS
    assert sender.statistics().accepted == threads * each
    counts = receiver.statistics()
    assert (counts.arrived, counts.delivered, counts.unread, counts.dropped) == (10_000, 10_000, 0, {})


def test_a_program_without_an_event_loop(site: Site) -> None:
    """Every verb, one asyncio.run() for each, as in a shell."""
    layer = site.layer()
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("room", channel)
    ever = None
    for n in range(100):
        async_to_sync(layer.send)(channel, {"n": n})
        async_to_sync(layer.group_send)("room", {"n": -n})
        assert async_to_sync(layer.receive)(channel) == {"n": n}
        assert async_to_sync(layer.receive)(channel) == {"n": -n}
        async_to_sync(layer.send)("jobs", {"n": n})
        assert async_to_sync(layer.receive)("jobs") == {"n": n}
        ever = ever or site.all_connections()
    async_to_sync(layer.group_discard)("room", channel)
    assert site.all_connections() == ever
    async_to_sync(layer.flush)()
    async_to_sync(layer.close)()
    site.until_all_are_closed()


# Event loops


def test_a_hundred_loops_one_after_the_other(site: Site) -> None:
    """Each is the layer's home for a while; the connections move from one to the next."""
    layer = site.layer()
    at_home = []

    async def once(n: int) -> None:
        await use(layer, n)
        at_home.append(is_home(layer, asyncio.get_running_loop()))

    ever, connections = 0, set()
    for n in range(100):
        asyncio.run(once(n))
        if n == 1:
            connections, ever = site.when_all_are_connected(), site.all_connections()
    assert site.all_connections() == ever
    assert site.connections() == connections
    assert sum(at_home) > 50, "most of the loops were at home"


def test_receivers_in_two_loops_at_once(site: Site, loop_thread: Callable[[], LoopThread]) -> None:
    """Each gets what is for it; what they share comes to one of them, once, in order."""
    layer, sender = site.layer(capacity=1_000), site.layer(capacity=1_000)
    loops = [loop_thread() for _ in range(3)]
    count = 200
    own = [loop.call(layer.new_channel()) for loop in loops]
    shared = [loops[0].call(layer.new_channel()), "jobs"]
    waiting = [loop.start(receive_until_stop(layer, channel)) for loop, channel in zip(loops, own, strict=True)]
    at_both = [[loop.start(receive_until_stop(layer, channel)) for loop in loops] for channel in shared]

    async def send_all() -> None:
        for n in range(count):
            for channel in (*own, *shared):
                await sender.send(channel, {"n": n})
        for channel in own:
            await sender.send(channel, STOP)
        for channel in shared:
            for _ in loops:
                await sender.send(channel, STOP)

    asyncio.run(send_all())
    for one in waiting:
        assert one.result(DEADLINE) == list(range(count))
    for several in at_both:
        parts = [one.result(DEADLINE) for one in several]
        assert sorted(n for part in parts for n in part) == list(range(count))
        assert all(part == sorted(part) for part in parts)
    assert layer.statistics().unread == 0


@pytest.mark.asyncio
async def test_sends_that_nobody_waits_for_keep_their_order(site: Site) -> None:
    """Also while the loop becomes the home, and what follows goes over another connection."""
    for _ in range(10):
        # As many as this starts while it connects may take longer than a send, on a busy machine.
        layer, receiver = (site.layer(capacity=10_000, send_timeout=DEADLINE) for _ in range(2))
        channel = await receiver.new_channel()
        sending = []
        while not is_home(layer, asyncio.get_running_loop()) or len(sending) < 200:
            sending.append(asyncio.create_task(layer.send(channel, {"n": len(sending)})))
            await asyncio.sleep(0)
        await within(DEADLINE, asyncio.gather(*sending), "all are sent")
        got = await within(DEADLINE, receive_all(receiver, channel, len(sending)), "all arrive")
        assert got == list(range(len(sending)))


def test_uvloop(site: Site) -> None:
    import uvloop

    layer = site.layer()
    ever = 0
    for n in range(5):
        loop = uvloop.new_event_loop()
        try:
            loop.run_until_complete(use(layer, n))
            loop.run_until_complete(use(layer, n))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
        asyncio.run(use(layer, n))  # moving between loops of two kinds
        if n == 1:
            site.when_all_are_connected()
            ever = site.all_connections()
    assert site.all_connections() == ever
