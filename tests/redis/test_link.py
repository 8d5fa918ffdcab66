"""A connection that comes back, until nobody wants it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis_servers import RedisServer

from channel_layers.background import in_background
from channel_layers.redis.errors import RedisUnavailable
from channel_layers.redis.link import Link
from channel_layers.redis.server import Server


@pytest.fixture
def link(own_redis_server: RedisServer) -> Iterator[Link]:
    host, port = own_redis_server.address
    link = Link(Server("it", {"host": host, "port": port}), 10)
    yield link
    in_background(link.stop()).result(10)


async def _start(link: Link) -> None:
    link.start()


def test_who_waits_for_one_that_is_stopped_hears_of_it(own_redis_server: RedisServer, link: Link) -> None:
    own_redis_server.stop()
    in_background(_start(link)).result(10)
    waiting = [in_background(link.ready()) for _ in range(3)]
    in_background(link.stop()).result(10)
    for each in waiting:
        with pytest.raises(RedisUnavailable, match="closed meanwhile"):
            each.result(10)


def test_one_that_is_stopped_is_never_ready(link: Link) -> None:
    in_background(_start(link)).result(10)
    assert in_background(link.ready()).result(10) is not None
    in_background(link.stop()).result(10)
    with pytest.raises(RedisUnavailable, match="closed meanwhile"):
        in_background(link.ready()).result(10)


def test_who_waits_too_long_leaves_nothing_behind(own_redis_server: RedisServer, link: Link) -> None:
    own_redis_server.stop()
    in_background(_start(link)).result(10)
    for _ in range(3):
        with pytest.raises(asyncio.TimeoutError):
            in_background(link.ready(0.01)).result(10)
    assert not link._waiting


def test_who_waits_for_one_that_is_lost_again_and_again_waits_no_longer(link: Link) -> None:
    """Each new connection wakes who waits, and is lost before they have run."""
    times = 0

    async def wait() -> None:
        loop = asyncio.get_running_loop()

        def come_and_go() -> None:
            nonlocal times
            times += 1
            link._wake_waiting()
            if times < 200:
                loop.call_later(0.01, come_and_go)

        come_and_go()
        with pytest.raises(asyncio.TimeoutError):
            await link.ready(0.1)

    in_background(wait()).result(30)
    assert times < 200


def test_one_that_is_lost_while_it_moves_is_not_handed_over(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop that takes it would be given nothing."""
    in_background(_start(link)).result(10)
    connection = in_background(link.ready()).result(10)
    detach, failures = connection.detach, []

    def lose_it() -> None:
        detach()
        link._made = None  # as another thread does that stops the link

    async def come_back() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["message"]))
        link.come_back()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asyncio.get_running_loop().set_exception_handler(None)

    monkeypatch.setattr(connection, "detach", lose_it)
    in_background(come_back()).result(10)
    connection.close()
    assert failures == []
