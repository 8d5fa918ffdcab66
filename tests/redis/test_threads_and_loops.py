"""One Redis layer object for all threads, event loops and forked processes, over a few connections that stay."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from loop_threads import LoopThread
from proxy import TcpProxy
from redis_servers import RedisServer, wait_until
from sites import DEADLINE, Site, receive_all, talk, use

from channel_layers import ChannelFull, LayerClosed, LayerUnavailable
from channel_layers.conformance.running import Child, start_thread, within
from channel_layers.redis import RedisChannelLayer

STOP = {"type": "stop"}
#: For each layer object: the verbs of the home loop, all other verbs, the mailbox, normal channels, presence.
CONNECTIONS = 5
#: Seconds; a process looks after its home loop three times as often.
SHORT_LEASE = 1.5


@pytest.fixture
def site(redis_server: RedisServer) -> Iterator[Site]:
    site = Site(redis_server)
    yield site
    site.close()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing here is worth a warning: no event loop is closed too early, no lease ends, no reply is an error."""
    with caplog.at_level(logging.INFO):
        yield
    gc.collect()  # what was left open says so now
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def receive_until_stop(layer: RedisChannelLayer, channel: str) -> list[Any]:
    got = []
    while (message := await layer.receive(channel)) != STOP:
        got.append(message["n"])
    return got


