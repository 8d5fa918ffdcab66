"""What the Redis Pub/Sub layer does while its server is away, and after it: see "Outage" in the contract.

Nothing waits for those who are away, so that what was sent meanwhile is lost to them. Nothing else is lost; never is
anything received twice or out of order, no receive ends, no send raises anything but ``LayerUnavailable``, and
afterwards all works again without the application's doing anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
import redis.exceptions
from asgiref.sync import async_to_sync
from numbered import soon, until
from proxy import TcpProxy
from pubsub_sites import PubSubSite, PubSubTraffic, subscriber_ids, take
from redis_sentinels import FAILOVER_DEADLINE, SentinelTopology
from redis_servers import SEND_TIMEOUT, RedisServer
from sites import talk

from channel_layers import LayerUnavailable
from channel_layers.redis import RedisPubSubChannelLayer
from channel_layers.redis.pubsub import shard as shard_module

LIVE = ("direct", "group")


@pytest.fixture
def quick_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is silent is given up soon."""
    monkeypatch.setattr(shard_module, "_PULSE", 0.2)
    monkeypatch.setattr(shard_module, "_PATIENCE", SEND_TIMEOUT)


async def until_accepted(verb: Callable[[], Awaitable[None]]) -> None:
    while True:
        with contextlib.suppress(LayerUnavailable):
            return await verb()


def check_lost(lost: Mapping[str, set[int]], *away: Mapping[str, range]) -> None:
    """What was lost, but for normal channels, was on its way while the receivers were away."""
    for lane in LIVE:
        explained = {number for each in away for number in each[lane]}
        assert lost[lane] <= explained, f"{lane}: {sorted(lost[lane] - explained)[:10]}"


@pytest.mark.asyncio
class TestServerGoesAway:
    @pytest.mark.parametrize("end", [RedisServer.stop, RedisServer.kill])
    async def test_and_comes_back_empty(self, own_redis_server: RedisServer, end) -> None:
        async with PubSubTraffic(own_redis_server.address) as traffic:
            end(own_redis_server)
            at_the_end = traffic.unread()
            await traffic.is_refused()
            await asyncio.to_thread(own_redis_server.start)
            await traffic.until_subscribed(lambda: own_redis_server)
            away = traffic.since(at_the_end)
            lost = await traffic.lost()
        check_lost(lost, away)
        assert lost["normal"] <= set(at_the_end["normal"])  # they went with the server's memory

    async def test_and_does_not_answer(self, own_redis_server: RedisServer) -> None:
        """Not for long: what it was told meanwhile it tells when it goes on."""
        async with PubSubTraffic(own_redis_server.address) as traffic:
            before = subscriber_ids(own_redis_server)
            own_redis_server.pause()
            await traffic.is_refused()
            own_redis_server.resume()
            lost = await traffic.lost()
            assert before <= subscriber_ids(own_redis_server), "a short silence costs no subscription"
        assert not any(lost.values())

    @pytest.mark.usefixtures("quick_pulse")
    async def test_and_does_not_answer_for_so_long_that_it_is_left(self, own_redis_server: RedisServer) -> None:
        async with PubSubTraffic(own_redis_server.address) as traffic:
            before = subscriber_ids(own_redis_server)
            own_redis_server.pause()
            at_the_end = traffic.unread()
            links = [layer._client.shards[0].reading for layer in (traffic.first, traffic.second)]
            await until(lambda: all(link.failure for link in links), "both receivers give it up")
            await traffic.is_refused()
            own_redis_server.resume()
            await traffic.until_subscribed(lambda: own_redis_server, before)
            away = traffic.since(at_the_end)
            lost = await traffic.lost()
        check_lost(lost, away)

    async def test_and_cannot_be_reached(self, own_redis_server: RedisServer, proxy: TcpProxy) -> None:
        """Not for long: what the network held back comes then, and nothing of it late."""
        async with PubSubTraffic(proxy.url) as traffic:
            for _ in range(2):
                proxy.black_hole()
                await traffic.is_refused()
                proxy.heal()
                await traffic.flows()
            lost = await traffic.lost()
        assert not any(lost.values())

    @pytest.mark.usefixtures("quick_pulse")
    async def test_from_its_receivers_only(self, own_redis_server: RedisServer, proxy: TcpProxy) -> None:
        """They notice although nothing is sent on their connections, and the server, for which they are there, not."""
        async with PubSubTraffic(own_redis_server.address, proxy.url) as traffic:
            before = subscriber_ids(own_redis_server)
            proxy.black_hole()
            at_the_end = traffic.unread()
            links = [layer._client.shards[0].reading for layer in (traffic.first, traffic.second)]
            await until(lambda: all(link.failure for link in links), "both notice")
            proxy.heal()
            await traffic.until_subscribed(lambda: own_redis_server, before)
            away = traffic.since(at_the_end)
            lost = await traffic.lost()
            assert not traffic.lanes["direct"].refused
            assert not traffic.lanes["group"].refused
        check_lost(lost, away)
        assert not lost["normal"]

    async def test_and_is_a_replica_for_a_while(self, own_redis_server: RedisServer) -> None:
        """To publish is no writing: only normal channels need the master."""
        async with PubSubTraffic(own_redis_server.address) as traffic:
            site = own_redis_server.client()
            site.replicaof("127.0.0.1", "1")
            normal = traffic.lanes["normal"]
            await until(lambda: any("READONLY" in str(e) for e in normal.refused.values()), "it refuses")
            site.replicaof("NO", "ONE")
            lost = await traffic.lost()
        assert not any(lost.values())

    async def test_and_has_no_place_left(self, own_redis_server: RedisServer) -> None:
        own_redis_server.client().ping()
        async with PubSubTraffic(own_redis_server.address) as traffic:
            limit = own_redis_server.config("maxclients", 1)
            own_redis_server.kill_clients()
            at_the_end = traffic.unread()
            await traffic.is_refused("no place")
            own_redis_server.config("maxclients", limit)
            await traffic.until_subscribed(lambda: own_redis_server)
            away = traffic.since(at_the_end)
            lost = await traffic.lost()
        check_lost(lost, away)
        assert len(lost["normal"]) <= 1  # what was on its way to the receiver


