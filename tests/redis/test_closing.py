"""The end of a layer, and what must not end it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time

import pytest
from numbered import until
from redis_scripts import COMMANDS, PASSWORD, rights
from redis_servers import SEND_TIMEOUT, RedisServer
from sites import Site

from channel_layers import LayerClosed, LayerUnavailable
from channel_layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channel_layers.redis.client import elsewhere
from channel_layers.redis.unread import Popped


async def numbers(layer: RedisChannelLayer, channel: str, count: int) -> list[int]:
    async def collect() -> list[int]:
        return [(await layer.receive(channel))["n"] for _ in range(count)]

    return await asyncio.wait_for(collect(), 10)


@pytest.mark.asyncio
async def test_closing_twice_at_once_is_one_end(own_site: Site) -> None:
    layer = own_site.layer()
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 0})
    assert await numbers(layer, channel, 1) == [0]

    async def close_and_go_on() -> None:
        await layer.close()
        waiting = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        waiting.cancel()

    await asyncio.gather(layer.close(), close_and_go_on())
    for n in range(5):
        await layer.send(channel, {"n": n})
    assert await numbers(layer, channel, 5) == [0, 1, 2, 3, 4]
    await layer.close()
    await asyncio.wait_for(_only_me(own_site.server), 10)


async def _only_me(server: RedisServer) -> None:
    while len(server.client().client_list()) > 1:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
async def test_a_cancelled_close_is_a_close(site: Site, turns: int) -> None:
    layer = site.layer()
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 0})
    assert await numbers(layer, channel, 1) == [0]
    closing = asyncio.create_task(layer.close())
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    await layer.close()
    await layer.send(channel, {"n": 1})
    assert await numbers(layer, channel, 1) == [1]
    await layer.close()


@pytest.mark.asyncio
async def test_what_is_sent_to_a_normal_channel_while_a_receiver_closes_is_not_lost(site: Site) -> None:
    sender = site.layer()
    got = []
    for n in range(30):
        receiver = site.layer()
        waiting = asyncio.create_task(receiver.receive("jobs"))
        await sender.send("warm", {"n": n})
        await asyncio.sleep(0.01 * (n % 3))
        closing = asyncio.create_task(receiver.close())
        await sender.send("jobs", {"n": n})
        await closing
        with contextlib.suppress(LayerClosed):
            got.append((await waiting)["n"])
    reader = site.layer()
    got += await numbers(reader, "jobs", 30 - len(got))
    assert sorted(got) == list(range(30))
    await sender.close()
    await reader.close()


@pytest.mark.asyncio
async def test_as_many_receivers_as_wait_get_a_message_whatever_the_capacity(site: Site) -> None:
    layer = site.layer(capacity=1)
    waiting = [asyncio.create_task(layer.receive("jobs")) for _ in range(4)]
    for n in range(4):
        while True:
            try:
                await layer.send("jobs", {"n": n})
                break
            except layer.ChannelFull:
                await asyncio.sleep(0)
    got = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert sorted(message["n"] for message in got) == [0, 1, 2, 3]
    assert not layer.statistics().dropped
    await layer.close()


class Careless(RedisChannelLayer):
    """Its capacities cannot be relied on."""

    broken = False

    def get_capacity(self, channel: str) -> int:
        if self.broken and channel.startswith("bad"):
            raise RuntimeError("no capacity for you")
        return super().get_capacity(channel)


@pytest.mark.asyncio
async def test_a_capacity_that_fails_costs_its_own_message_alone(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    sender = site.layer()
    receiver = Careless(hosts=[site.server.address], prefix=site.prefix)
    good, bad = await receiver.new_channel("good"), await receiver.new_channel("bad")
    receiver.broken = True
    with caplog.at_level(logging.ERROR, "channel_layers"):
        await sender.send(good, {"n": 0})
        assert await numbers(receiver, good, 1) == [0]
        await sender.send(bad, {"n": 1})
        for n in range(2, 5):
            await sender.send(good, {"n": n})
        assert await numbers(receiver, good, 3) == [2, 3, 4]
    assert "could not be delivered" in caplog.text
    await sender.close()
    await receiver.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])
async def test_what_was_asked_of_a_layer_while_it_closed_is_not_begun_afterwards(
    redis_server: RedisServer, kind: type[RedisChannelLayer | RedisPubSubChannelLayer]
) -> None:
    """Else what was closed would read on, beside the one that has taken its place: and deliver everything twice."""
    layer = kind(hosts=[redis_server.address], prefix=f"end{secrets.token_hex(4)}")
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 0})
    assert await numbers(layer, channel, 1) == [0]  # type: ignore[arg-type]
    former = layer._client.shards[0]
    await layer.close()

    async def ask() -> None:
        former.start_popping(None)
        former.start_reading(None)
        former.move_in(asyncio.get_running_loop())

    await elsewhere(ask())
    assert all(link._task is None for link in former.links)
    await layer.close()


@pytest.mark.asyncio
async def test_what_was_popped_is_given_up_with_a_word_if_the_server_is_away(
    own_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    layer = own_site.layer(send_timeout=SEND_TIMEOUT)
    queues = layer._client.shards[0].queues
    receiving = asyncio.ensure_future(layer.receive("jobs"))
    await until(lambda: queues._asked, "it waits")
    own_site.server.kill()
    await until(lambda: queues._connection is None or queues._connection.closed, "it has noticed")
    with layer._inbox.lock:  # as if it had come just before
        layer._inbox.deliver_popped("jobs", Popped(b"1:2:a message", b"a message", queues), time.monotonic() + 60)
        receiving.cancel()
    await asyncio.wait({receiving})
    with caplog.at_level(logging.WARNING, "channel_layers"):
        await layer.close()
    assert "1 messages taken from 'jobs' may be lost" in caplog.text
    assert not queues._returning


@pytest.mark.asyncio
async def test_who_may_not_show_that_he_is_there_is_told_so(redis_server: RedisServer) -> None:
    """Nothing else would say why a layer that may read and write everything never begins."""
    prefix = f"end{secrets.token_hex(4)}"
    admin = redis_server.client()
    admin.execute_command("ACL", "SETUSER", prefix, *rights(COMMANDS, prefix), "resetchannels")
    host = {"address": redis_server.url, "username": prefix, "password": PASSWORD}
    layer = RedisChannelLayer(hosts=[host], prefix=prefix, send_timeout=SEND_TIMEOUT)
    try:
        with pytest.raises(LayerUnavailable, match=r"refuses SUBSCRIBE.*NOPERM"):
            await layer.group_add("room", await layer.new_channel())
    finally:
        await layer.close()
        admin.execute_command("ACL", "DELUSER", prefix)