def is_home(layer: RedisChannelLayer, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this loop drives the layer's connections, without which some tests here would test nothing."""
    near = layer._client.shards[0].near.connection
    return layer._client.home.loop is loop and near is not None and near.loop is loop


# Synchronous code


def test_many_threads_send_synchronously(site: Site) -> None:
    """10,000 calls, half of them to a group: all arrive, in the order of each thread, without new connections."""
    sender, receiver = site.layer(), site.layer(capacity=20_000, mailbox_capacity=20_000)
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
    assert len(connections) <= 2 * CONNECTIONS
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
    wait_until(lambda: not site.connections(), "close() closes all connections")


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
            ever, connections = site.all_connections(), site.connections()
    assert site.all_connections() == ever
    assert site.connections() == connections
    assert len(connections) <= CONNECTIONS
    assert sum(at_home) > 50, "most of the loops were at home"


def test_receivers_in_two_loops_at_once(site: Site, loop_thread: Callable[[], LoopThread]) -> None:
    """Each gets what is for it; what they share comes to one of them, once, in order."""
    layer, sender = site.layer(capacity=1_000), site.layer()
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
        layer, receiver = site.layer(capacity=10_000), site.layer(capacity=10_000)
        channel = await receiver.new_channel()
        sending = []
        while not is_home(layer, asyncio.get_running_loop()) or len(sending) < 200:
            sending.append(asyncio.create_task(layer.send(channel, {"n": len(sending)})))
            await asyncio.sleep(0)
        await within(DEADLINE, asyncio.gather(*sending), "all are sent")
        got = await within(DEADLINE, receive_all(receiver, channel, len(sending)), "all arrive")
        assert got == list(range(len(sending)))


@pytest.mark.parametrize("end", [LoopThread.end, LoopThread.close, LoopThread.stop])
def test_the_home_loop_ends_while_others_wait(
    site: Site, loop_thread: Callable[[], LoopThread], end: Callable[[LoopThread], None]
) -> None:
    """Those who wait in another loop go on receiving, and so does the next home."""
    layer, sender = site.layer(lease=SHORT_LEASE), site.layer()
    send = async_to_sync(sender.send)
    for turn in range(3):
        home, other = loop_thread(), loop_thread()
        channel, mine = home.call(layer.new_channel()), other.call(layer.new_channel())
        home.call(talk(layer, channel, 20))
        wait_until(lambda loop=home.loop: is_home(layer, loop), "the loop becomes the home")  # type: ignore[misc]
        waiting = [other.start(layer.receive(name)) for name in (mine, "jobs")]
        before = site.connections()
        end(home)
        send(mine, {"turn": turn})
        send("jobs", {"turn": turn})
        for one in waiting:
            assert one.result(DEADLINE) == {"turn": turn}
        other.call(talk(layer, mine, 20))
        wait_until(lambda loop=other.loop: is_home(layer, loop), "the other loop becomes the home")  # type: ignore[misc]
        assert site.connections() >= before
        other.call(use(layer))
        end(other)


def test_a_loop_that_stopped_runs_again(site: Site, loop_thread: Callable[[], LoopThread]) -> None:
    """It was the home, another became it meanwhile; both go on."""
    layer, sender = site.layer(lease=SHORT_LEASE), site.layer()
    first, other = asyncio.new_event_loop(), loop_thread()
    channel = first.run_until_complete(layer.new_channel())
    first.run_until_complete(talk(layer, channel, 20))
    assert is_home(layer, first)
    wait_until(lambda: layer._client.home.loop is None, "the layer notices that its home stands still")
    mine = other.call(layer.new_channel())
    other.call(talk(layer, mine, 20))
    wait_until(lambda: is_home(layer, other.loop), "the other loop becomes the home")
    waiting = other.start(layer.receive(mine))
    first.run_until_complete(talk(layer, channel, 20))
    async_to_sync(sender.send)(mine, {"n": 1})
    assert waiting.result(DEADLINE) == {"n": 1}
    other.close()
    first.run_until_complete(talk(layer, channel, 20))
    assert is_home(layer, first)
    wait_until(lambda: layer._client.home.loop is None, "the layer notices that its home stands still again")
    gc.collect()
    for _ in range(3):
        first.run_until_complete(talk(layer, channel, 20))
        assert is_home(layer, first), "it moves in again, and stays"
    first.close()


def test_a_home_that_ends_before_it_told_what_is_free(site: Site, loop_thread: Callable[[], LoopThread]) -> None:
    """It took messages in the last turn before it was closed: their places are free for those who come after."""
    layer = site.layer(capacity=3)
    channel = async_to_sync(layer.new_channel)()
    send = async_to_sync(layer.send)
    got: list[Any] = []

    async def take_and_stop() -> None:
        got.extend(await receive_all(layer, channel, 3))
        asyncio.get_running_loop().stop()

    for _ in range(3):
        home = loop_thread()
        home.call(talk(layer, channel, 20))
        wait_until(lambda loop=home.loop: is_home(layer, loop), "the loop becomes the home")  # type: ignore[misc]
        for n in range(3):
            send(channel, {"n": n})
        wait_until(lambda: layer.statistics().unread == 3, "they have arrived")
        home.start(take_and_stop())
        home.wait_for_end()
        home.close()
        for n in range(3):
            start_thread(lambda n=n: send(channel, {"n": n})).result(DEADLINE)  # type: ignore[misc]
        got += asyncio.run(receive_all(layer, channel, 3))
    assert got == 6 * [0, 1, 2]


@pytest.mark.parametrize("end", [LoopThread.close, LoopThread.wait_for_end])
@pytest.mark.parametrize("kind", ["specific", "normal"])
def test_a_home_that_reads_in_its_last_turn(
    site: Site, loop_thread: Callable[[], LoopThread], end: Callable[[LoopThread], None], kind: str
) -> None:
    """What it took from its connection is not lost, and nobody becomes deaf."""
    layer, sender = site.layer(capacity=3, lease=SHORT_LEASE), site.layer()
    for turn in range(3):
        home, other = loop_thread(), loop_thread()
        channel = home.call(layer.new_channel()) if kind == "specific" else "jobs"
        home.call(talk(layer, channel, 20))
        wait_until(lambda loop=home.loop: is_home(layer, loop), "the loop becomes the home")  # type: ignore[misc]
        waiting = [other.start(layer.receive(channel)) for _ in range(3)]
        other.call(asyncio.sleep(0))  # they have begun
        blocked, go_on = threading.Event(), threading.Event()

        async def block_and_read_once() -> None:
            blocked.set()  # noqa: B023 - it is called right here
            go_on.wait(DEADLINE)  # noqa: B023
            asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)

        home.start(block_and_read_once())
        assert blocked.wait(DEADLINE)
        async_to_sync(sender.send)(channel, {"n": turn})
        go_on.set()
        end(home)
        for n in range(2):
            async_to_sync(sender.send)(channel, {"n": n})
        got = sorted(one.result(DEADLINE)["n"] for one in waiting)
        assert got == sorted([turn, 0, 1])
        other.call(talk(layer, channel, 20))
        other.close()


