"""Several servers of which one goes away under load: it costs its share of the names, and nothing of the others.

Each server has lanes of its own: to a channel, to a group with members in two layer objects, and to a normal channel,
all of whose names belong to it. What Pub/Sub sends to a server that has just come back is lost for those who have not;
so the tests of that layer allow all that was sent until then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from numbered import soon, until
from redis_servers import DEADLINE, SEND_TIMEOUT, RedisServer, require_server
from sharded_sites import LAYERS, ShardedSite, take
from sharded_traffic import Traffic, until_accepted

from channel_layers import LayerClosed, LayerUnavailable
from channel_layers.redis import RedisPubSubChannelLayer
from channel_layers.redis.pubsub import shard as pubsub_shard

pytestmark = pytest.mark.asyncio

LIVE = ("direct", "group")


@pytest.fixture
def servers() -> Iterator[list[RedisServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RedisServer(require_server("redis-server"))) for _ in range(3)]


@pytest_asyncio.fixture(params=LAYERS)
async def site(
    request: pytest.FixtureRequest, servers: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ShardedSite]:
    # A connection that is silent is given up soon.
    monkeypatch.setattr(pubsub_shard, "_PULSE", 0.2)
    monkeypatch.setattr(pubsub_shard, "_PATIENCE", SEND_TIMEOUT)
    site = ShardedSite(request.param, servers)
    yield site
    await site.close()


class TestOneOfThree:
    @pytest.mark.parametrize("gone", range(3))
    async def test_is_killed_and_comes_back_empty(self, site: ShardedSite, gone: int) -> None:
        others = [place for place in range(3) if place != gone]
        async with Traffic(site) as traffic:
            site.servers[gone].kill()
            at_the_end = traffic.unread(gone)
            await traffic.is_refused(gone)
            for _ in range(3):
                await traffic.flows(*others)
            await asyncio.to_thread(site.servers[gone].start)
            await until(lambda: traffic.is_listed(gone, site.servers[gone]), "both are members again")
            until_listed = traffic.since(gone, at_the_end)
            await traffic.flows()
            until_it_flows = traffic.since(gone, at_the_end)
            lost = await traffic.lost()
            traffic.undisturbed(*others)
        for place in others:
            assert not any(lost[place].values())
        # What was unread went with the server's memory; so did the group, until its members had found the server.
        assert lost[gone]["normal"] <= set(at_the_end["normal"])
        if site.is_queue:
            assert lost[gone]["direct"] <= set(at_the_end["direct"])
            assert lost[gone]["group"] <= set(until_listed["group"])
        else:
            assert lost[gone]["direct"] <= set(until_it_flows["direct"])
            assert lost[gone]["group"] <= set(until_it_flows["group"])

    async def test_is_killed_and_comes_back_with_what_it_had(self, site: ShardedSite) -> None:
        async with Traffic(site) as traffic:
            site.servers[0].client().save()
            then = traffic.unread(0)
            site.servers[0].kill()
            at_the_end = traffic.unread(0)
            await traffic.is_refused(0)
            await traffic.flows(1, 2)
            await asyncio.to_thread(site.servers[0].start)
            await traffic.flows()
            until_it_flows = traffic.since(0, at_the_end)
            lost = await traffic.lost(may_be_repeated={0: range(then["normal"].start, at_the_end["normal"].stop)})
            traffic.undisturbed(1, 2)
        assert not any(numbers for place in (1, 2) for numbers in lost[place].values())
        for name, numbers in lost[0].items():
            assert numbers <= set((at_the_end if site.is_queue or name == "normal" else until_it_flows)[name])

    async def test_does_not_answer_for_a_while(self, site: ShardedSite) -> None:
        async with Traffic(site) as traffic:
            before = traffic.unread(1)
            site.servers[1].pause()
            await traffic.is_refused(1)
            await traffic.flows(0, 2)
            site.servers[1].resume()
            await traffic.flows()
            meanwhile = traffic.since(1, before)
            lost = await traffic.lost()
            traffic.undisturbed(0, 2)
        assert not any(numbers for place in (0, 2) for numbers in lost[place].values())
        if site.is_queue:
            assert not any(lost[1].values())
        else:
            assert all(lost[1][name] <= set(meanwhile[name]) for name in LIVE)
            assert not lost[1]["normal"]

    async def test_after_another_is_gone(self, site: ShardedSite) -> None:
        """Memberships come back on whichever server lost them, without anybody's doing anything."""
        async with Traffic(site) as traffic:
            for gone, server in enumerate(site.servers):
                server.kill()
                await traffic.is_refused(gone)
                await asyncio.to_thread(server.start)
                await until(lambda gone=gone, server=server: traffic.is_listed(gone, server), "members again")
                await traffic.flows()
            await traffic.lost()