@pytest.mark.asyncio
class TestConnectionsEnd:
    ROUNDS = 5

    async def test_of_those_who_listen(self, own_redis_server: RedisServer) -> None:
        lost = await self._check(own_redis_server, own_redis_server, lambda: own_redis_server.kill_clients("pubsub"))
        assert not lost["normal"]

    async def test_of_all(self, own_redis_server: RedisServer) -> None:
        lost = await self._check(own_redis_server, own_redis_server, own_redis_server.kill_clients)
        assert len(lost["normal"]) <= self.ROUNDS  # each time, what was on its way to the receiver

    async def test_by_the_network(self, own_redis_server: RedisServer, proxy: TcpProxy) -> None:
        lost = await self._check(own_redis_server, proxy, proxy.cut)
        assert len(lost["normal"]) <= self.ROUNDS

    async def _check(self, server: RedisServer, host: RedisServer | TcpProxy, end) -> dict[str, set[int]]:
        aways = []
        async with PubSubTraffic(host.url) as traffic:
            for _ in range(self.ROUNDS):
                before, at_the_end = subscriber_ids(server), traffic.unread()
                end()
                await traffic.until_subscribed(lambda: server, before)
                aways.append(traffic.since(at_the_end))
                await traffic.flows()
            lost = await traffic.lost()
        check_lost(lost, *aways)
        return lost

    async def test_of_those_who_send(self, own_redis_server: RedisServer) -> None:
        """Who listens does not notice, and gets all that was accepted."""
        async with PubSubTraffic(own_redis_server.address) as traffic:
            before = subscriber_ids(own_redis_server)
            for _ in range(self.ROUNDS):
                own_redis_server.kill_clients("normal")
                await traffic.flows()
            lost = await traffic.lost()
            assert before <= subscriber_ids(own_redis_server)
        assert not lost["direct"]
        assert not lost["group"]
        assert len(lost["normal"]) <= self.ROUNDS

    async def test_of_synchronous_senders(self, own_redis_server: RedisServer) -> None:
        async with PubSubTraffic(own_redis_server.address) as traffic:
            channel, sender = traffic.readers[0].channel, traffic.sender
            send, group_send = async_to_sync(sender.send), async_to_sync(sender.group_send)
            traffic.add("sync", lambda message: asyncio.to_thread(send, channel, message), traffic.readers[:1])
            traffic.add(
                "sync group", lambda message: asyncio.to_thread(group_send, "room", message), traffic.readers[:2]
            )
            for _ in range(self.ROUNDS):
                own_redis_server.kill_clients("normal")
                await traffic.flows()
            lost = await traffic.lost()
        assert len(lost.pop("normal")) <= self.ROUNDS
        assert not any(lost.values())

    async def test_again_before_they_are_all_made(self, own_redis_server: RedisServer) -> None:
        rounds = 50
        async with PubSubTraffic(own_redis_server.address) as traffic:
            at_the_end = traffic.unread()
            for _ in range(rounds):
                own_redis_server.kill_clients()
                await asyncio.sleep(0.02)
            before = subscriber_ids(own_redis_server)
            own_redis_server.kill_clients()
            await traffic.until_subscribed(lambda: own_redis_server, before)
            away = traffic.since(at_the_end)
            lost = await traffic.lost()
        check_lost(lost, away)
        assert len(lost["normal"]) <= rounds + 1

    @pytest.mark.parametrize("verb", ["send", "group_send"])
    @pytest.mark.parametrize("is_at_home", [False, True])
    async def test_what_the_server_gets_late_is_not_taken(
        self, own_redis_server: RedisServer, proxy: TcpProxy, verb: str, is_at_home: bool
    ) -> None:
        """It was on its way over a connection that was given up; what was sent after it has come before."""
        site = PubSubSite(own_redis_server)
        receiver = site.layer()
        channel = await receiver.new_channel()
        await receiver.group_add("room", channel)
        async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix, send_timeout=SEND_TIMEOUT) as sender:

            async def send(n: int) -> None:
                await (sender.send(channel, {"n": n}) if verb == "send" else sender.group_send("room", {"n": n}))

            await send(0)
            assert await take(receiver, channel) == {"n": 0}
            if is_at_home:
                await talk(sender, "jobs", 20)
                await until(lambda: sender._client.shards[0].near.connection, "the loop becomes the home")
            before, proxy.delay = _published(own_redis_server), 2 * SEND_TIMEOUT
            with pytest.raises(LayerUnavailable):
                await soon(send(1))
            assert proxy.bytes_under_way
            proxy.delay = 0.0
            await soon(until_accepted(lambda: send(2)))
            assert await take(receiver, channel) == {"n": 2}
            await until(lambda: not proxy.bytes_under_way, "what was held back gets there")
            await until(lambda: _published(own_redis_server) >= before + 2, "it is carried out")
            await soon(until_accepted(lambda: send(3)))  # what was made anew was held back, too
            assert await take(receiver, channel) == {"n": 3}
        await receiver.close()

    async def test_while_channels_join_and_leave(self, own_redis_server: RedisServer) -> None:
        """What was true before the last end of a connection is true after it: of a hundred groups, every second one."""
        async with PubSubTraffic(own_redis_server.address) as traffic:
            layer, sender = traffic.first, traffic.sender
            killing = asyncio.create_task(self._kill_again_and_again(own_redis_server))
            channels = [await soon(layer.new_channel()) for _ in range(100)]
            for number, channel in enumerate(channels):
                await soon(until_accepted(lambda n=number, c=channel: layer.group_add(f"group{n}", c)))
                await soon(until_accepted(lambda c=channel: layer.group_add("joined", c)))
            for number, channel in enumerate(channels):
                if number % 2:
                    await layer.group_discard(f"group{number}", channel)
                    await layer.group_discard("joined", channel)
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
            before = subscriber_ids(own_redis_server)
            own_redis_server.kill_clients()
            await traffic.until_subscribed(lambda: own_redis_server, before)
            site = own_redis_server.client()
            names = [traffic.keys.group(f"group{number}") for number in range(100)]
            expected = [1, 0] * 50
            await until(lambda: [n for _, n in site.pubsub_numsub(*names)] == expected, "the groups are as they were")
            for number in range(100):
                await soon(until_accepted(lambda n=number: sender.group_send(f"group{n}", {"group": n})))
            await soon(until_accepted(lambda: sender.group_send("joined", {"group": "joined"})))
            for number, channel in enumerate(channels):
                await soon(until_accepted(lambda c=channel: sender.send(c, {"last": True})))
                mine = [] if number % 2 else [{"group": number}, {"group": "joined"}]
                assert [await take(layer, channel) for _ in range(len(mine) + 1)] == [*mine, {"last": True}]

    async def _kill_again_and_again(self, server: RedisServer) -> None:
        while True:
            await asyncio.to_thread(server.kill_clients)
            await asyncio.sleep(0.1)