def test_a_home_that_stops_before_it_read_a_reply(site: Site, loop_thread: Callable[[], LoopThread]) -> None:
    """The reply was there in time: nobody takes the server for away, and the connection goes on."""
    layer = site.layer(lease=SHORT_LEASE, send_timeout=0.2)
    home = loop_thread()
    channel = home.call(layer.new_channel())
    home.call(use(layer))
    wait_until(lambda: is_home(layer, home.loop), "the loop becomes the home")
    before = site.connections()

    sending: list[asyncio.Task[None]] = []

    async def send_and_stop() -> None:
        sending.append(asyncio.create_task(layer.send(channel, {"n": 1})))
        for _ in range(2):
            await asyncio.sleep(0)  # it is under way
        asyncio.get_running_loop().stop()

    home.start(send_and_stop())
    home.wait_for_end()
    wait_until(lambda: layer._client.home.loop is None, "the layer notices that its home stands still")
    assert asyncio.run(receive_all(layer, channel, 1)) == [1]
    asyncio.run(use(layer))
    assert site.connections() == before
    home.loop.run_until_complete(within(DEADLINE, sending[0], "who asked gets the reply when the loop runs again"))


def test_a_loop_between_two_calls(site: Site) -> None:
    """run_until_complete() again and again, as notebooks do: the loop stands still between, and loses nothing."""
    layer, sender = site.layer(lease=SHORT_LEASE), site.layer()
    loop = asyncio.new_event_loop()
    channel = loop.run_until_complete(layer.new_channel())
    ever = 0
    for n in range(50):
        async_to_sync(sender.send)(channel, {"n": n})
        assert loop.run_until_complete(layer.receive(channel)) == {"n": n}
        if n == 10:
            ever = site.all_connections()
    loop.close()
    assert site.all_connections() <= ever + 1
    asyncio.run(talk(layer, channel, 20))


def test_a_home_loop_that_blocks(site: Site, loop_thread: Callable[[], LoopThread]) -> None:
    """Longer than the lease: the lease and the memberships last, other threads send, and nothing is lost."""
    layer, sender = site.layer(lease=SHORT_LEASE), site.layer()
    home = loop_thread()
    channel = home.call(layer.new_channel())
    home.call(layer.group_add("room", channel))
    home.call(talk(layer, channel, 20))
    wait_until(lambda: is_home(layer, home.loop), "the loop becomes the home")
    (mailbox,) = site.held("mailbox:*")
    blocked, go_on = threading.Event(), threading.Event()

    async def block() -> None:
        blocked.set()
        go_on.wait(DEADLINE)

    blocking = home.start(block())
    assert blocked.wait(DEADLINE)
    until = time.monotonic() + 2 * SHORT_LEASE
    sent = 0

    def enough() -> bool:
        nonlocal sent
        assert site.server.client().exists(mailbox)
        async_to_sync(layer.send)(channel, {"n": sent})
        async_to_sync(sender.group_send)("room", {"n": sent + 1})
        sent += 2
        return sent >= 20 and time.monotonic() > until

    # As long as only a clock can tell, and no more messages than the channel holds.
    while not enough():
        wait_until(lambda: sent < 80 or time.monotonic() > until, "the lease would have ended")
    go_on.set()
    blocking.result(DEADLINE)

    async def take() -> list[Any]:
        return [(await within(DEADLINE, layer.receive(channel), "nothing was lost"))["n"] for _ in range(sent)]

    assert home.call(take()) == list(range(sent))
    home.call(use(layer))