class TestWhileOneIsAway:
    async def test_layers_close(self, site: ShardedSite) -> None:
        layer, others = site.layer(send_timeout=SEND_TIMEOUT), site.layer(send_timeout=SEND_TIMEOUT)
        channels = await site.channels(layer)
        rooms, jobs = site.names("room"), site.names("jobs")
        for room in rooms:
            await layer.group_add(room, channels[0])
        waiting = [asyncio.create_task(layer.receive(name)) for name in (*channels, *jobs)]
        site.servers[1].kill()
        await others.send(jobs[0], {"n": 0})
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE)
        await soon(layer.close())
        ends = await soon(asyncio.gather(*waiting, return_exceptions=True))
        assert ends.pop(len(channels)) == {"n": 0}  # jobs[0]
        assert {type(end) for end in ends} == {LayerClosed}
        assert len(ends) == 2 * site.count - 1
        # The next verb starts afresh, on the servers that are there, and on the other as soon as it is there.
        await others.send(jobs[2], {"n": 2})
        assert await take(layer, jobs[2]) == [2]
        await asyncio.to_thread(site.servers[1].start)
        await until_accepted(lambda: others.send(jobs[1], {"n": 1}))
        assert await take(layer, jobs[1]) == [1]
        channels = await soon(site.channels(layer))
        for n, channel in enumerate(channels):
            await until_accepted(lambda channel=channel, n=n: others.send(channel, {"n": n}))
            assert await take(layer, channel) == [n]

    async def test_channels_are_made(self, site: ShardedSite) -> None:
        """Those of a layer that knew the server, all; of one that begins, those that belong to the others."""
        known = site.layer(send_timeout=SEND_TIMEOUT)
        await site.channels(known)
        site.servers[2].kill()
        fresh, room = site.layer(send_timeout=SEND_TIMEOUT), site.name(0, "room")
        for layer in (known, fresh):
            channels: dict[int, str] = {}
            while not channels.keys() >= {0, 1}:
                with contextlib.suppress(LayerUnavailable):
                    channel = await soon(layer.new_channel())
                    channels[site.place(channel)] = channel
            for place in (0, 1):
                await soon(layer.group_add(room, channels[place]))
                await soon(layer.send(channels[place], {"n": "direct"}))
                assert await take(layer, channels[place]) == ["direct"]
                await soon(known.group_send(room, {"n": "group"}))
                assert await take(layer, channels[place]) == ["group"]
                await soon(layer.group_discard(room, channels[place]))
            with pytest.raises(LayerUnavailable):
                await soon(layer.group_add(site.name(2, "room"), channels[0]))
        with pytest.raises(LayerUnavailable, match=f"waited {SEND_TIMEOUT:g} s"):
            await soon(known.send(site.name(2), {"n": "nobody"}))

    async def test_a_flush_says_that_it_could_not(self, site: ShardedSite) -> None:
        layer = site.layer(send_timeout=SEND_TIMEOUT)
        jobs = site.names("jobs")
        for name in jobs:
            await layer.send(name, {"n": "old"})
        site.servers[0].kill()
        with pytest.raises(LayerUnavailable):
            await soon(layer.flush())
        await asyncio.to_thread(site.servers[0].start)
        await until_accepted(layer.flush)
        for name in jobs:
            await layer.send(name, {"n": "new"})
            assert await take(layer, name) == ["new"]


class TestFlush:
    async def test_empties_all_servers_for_everybody(self, site: ShardedSite) -> None:
        layer, other = site.layer(), site.layer()
        channels, rooms, jobs = await site.channels(layer), site.names("room"), site.names("jobs")
        for room in rooms:
            for channel in (*channels, *jobs):
                await layer.group_add(room, channel)
            await other.group_send(room, {"n": "old"})
        for name in (*channels, *jobs):
            await other.send(name, {"n": "old"})
        await soon(other.flush())
        assert layer.statistics().unread == 0
        for room in rooms:
            await other.group_send(room, {"n": "no member"})
        for name in (*channels, *jobs):
            await other.send(name, {"n": "new"})
        for name in (*channels, *jobs):
            assert await take(layer, name) == ["new"]
        for room in rooms:
            for channel in (*channels, *jobs):
                await layer.group_add(room, channel)
            await other.group_send(room, {"n": room})
        for name in (*channels, *jobs):
            assert sorted(await take(layer, name, 3)) == sorted(rooms)


@pytest.mark.parametrize("site", [RedisPubSubChannelLayer], indirect=True)
async def test_notices_tell_of_the_first_that_goes_and_of_the_last_that_is_back(site: ShardedSite) -> None:
    layer = site.layer(on_disconnect="lost", on_reconnect="back", send_timeout=SEND_TIMEOUT)
    channels = await site.channels(layer)

    async def waiting_at(*some: str) -> list[asyncio.Task[Any]]:
        tasks = [asyncio.create_task(layer.receive(channel)) for channel in some]
        await asyncio.sleep(0)  # now they wait
        return tasks

    async def types(tasks: list[asyncio.Task[Any]]) -> list[str]:
        return [message["type"] for message in await soon(asyncio.gather(*tasks))]

    waiting = await waiting_at(*channels)
    site.servers[0].kill()
    assert await types(waiting) == ["lost"] * 3
    first, *others = await waiting_at(*channels)
    site.servers[1].kill()
    for shard in layer._client.shards[:2]:
        await until(lambda shard=shard: shard.is_out_of_touch, "the loss is noticed")
    await asyncio.to_thread(site.servers[0].start)
    await until(lambda: not layer._client.shards[0].is_out_of_touch, "the first is back")
    await layer.send(channels[0], {"type": "between"})
    assert await types([first]) == ["between"]
    others += await waiting_at(channels[0])
    await asyncio.to_thread(site.servers[1].start)
    assert await types(others) == ["back"] * 3