@pytest.mark.asyncio
class TestVerbsWhileTheServerIsAway:
    async def test_all_end_with_layer_unavailable(self, own_redis_server: RedisServer) -> None:
        site = PubSubSite(own_redis_server)
        layer, fresh = site.layer(send_timeout=SEND_TIMEOUT), site.layer(send_timeout=SEND_TIMEOUT)
        channel, other = await layer.new_channel(), await fresh.new_channel()
        await fresh.close()
        own_redis_server.stop()
        verbs: dict[str, Awaitable[Any]] = {
            "send": layer.send(channel, {}),
            "send to a stranger": layer.send("specific.nobody!x", {}),
            "send to a normal channel": layer.send("jobs", {}),
            "send to itself, not connected": fresh.send(other, {}),
            "group_send": layer.group_send("room", {}),
            "group_add": layer.group_add("room", channel),
            "group_add of a normal channel": layer.group_add("room", "jobs"),
            "group_add of a stranger": layer.group_add("room", "specific.nobody!x"),
            "group_discard of a stranger": layer.group_discard("room", "specific.nobody!x"),
            "discard_channel of a stranger": layer.discard_channel("specific.nobody!x"),
            "first new_channel": fresh.new_channel(),
            "flush": layer.flush(),
        }
        outcomes = await soon(asyncio.gather(*verbs.values(), return_exceptions=True))
        for name, outcome in zip(verbs, outcomes, strict=True):
            assert isinstance(outcome, LayerUnavailable), (name, outcome)
            assert isinstance(outcome, redis.exceptions.ConnectionError), name
            assert outcome.__cause__ is not None, name
        for verb in (layer.new_channel, lambda: layer.group_discard("room", channel)):
            await soon(verb())  # what needs no server
        await soon(layer.discard_channel(channel))
        await asyncio.to_thread(own_redis_server.start)
        await soon(until_accepted(lambda: layer.group_add("room", channel)))
        await soon(until_accepted(lambda: layer.group_send("room", {"n": 1})))
        assert await take(layer, channel) == {"n": 1}
        await layer.close()
        await fresh.close()

    async def test_a_join_that_was_refused_is_none(self, own_redis_server: RedisServer) -> None:
        """Who was told that it is no member does not become one when the server is back."""
        site = PubSubSite(own_redis_server)
        layer, sender = site.layer(send_timeout=SEND_TIMEOUT), site.layer()
        channel, kept = await layer.new_channel(), await layer.new_channel()
        await layer.group_add("room", kept)
        with site.nobody_comes_back():
            own_redis_server.kill_clients("pubsub")
            await until(lambda: layer._client.shards[0].reading.failure, "it notices")
            for group in ("room", "other"):
                with pytest.raises(LayerUnavailable):
                    await soon(layer.group_add(group, channel))
            with pytest.raises(LayerUnavailable):
                await soon(layer.group_add("room", kept))
        await site.until_subscribers("group:room", 1)
        await site.until_subscribers(f"mailbox:{layer.client_prefix}", 1)
        assert site.subscribers("group:other") == 0
        await sender.group_send("room", {"n": 1})
        await sender.send(channel, {"n": 2})
        assert await take(layer, kept) == {"n": 1}, "who was a member before still is"
        assert await take(layer, channel) == {"n": 2}
        await layer.close()
        await sender.close()