def test_a_full_channel_refuses_though_its_reader_blocks(site: Site, loop_thread: Callable[[], LoopThread]) -> None:
    """A place that a receive has just freed counts, although the loop of that receive tells nobody of it."""
    layer = site.layer(capacity=2)
    home = loop_thread()
    channel = home.call(layer.new_channel())
    home.call(talk(layer, channel, 20))
    wait_until(lambda: is_home(layer, home.loop), "the loop becomes the home")
    send = async_to_sync(layer.send)
    for n in range(2):
        send(channel, {"n": n})
    blocked, go_on = threading.Event(), threading.Event()

    async def take_one_and_block() -> dict[str, Any]:
        await asyncio.to_thread(wait_until, lambda: layer.statistics().unread == 2, "both arrive")
        got = await layer.receive(channel)
        blocked.set()
        go_on.wait(DEADLINE)
        return got

    taking = home.start(take_one_and_block())
    try:
        assert blocked.wait(DEADLINE)
        start_thread(lambda: send(channel, {"n": 2})).result(DEADLINE / 3)
        with pytest.raises(ChannelFull):
            start_thread(lambda: send(channel, {"n": 3})).result(DEADLINE / 3)
    finally:
        go_on.set()
    assert taking.result(DEADLINE) == {"n": 0}
    for n in (1, 2):
        assert home.call(layer.receive(channel)) == {"n": n}


def test_uvloop(site: Site) -> None:
    uvloop = pytest.importorskip("uvloop")
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
            ever = site.all_connections()
    assert site.all_connections() == ever


# The end of a layer


def test_a_layer_that_nobody_refers_to_closes_its_connections(site: Site) -> None:
    kept = site.layer()
    asyncio.run(use(kept))
    mine = site.connections()
    for run in (lambda layer: asyncio.run(use(layer)), async_to_sync(use)):
        layer = site.layer()
        run(layer)
        assert site.connections() > mine
        reference = weakref.ref(layer)
        del layer
        gc.collect()
        assert reference() is None
        wait_until(lambda: site.connections() <= mine, "its connections are closed")
    wait_until(lambda: len(site.held("mailbox:*")) == 1, "its mailbox is gone")
    asyncio.run(use(kept))
    assert site.connections() >= mine


@pytest.mark.asyncio
async def test_a_layer_is_collected_in_its_home_loop(site: Site) -> None:
    for n in range(10):
        layer = site.layer()
        await use(layer, n)
        del layer
    gc.collect()
    await asyncio.to_thread(wait_until, lambda: not site.connections(), "all are closed")
    assert not site.held("mailbox:*")


@pytest.mark.asyncio
async def test_closed_and_used_again(site: Site) -> None:
    layer, sender = site.layer(), site.layer("sender")
    channel = await layer.new_channel()
    for n in range(5):
        await use(layer, n)
        await asyncio.to_thread(wait_until, lambda: len(site.connections()) == CONNECTIONS, "it is at home")
        await layer.group_add("room", channel)
        waiting = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs", channel)]
        await talk(layer, await layer.new_channel(), 10)
        await layer.close()
        assert not site.connections()
        assert not site.held("mailbox:*")
        for one in waiting:
            with pytest.raises(LayerClosed):
                await within(DEADLINE, one, "a waiting receive ends")
        await layer.close()  # does no harm
        await sender.group_send("room", {"n": "of a member that is gone"})
        await sender.send(channel, {"n": n})
        assert await within(DEADLINE, layer.receive(channel), "the channel lives on") == {"n": n}


