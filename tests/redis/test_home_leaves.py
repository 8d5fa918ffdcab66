"""A loop that ends in the very moment in which the background loop gives it the connections of a Redis layer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
from late_reading import end_lease, renew_lease, until_it_reads_here
from pubsub_sites import PubSubSite
from redis_servers import RedisServer, wait_until
from sites import DEADLINE, Site, eventually, is_home, use

from channel_layers.conformance.running import start_thread, within

pytestmark = pytest.mark.usefixtures("quiet")

#: Seconds for which the background loop hesitates; the home leaves at once, if it does not wait for that.
HESITATION = 0.2


def begin(layer: Any, moment: str) -> Coroutine[Any, Any, Any]:
    """What a loop does so that it is given connections at this moment."""
    if moment == "start_reading":
        return layer.new_channel()  # type: ignore[no-any-return]
    return layer.receive("jobs") if moment == "start_popping" else asyncio.sleep(0)


async def use_as_home(layer: Any) -> None:
    loop = asyncio.get_running_loop()
    await use(layer)
    await eventually(lambda: is_home(layer, loop), "the loop becomes the home")
    await use(layer)


@pytest.mark.parametrize("moment", ["start_reading", "start_popping", "move_in"])
@pytest.mark.parametrize("kind", [Site, PubSubSite])
def test_no_connection_stays_with_a_home_that_has_left(
    redis_server: RedisServer, kind: type[Site], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = kind(redis_server)
    layer: Any = site.layer()
    if moment == "move_in":
        asyncio.run(use(layer))  # there are connections that can be moved
    client = layer._client
    shard = client.shards[0]
    give, leave = getattr(shard, moment), client.home._moved_out
    hesitates, has_left = threading.Event(), threading.Event()

    def give_late(home: asyncio.AbstractEventLoop) -> None:
        hesitates.set()
        has_left.wait(HESITATION)
        give(home)

    def leave_and_tell() -> None:
        leave()
        has_left.set()

    async def visit() -> None:
        while client.home.loop is not loop:
            client.home.call(loop)
        task = asyncio.ensure_future(begin(layer, moment))
        await eventually(hesitates.is_set, "the background loop is at it")
        task.cancel()

    def live() -> None:
        loop.run_until_complete(visit())
        loop.run_until_complete(loop.shutdown_asyncgens())

    loop = asyncio.new_event_loop()
    with monkeypatch.context() as patch:
        patch.setattr(shard, moment, give_late)
        patch.setattr(client.home, "_moved_out", leave_and_tell)
        start_thread(live).result(DEADLINE)
        assert has_left.is_set()
    asyncio.run(within(DEADLINE / 3, use_as_home(layer), "the background loop has had the connections"))
    site.close()
    loop.close()


class Closing(asyncio.SelectorEventLoop):
    """A loop that its own thread closes while another takes a connection away."""

    def remove_reader(self, fd: Any) -> bool:
        if self.is_running():
            return super().remove_reader(fd)
        self.close()
        raise KeyError(f"{fd} is not registered")


@pytest.mark.parametrize("kind", [Site, PubSubSite])
def test_a_home_is_closed_while_its_connections_are_taken_away(redis_server: RedisServer, kind: type[Site]) -> None:
    site, loop = kind(redis_server), Closing()
    layer: Any = site.layer()
    loop.run_until_complete(use_as_home(layer))
    asyncio.run(within(DEADLINE / 3, use_as_home(layer), "the background loop has had the connections"))
    site.close()
    assert loop.is_closed()


@pytest.mark.parametrize("home", ["closed", "stopped"])
def test_a_loss_that_is_noticed_when_the_home_has_left(own_site: Site, home: str) -> None:
    """The reading connection is made anew, though the home that was to see to it is gone."""
    layer = own_site.layer()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(until_it_reads_here(layer))
    if home == "closed":
        loop.close()
    shard = layer._client.shards[0]
    end_lease(layer, own_site.server)
    asyncio.run(renew_lease(layer))
    assert shard.mailbox.times_lost == 1
    layer._client.check_home()
    wait_until(lambda: not shard.mailbox.changes.is_outdated, "the connection is made anew")
    asyncio.run(layer.close())
    loop.close()
