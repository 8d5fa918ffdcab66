"""The event loop that drives the connections of a Redis layer: it ends, stops or blocks, and another takes over."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from loop_threads import LoopThread
from pubsub_sites import PubSubSite
from redis_servers import SEND_TIMEOUT, SHORT_LEASE, RedisServer, wait_until
from sites import DEADLINE, Site, is_home, receive_all, talk, use

from channel_layers import ChannelFull
from channel_layers.conformance.running import start_thread, within

pytestmark = pytest.mark.usefixtures("quiet")


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

    def talk_until_at_home() -> None:
        """More than once if its connection takes time."""
        wait_until(
            lambda: first.run_until_complete(talk(layer, channel, 20)) or is_home(layer, first),
            "the loop becomes the home",
        )

    talk_until_at_home()
    wait_until(lambda: layer._client.home.loop is None, "the layer notices that its home stands still")
    mine = other.call(layer.new_channel())
    other.call(talk(layer, mine, 20))
    wait_until(lambda: is_home(layer, other.loop), "the other loop becomes the home")
    waiting = other.start(layer.receive(mine))
    first.run_until_complete(talk(layer, channel, 20))
    async_to_sync(sender.send)(mine, {"n": 1})
    assert waiting.result(DEADLINE) == {"n": 1}
    other.close()
    talk_until_at_home()
    wait_until(lambda: layer._client.home.loop is None, "the layer notices that its home stands still again")
    gc.collect()
    talk_until_at_home()
    for _ in range(3):
        first.run_until_complete(talk(layer, channel, 20))
        assert layer._client.home.loop is first, "it moves in again, and stays"
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
    layer = site.layer(send_timeout=SEND_TIMEOUT)
    home = loop_thread()
    channel = home.call(layer.new_channel())
    home.call(use(layer))
    before = site.when_all_are_connected()
    wait_until(lambda: is_home(layer, home.loop), "the loop becomes the home")

    sending: list[asyncio.Task[None]] = []

    async def send_and_stop() -> None:
        sending.append(asyncio.create_task(layer.send(channel, {"n": 1})))
        for _ in range(2):
            await asyncio.sleep(0)  # it is under way
        asyncio.get_running_loop().stop()

    home.start(send_and_stop())
    home.wait_for_end()
    silent_until = time.monotonic() + SEND_TIMEOUT
    wait_until(lambda: time.monotonic() > silent_until, "the server would count as away")
    wait_until(
        lambda: layer._client.check_home() or not layer._client.home.loop, "the layer notices that it stands still"
    )
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


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop that watches no sockets for others, as that of Windows."""

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        raise NotImplementedError

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("kind", [Site, PubSubSite])
def test_a_loop_that_cannot_watch_sockets(redis_server: RedisServer, kind: type[Site]) -> None:
    """The background loop does it."""
    site, loop = kind(redis_server), WithoutReaders()
    layer = site.layer()

    async def many() -> None:
        for turn in range(3):
            await within(DEADLINE / 3, use(layer, turn), "all verbs work")

    try:
        loop.run_until_complete(many())
        assert layer._client.home.loop is None
    finally:
        site.close()
        loop.close()