@pytest.mark.asyncio
async def test_closed_in_the_middle_of_traffic(site: Site) -> None:
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

    for n in range(10):
        closed = asyncio.Event()
        tasks = [asyncio.create_task(traffic()) for _ in range(3)]
        await talk(layer, await layer.new_channel(), 5)
        await layer.close()
        closed.set()
        await within(DEADLINE, asyncio.gather(*tasks), "all verbs end")
        await layer.close()
        # One that was just being made is closed when it is there.
        await asyncio.to_thread(wait_until, lambda: not site.connections(), "all are closed")
        assert not site.held("mailbox:*")
        await use(layer, n)


@pytest.mark.asyncio
async def test_a_receive_that_begins_during_close(site: Site) -> None:
    """It ends with LayerClosed, or belongs to the layer that is started afresh: it does not wait in vain."""
    layer, sender = site.layer(), site.layer("sender")
    for turns in range(30):
        channel = await layer.new_channel()
        await talk(layer, channel, 5)
        closing = asyncio.create_task(layer.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs")]
        await closing
        for name, one in zip((channel, "jobs"), waiting, strict=True):
            await sender.send(name, {"n": turns})
            try:
                got = await within(DEADLINE, one, "a receive ends")
            except LayerClosed:
                got = await within(DEADLINE, layer.receive(name), "the next receive gets it")
            assert got == {"n": turns}


@pytest.mark.asyncio
async def test_async_with(site: Site) -> None:
    async with site.layer() as layer:
        await use(layer)
        assert site.connections()
    assert not site.connections()
    assert not site.held("mailbox:*")
    async with layer:
        await use(layer)
    assert not site.connections()


PROGRAM = """
import asyncio, sys, threading
from asgiref.sync import async_to_sync
from channel_layers.redis import RedisChannelLayer
layer = RedisChannelLayer([sys.argv[1]], prefix=sys.argv[2])
async def use():
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for n in range(20):
        await layer.send(channel, {"n": n})
        await layer.receive(channel)
    await layer.send("jobs", {"n": 1})
    await layer.receive("jobs")
    return channel
"""
WAYS_TO_END = {
    "the loop ends": "asyncio.run(use())",
    "synchronous": "[async_to_sync(use)() for _ in range(3)]",
    "a receive waits in another thread": """
channel = asyncio.run(use())
started = threading.Event()
async def wait():
    asyncio.get_running_loop().call_later(0.05, started.set)
    await asyncio.gather(layer.receive(channel), layer.receive("jobs"))
threading.Thread(target=lambda: asyncio.run(wait()), daemon=True).start()
started.wait()
""",
    "the loop is left as it is": "loop = asyncio.new_event_loop(); loop.run_until_complete(use())",
    "an exception": "asyncio.run(use()); raise SystemExit(0)",
}


@pytest.mark.parametrize("way", WAYS_TO_END)
def test_the_end_of_a_process_leaves_no_mailbox(site: Site, way: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + WAYS_TO_END[way], site.server.url, site.prefix],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    left = {key.split(":")[2] for key in site.held()}
    assert left.isdisjoint({"mailbox", "unread", "control", "early", "wake"})


# Processes


@pytest.mark.asyncio
async def test_parent_and_child_each_get_what_is_theirs(site: Site) -> None:
    layer, sender = site.layer(capacity=1_000), site.layer()
    count = 200
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await talk(layer, channel, 20)
    waiting = asyncio.create_task(receive_all(layer, channel, count + 1))
    jobs = asyncio.create_task(layer.receive("jobs"))
    await talk(sender, await sender.new_channel(), 20)
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
        for n in range(count):
            await sender.send(theirs, {"n": n})
            await sender.send(channel, {"n": n})
        await sender.group_send("room", {"n": count})
        assert await child.hear() == list(range(count + 1))
        assert await within(DEADLINE, waiting, "all that is the parent's arrives") == list(range(count + 1))
        await sender.send("jobs", {"n": 1})
        assert await within(DEADLINE, jobs, "a normal channel of the parent works") == {"n": 1}
        assert site.connections() >= before, "the parent keeps its connections"
    finally:
        child.end()
    await use(layer)
    assert layer.statistics().unread == 0


@pytest.mark.asyncio
async def test_fork_in_the_middle_of_traffic(site: Site) -> None:
    """Children that come, work and die while the parent receives and sends: it does not notice."""
    layer, sender = site.layer(capacity=2_000), site.layer()
    channel = await layer.new_channel()
    await use(layer)
    await use(sender)
    before = site.connections()
    count = 1_000
    sending = asyncio.create_task(send_all(sender, channel, count))
    receiving = asyncio.create_task(receive_all(layer, channel, count))
    children = []

    async def work(_: Child) -> None:
        await use(layer)
        await use(sender)

    try:
        for _ in range(5):
            children.append(Child(work, DEADLINE))
            await asyncio.sleep(0)
        for child in children:
            await child.hear()
        await within(DEADLINE, sending, "the parent sends")
        assert await within(DEADLINE, receiving, "the parent receives") == list(range(count))
        assert site.connections() >= before
    finally:
        for child in children:
            child.end()
    wait_until(lambda: site.connections() == before, "those of the children end with them")


async def send_all(layer: RedisChannelLayer, channel: str, count: int) -> None:
    for n in range(count):
        await layer.send(channel, {"n": n})
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_child_does_not_keep_its_parents_connections(site: Site) -> None:
    """Otherwise the server would not learn of the parent's end. One of them is being made at the moment of fork()."""
    with TcpProxy(*site.server.address) as proxy:
        layer = RedisChannelLayer([proxy.address], prefix=site.prefix)
        channel = await layer.new_channel()
        await layer.send(channel, {"n": 1})
        proxy.delay = 0.3
        receiving = asyncio.create_task(layer.receive(channel))
        presence = f"{site.prefix}:cl1:presence:{layer.client_prefix}"
        client = site.server.client()
        await asyncio.to_thread(wait_until, lambda: client.pubsub_numsub(presence)[0][1], "it has nearly subscribed")
        child = Child(lambda child: child.hear(), DEADLINE)
        try:
            proxy.delay = 0
            assert await within(DEADLINE, receiving, "the parent goes on") == {"n": 1}
            await layer.close()
            await asyncio.to_thread(wait_until, lambda: not proxy.open_connections, "the server sees all of them end")
        finally:
            child.end()


def child_process(url: str, prefix: str, layer: RedisChannelLayer | None) -> None:
    """What a process of multiprocessing runs; with fork it may use a layer of its parent."""
    asyncio.run(use(layer or RedisChannelLayer([url], prefix=prefix)))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(site: Site, method: str) -> None:
    layer = site.layer()
    asyncio.run(use(layer))
    before = site.connections()
    context = multiprocessing.get_context(method)
    arguments = (site.server.url, site.prefix, layer if method == "fork" else None)
    processes = [context.Process(target=child_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    asyncio.run(use(layer))
    for process in processes:
        process.join(DEADLINE)
        assert process.exitcode == 0
    assert site.connections() == before
    asyncio.run(use(layer))
    assert len(site.held("mailbox:*")) == 1, "only the parent's"


FORK = """
import os
asyncio.run(use())
if pid := os.fork():
    sys.exit(os.waitpid(pid, 0)[1])
asyncio.run(use())
"""


def test_a_bare_fork_says_goodbye(site: Site) -> None:
    """As servers that fork their workers themselves: the child ends with sys.exit()."""
    layer = site.layer()
    asyncio.run(use(layer))
    code = PROGRAM + FORK
    arguments = [sys.executable, "-c", code, site.server.url, site.prefix]
    subprocess.run(arguments, timeout=DEADLINE, check=True)
    assert len(site.held("mailbox:*")) == 1, "only that of this process"
