"""Over several servers, a channel holds what it may, on each of them, and every message is counted."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from numbered import until
from redis_servers import RedisServer, require_server
from sharded_sites import LAYERS, ShardedSite, take

from channel_layers import ChannelFull

pytestmark = pytest.mark.asyncio

COUNT = 3


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RedisServer(require_server("redis-server"))) for _ in range(COUNT)]


@pytest_asyncio.fixture(params=LAYERS)
async def site(request: pytest.FixtureRequest, servers: list[RedisServer]) -> AsyncIterator[ShardedSite]:
    site = ShardedSite(request.param, servers)
    yield site
    await site.close()


class TestCapacity:
    async def test_of_a_process_s_channel_is_exact_on_each_server(self, site: ShardedSite) -> None:
        layer, rooms = site.layer(capacity=5), site.names("room")
        sender = site.layer(capacity=5) if site.is_queue else layer
        for turn, channel in enumerate(await site.channels(layer), 1):
            for n in range(5):
                await sender.send(channel, {"n": n})
            with pytest.raises(ChannelFull):
                await sender.send(channel, {"n": "too many"})
            assert await take(layer, channel, 5) == [0, 1, 2, 3, 4]
            await sender.send(channel, {"n": "room again"})
            assert await take(layer, channel) == ["room again"]
            for room in rooms:  # a channel has one inbox, whichever way a message comes
                await layer.group_add(room, channel)
                for _ in range(2):
                    await sender.group_send(room, {"n": room})
            await until(lambda turn=turn: sum(layer.statistics().dropped.values()) == turn, "one is dropped")
            assert layer.statistics().unread == 5
            await take(layer, channel, 5)
            await layer.discard_channel(channel)

    async def test_of_a_normal_channel_is_exact_on_each_server(self, site: ShardedSite) -> None:
        layer, rooms, jobs = site.layer(capacity=5), site.names("room"), site.name(0, "jobs")
        for room in rooms:
            await layer.group_add(room, jobs)
        for n in range(5):
            await layer.send(jobs, {"n": n})
        with pytest.raises(ChannelFull):
            await layer.send(jobs, {"n": "too many"})
        for n in range(7):
            for room in rooms:
                await layer.group_send(room, {"n": f"group {n}"})
        expected = [*range(5), *(f"group {n}" for n in range(5) for _ in rooms[1:])]
        assert sorted(map(str, await take(layer, jobs, len(expected)))) == sorted(map(str, expected))
        await layer.send(jobs, {"n": "last"})
        assert await take(layer, jobs) == ["last"]

    async def test_statistics_balance(self, site: ShardedSite) -> None:
        sender, receiver = site.layer(capacity=4), site.layer(capacity=4)
        channels, rooms = await site.channels(receiver), site.names("room")
        for room in rooms:
            for channel in channels:
                await receiver.group_add(room, channel)
        for n in range(10):
            for channel, room in zip(channels, rooms, strict=True):
                with contextlib.suppress(ChannelFull):
                    await sender.send(channel, {"n": n})
                await sender.group_send(room, {"n": n})
        for channel in channels:
            await take(receiver, channel, 2)
        sent = sender.statistics()
        assert sent.sent == 60 == sent.accepted + sum(sent.refused.values())
        direct = sent.accepted - 30
        await until(lambda: receiver.statistics().arrived == direct + 30 * COUNT, "all have arrived")
        got = receiver.statistics()
        assert got.arrived == got.delivered + sum(got.dropped.values()) + got.unread
        assert got.delivered == 2 * COUNT