@pytest.mark.asyncio
class TestFailover:
    async def test_master_is_killed(self, sentinel_topology: SentinelTopology) -> None:
        async with PubSubTraffic(_host(sentinel_topology)) as traffic:
            former = sentinel_topology.kill_master()
            at_the_end = traffic.unread()
            master = await asyncio.to_thread(sentinel_topology.wait_for_master, former)
            await traffic.until_subscribed(lambda: master, seconds=FAILOVER_DEADLINE)
            away = traffic.since(at_the_end)
            lost = await traffic.lost(may_be_repeated=range(at_the_end["normal"].stop))
        check_lost(lost, away)

    async def test_master_is_replaced(self, sentinel_topology: SentinelTopology) -> None:
        async with PubSubTraffic(_host(sentinel_topology)) as traffic:
            before = traffic.unread()
            former = await asyncio.to_thread(sentinel_topology.failover)
            master = await asyncio.to_thread(sentinel_topology.wait_for_master, former)
            await until(lambda: former.role == "slave", "the former master is a replica", FAILOVER_DEADLINE)
            await traffic.until_subscribed(lambda: master, seconds=FAILOVER_DEADLINE)
            await traffic.flows()
            away = traffic.since(before)
            lost = await traffic.lost(may_be_repeated=away["normal"])
        check_lost(lost, away)


def _published(server: RedisServer) -> int:
    """How often something was."""
    return int(server.client().info("commandstats")["cmdstat_publish"]["calls"])


def _host(topology: SentinelTopology) -> dict[str, object]:
    return {"sentinels": topology.sentinel_addresses, "master_name": topology.service_name}
