"""The verbs of the Redis queue layer while its server is away: what is refused, what waits, and for how long."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis.exceptions
from numbered import soon, until
from outages import make_layer, send_until_accepted
from proxy import TcpProxy
from redis_servers import DEADLINE, SEND_TIMEOUT, RedisServer, require_server

from channel_layers import LayerClosed, LayerUnavailable
from channel_layers.redis import normal


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
                "send": layer.send("jobs", {"type": "x"}),
                "group_send": layer.group_send("room", {"type": "x"}),
                "group_add": layer.group_add("room", "jobs"),
                "group_discard": layer.group_discard("room", "jobs"),
                "discard_channel": layer.discard_channel("jobs"),
                "flush": layer.flush(),
            }
            outcomes = await soon(asyncio.gather(*verbs.values(), return_exceptions=True))
            for name, outcome in zip(verbs, outcomes, strict=True):
                assert isinstance(outcome, LayerUnavailable), (name, outcome)
                assert outcome.__cause__ is not None, name
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

    async def test_on_another_channel_while_the_ringing_connection_is_away(
        self, own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who waits for a normal channel is told of another by a list, over a connection that may just be lost."""
        monkeypatch.setattr(normal, "BLOCK", int(2 * DEADLINE))  # not only when the server has ended the waiting
        async with make_layer(own_redis_server.address) as layer, make_layer(own_redis_server.address) as other:
            first = asyncio.create_task(layer.receive("first"))
            site = own_redis_server.client()
            await until(lambda: any(each["cmd"] == "blpop" for each in site.client_list()), "it waits for the first")
            for connection in site.client_list():
                if connection["cmd"].startswith("evalsha"):
                    site.client_kill_filter(_id=connection["id"])
            second = asyncio.create_task(layer.receive("second"))
            await other.send("second", {"type": "second"})
            assert (await soon(second))["type"] == "second"
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
