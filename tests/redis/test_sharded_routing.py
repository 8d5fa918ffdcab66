"""Over several servers, everybody agrees where a name belongs, and all that is sent arrives: once, and by that way."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import async_to_sync
from numbered import until
from proxy import TcpProxy
from redis_servers import DEADLINE, RedisServer, require_server
from sharded_sites import LAYERS, ShardedSite, take, watched

from channel_layers.conformance.running import Child, in_other_loop
from channel_layers.redis import RedisPubSubChannelLayer

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


@contextlib.contextmanager
def process(work: Callable[[Child], Coroutine[Any, Any, Any]]) -> Iterator[Child]:
    child = Child(work, DEADLINE)
    try:
        yield child
    finally:
        child.end()


class TestProcesses:
    async def test_that_list_the_hosts_in_another_order_agree(self, site: ShardedSite) -> None:
        await self._check(site, site.hosts, site.hosts[::-1])

    async def test_that_know_the_hosts_by_other_addresses_and_the_same_names_agree(self, site: ShardedSite) -> None:
        names = [f"redis {number}" for number in range(COUNT)]
        by_port = [{"address": server.url, "name": name} for server, name in zip(site.servers, names, strict=True)]
        by_file = [{"address": server.unix_url, "name": name} for server, name in zip(site.servers, names, strict=True)]
        await self._check(ShardedSite(site.layer_class, site.servers, by_port), by_port, [*by_file[1:], by_file[0]])

    async def _check(self, site: ShardedSite, ours: list[Any], theirs: list[Any]) -> None:
        rooms, jobs, answers = site.names("room"), site.names("jobs"), site.names("answers")

        async def work(child: Child) -> None:
            async with site.layer(theirs) as layer:
                channels = await site.channels(layer)
                for room in rooms:
                    for channel in channels:
                        await layer.group_add(room, channel)
                receiving = [asyncio.create_task(take(layer, channel)) for channel in jobs]
                child.tell(channels)
                got = [sorted(await take(layer, channel, 1 + COUNT)) for channel in channels]
                child.tell([*got, *await asyncio.gather(*receiving)])
                for n, answer in enumerate(answers):
                    await layer.send(answer, {"n": n})

        with process(work) as child:
            channels = await child.hear()
            layer = site.layer(ours)
            for channel in channels:
                await layer.send(channel, {"n": 0})
            for n, room in enumerate(rooms, 1):
                await layer.group_send(room, {"n": n})
            for n, channel in enumerate(jobs):
                await layer.send(channel, {"n": n})
            assert await child.hear() == [[0, 1, 2, 3]] * COUNT + [[n] for n in range(COUNT)]
            assert [await take(layer, answer) for answer in answers] == [[n] for n in range(COUNT)]
        await site.close()

    async def test_with_members_in_each_others_groups(self, site: ShardedSite) -> None:
        rooms = site.names("room")

        async def work(child: Child) -> None:
            async with site.layer() as layer:
                channels = await site.channels(layer)
                child.tell(channels)
                child.tell([await take(layer, channel, COUNT) for channel in channels])
                child.tell([await take(layer, channel) for channel in channels])

        with process(work) as child:
            layer, channels = site.layer(), await child.hear()
            for room in rooms:
                for channel in channels:
                    await layer.group_add(room, channel)
                await layer.group_send(room, {"n": 1})
            assert await child.hear() == [[1] * COUNT] * COUNT
            for room in rooms:
                for channel in channels:
                    await layer.group_discard(room, channel)
                await layer.group_send(room, {"n": "late"})
            for channel in channels:
                await layer.send(channel, {"n": "last"})
            assert await child.hear() == [["last"]] * COUNT


class TestDirectSends:
    async def test_all_arrive(self, site: ShardedSite) -> None:
        sender, receiver = site.layer(), site.layer()
        channels = [await receiver.new_channel() for _ in range(100)]
        assert {site.place(channel) for channel in channels} == set(range(COUNT))
        for n in range(3):
            await asyncio.gather(*(sender.send(channel, {"n": n}) for channel in channels))
        assert await asyncio.gather(*(take(receiver, channel, 3) for channel in channels)) == [[0, 1, 2]] * 100

    async def test_of_all_channels_of_a_process_come_under_its_prefix(self, site: ShardedSite) -> None:
        sender, receiver = site.layer(), site.layer()
        channels = await site.channels(receiver)
        for n, channel in enumerate(channels):
            await sender.send(channel, {"n": n})
        assert sorted(await take(receiver, channels[0].partition("!")[0] + "!", COUNT)) == [0, 1, 2]

    async def test_from_sync_code_and_from_another_loop(self, site: ShardedSite) -> None:
        sender, receiver = site.layer(), site.layer()
        channels, room = await site.channels(receiver), site.name(0)
        await receiver.group_add(room, channels[1])

        def send() -> None:
            for channel in channels:
                async_to_sync(sender.send)(channel, {"n": "sync"})
            async_to_sync(sender.group_add)(room, channels[2])
            async_to_sync(sender.group_send)(room, {"n": "group"})

        await asyncio.to_thread(send)
        assert await take(receiver, channels[0]) == ["sync"]
        for channel in channels[1:]:
            assert sorted(await take(receiver, channel, 2)) == ["group", "sync"]

        async def send_from_there() -> None:
            for channel in channels:
                await sender.send(channel, {"n": "loop"})

        await in_other_loop(send_from_there)
        assert [await take(receiver, channel) for channel in channels] == [["loop"]] * COUNT


class TestGroups:
    async def test_reach_members_wherever_their_channels_belong(self, site: ShardedSite) -> None:
        one, other = site.layer(), site.layer()
        own, others, jobs = await site.channels(one), await site.channels(other), site.names("jobs")
        rooms = site.names("room")
        for room in rooms:
            for channel in (*own, *others, *jobs):
                await one.group_add(room, channel)
        for n, room in enumerate(rooms):
            await other.group_send(room, {"n": n})
        for layer, channels in ((one, own), (other, others), (one, jobs)):
            for channel in channels:
                assert sorted(await take(layer, channel, COUNT)) == [0, 1, 2]
        for room in rooms:
            for channel in (*own, *others, *jobs):
                await other.group_discard(room, channel)
            await other.group_send(room, {"n": "late"})
        for layer, channels in ((one, own), (other, others), (one, jobs)):
            for channel in channels:
                await other.send(channel, {"n": "last"})
                assert await take(layer, channel) == ["last"]


class TestNormalChannels:
    async def test_each_message_comes_once_from_whatever_server(self, site: ShardedSite) -> None:
        sender, receivers = site.layer(capacity=1000), [site.layer(capacity=1000) for _ in range(2)]
        jobs, rooms, got = site.name(1, "jobs"), site.names("room"), Counter[int]()
        for room in rooms:
            await sender.group_add(room, jobs)

        async def work(layer: Any) -> None:
            while True:
                got[(await layer.receive(jobs))["n"]] += 1

        working = [asyncio.create_task(work(layer)) for layer in receivers for _ in range(2)]
        for n in range(0, 400, 4):
            await sender.send(jobs, {"n": n})
            for step, room in enumerate(rooms, 1):
                await sender.group_send(room, {"n": n + step})
        await until(lambda: len(got) == 400, lambda: f"all arrive: {len(got)}")
        # What has been taken twice would come before this one.
        for room in rooms:
            await sender.group_send(room, {"n": 400})
        await until(lambda: got[400] == COUNT, "the last arrive")
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        assert got == {**dict.fromkeys(range(400), 1), 400: COUNT}

    async def test_cancelled_receives_lose_nothing(self, site: ShardedSite) -> None:
        sender, receiver = site.layer(capacity=1000), site.layer(capacity=1000)
        jobs, rooms, got, total = site.name(2, "jobs"), site.names("room"), list[int](), 300
        for room in rooms:
            await sender.group_add(room, jobs)

        async def send() -> None:
            for n in range(total):
                await sender.group_send(rooms[n % COUNT], {"n": n})

        async def churn(turns: int) -> None:
            while len(got) < total:
                task = asyncio.create_task(receiver.receive(jobs))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    got.append((await task)["n"])

        async def steady() -> None:
            while len(got) < total:
                got.extend(await take(receiver, jobs))

        working = [asyncio.create_task(work) for work in (churn(3), churn(40), steady())]
        await send()
        await until(lambda: len(got) >= total, lambda: f"all arrive: {len(got)}", DEADLINE)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        assert sorted(got) == list(range(total))

    async def test_many_names_at_once(self, site: ShardedSite) -> None:
        sender, receiver = site.layer(), site.layer()
        names = [f"many.{n}" for n in range(60)]
        waiting = [asyncio.create_task(take(receiver, name, 2)) for name in names]
        for n in range(2):
            await asyncio.gather(*(sender.send(name, {"n": n}) for name in names))
        assert await asyncio.gather(*waiting) == [[0, 1]] * 60


class TestDiscardChannel:
    @pytest.mark.parametrize("by_its_owner", [True, False])
    async def test_of_a_process(self, site: ShardedSite, by_its_owner: bool) -> None:
        owner, other = site.layer(), site.layer()
        rooms, (ended, *others) = site.names("room"), await site.channels(owner)
        for room in rooms:
            for channel in (ended, *others):
                await owner.group_add(room, channel)
        await other.send(ended, {"n": "unread"})
        await until(lambda: owner.statistics().unread == 1, "it is there")
        await (owner if by_its_owner else other).discard_channel(ended)
        await until(lambda: owner.statistics().unread == 0, "it is dropped")
        for n, room in enumerate(rooms):
            await other.group_send(room, {"n": n})
        for channel in others:
            assert sorted(await take(owner, channel, COUNT)) == [0, 1, 2]
        # All that the servers had for this process has been read, and none was for the channel.
        await other.send(ended, {"n": "last"})
        assert await take(owner, ended) == ["last"]

    async def test_of_a_normal_channel(self, site: ShardedSite) -> None:
        layer, other = site.layer(), site.layer()
        rooms, jobs = site.names("room"), site.name(0, "jobs")
        for room in rooms:
            await layer.group_add(room, jobs)
            await other.group_send(room, {"n": "early"})
        await other.discard_channel(jobs)
        for room in rooms:
            await other.group_send(room, {"n": "late"})
        await other.send(jobs, {"n": "last"})
        assert await take(layer, jobs) == ["last"]


class TestOneServer:
    async def test_is_all_that_a_verb_talks_to(self, site: ShardedSite) -> None:
        one, other = site.layer(), site.layer()
        channels, others = await site.channels(one), await site.channels(other)
        for layer, own in (
            (one, channels),
            (other, others),
        ):  # all is connected, and nothing is done for the first time
            for channel in own:
                await layer.send(channel, {"n": 0})
                assert await take(layer, channel) == [0]
        for place in range(COUNT):
            for remote in others:
                room, jobs = site.name(place, "room"), site.name(place, "jobs")
                await self._check(site, place, room, one.group_add(room, channels[place - 1]))
                await self._check(site, place, room, one.group_add(room, remote))
                await self._check(site, place, room, one.group_add(room, jobs))
                await self._check(site, place, room, one.group_send(room, {"n": 1}))
                await self._check(site, place, room, one.group_discard(room, remote))
                await self._check(site, place, room, one.group_discard(room, jobs))
                with watched(site.servers) as told:
                    await one.group_discard(room, channels[place - 1])
                assert self._named(told, room) <= {place}
                await self._check(site, place, jobs, one.send(jobs, {"n": 1}))
            await self._check(site, place, others[place], one.send(others[place], {"n": 1}))
            with watched(site.servers) as told:
                await one.discard_channel(others[place])
            # With queues it touches all: only the server of a group knows which joins came before the end.
            assert self._named(told, others[place]) == (set(range(COUNT)) if site.is_queue else {place})
            with watched(site.servers) as told:
                await one.discard_channel(channels[place])
            assert self._named(told, channels[place]) <= {place}

    async def test_but_all_that_hold_a_part_of_a_normal_channel_end_it(self, site: ShardedSite) -> None:
        layer, jobs = site.layer(), site.name(1, "jobs")
        await layer.send(jobs, {"n": 1})
        with watched(site.servers) as told:
            await layer.discard_channel(jobs)
        assert self._named(told, jobs) == set(range(COUNT))

    async def _check(self, site: ShardedSite, place: int, name: str, verb: Coroutine[Any, Any, None]) -> None:
        with watched(site.servers) as told:
            await verb
        assert self._named(told, name) == {place}, verb.__qualname__

    def _named(self, told: list[list[str]], name: str) -> set[int]:
        """The servers to which a name was mentioned."""
        return {place for place, commands in enumerate(told) if any(name in command for command in commands)}


@pytest.mark.asyncio
async def test_a_prefix_is_heard_on_every_server(servers: list[RedisServer]) -> None:
    """The first new_channel() waits for all of them: other names under its prefix belong to other servers."""
    near, far = servers[:2]
    with TcpProxy("127.0.0.1", far.port, delay=0.05) as proxy:
        hosts = [{"address": near.address, "name": "near"}, {"address": proxy.url, "name": "far"}]
        direct = [{"address": near.address, "name": "near"}, {"address": far.address, "name": "far"}]
        site = ShardedSite(RedisPubSubChannelLayer, [near, far], direct)
        sender = site.layer()
        await sender.send(site.name(0), {"n": 0})  # connected, and so quick
        await sender.send(site.name(1), {"n": 0})
        while True:
            receiver = site.layer(hosts)
            channel = await receiver.new_channel()
            if site.place(channel) == 0:
                break
        prefix = channel[: channel.index("!") + 1]
        other = next(name for n in range(100) if site.place(name := f"{prefix}{n}") == 1)
        await sender.send(other, {"n": 1})
        assert await take(receiver, prefix) == [1]
        await site.close()
