"""How the Redis Pub/Sub layer tells consumers that messages may be missing: ``on_disconnect`` and ``on_reconnect``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import async_to_sync
from numbered import until
from pubsub_sites import PubSubSite, take
from redis_servers import RedisServer
from sites import talk

from channel_layers import ChannelFull, InvalidChannelLayerError
from channel_layers.redis import RedisPubSubChannelLayer

LOST, BACK = {"type": "redis.lost"}, {"type": "redis.back"}
TOLD = {"on_disconnect": LOST["type"], "on_reconnect": BACK["type"]}


@pytest.fixture
def site(own_redis_server: RedisServer) -> Iterator[PubSubSite]:
    site = PubSubSite(own_redis_server)
    own_redis_server.client().ping()
    yield site
    site.close()


class Consumer:
    """Waits for the messages of one channel all the time."""

    def __init__(self, layer: RedisPubSubChannelLayer, channel: str) -> None:
        self.layer, self.channel = layer, channel
        self.got: list[Any] = []
        self.task = asyncio.create_task(self._receive())

    async def _receive(self) -> None:
        while True:
            self.got.append(await self.layer.receive(self.channel))

    async def until(self, *messages: Any) -> None:
        """Exactly these have come, and nothing else."""
        await until(lambda: len(self.got) >= len(messages), lambda: f"{messages} come: {self.got}")
        assert self.got == list(messages)

    async def mark(self, sender: RedisPubSubChannelLayer, *before: Any) -> None:
        """What comes next is what is sent now: nothing else is there, and nothing on its way."""
        await sender.send(self.channel, {"mark": len(before)})
        await self.until(*before, {"mark": len(before)})


class Told:
    """A layer that tells of gaps, and another that sends."""

    def __init__(self, site: PubSubSite) -> None:
        self.site = site
        self.layer, self.sender = site.layer(capacity=2, **TOLD), site.layer()
        self.consumers: list[Consumer] = []

    async def consumer(self) -> Consumer:
        """One that waits by now."""
        consumer = Consumer(self.layer, await self.layer.new_channel())
        self.consumers.append(consumer)
        await asyncio.sleep(0)
        return consumer

    def lose(self) -> None:
        self.site.server.kill_clients("pubsub")

    async def until_back(self) -> None:
        await self.site.until_subscribers(f"mailbox:{self.layer.client_prefix}", 1)


@pytest_asyncio.fixture
async def told(site: PubSubSite) -> AsyncIterator[Told]:
    told = Told(site)
    yield told
    for consumer in told.consumers:
        consumer.task.cancel()
    await asyncio.gather(*(consumer.task for consumer in told.consumers), return_exceptions=True)


@pytest.mark.asyncio
class TestWhoIsTold:
    async def test_who_waits_gets_one_of_each(self, told: Told) -> None:
        consumers = [await told.consumer() for _ in range(20)]
        told.lose()
        for consumer in consumers:
            await consumer.until(LOST, BACK)
            await consumer.mark(told.sender, LOST, BACK)

    async def test_who_holds_unread_messages_gets_them_behind_these(self, told: Told) -> None:
        layer, witness = told.layer, await told.consumer()
        half, full = await layer.new_channel(), await layer.new_channel()
        for channel, count in ((half, 1), (full, 2)):
            for n in range(count):
                await told.sender.send(channel, {"n": n})
        await until(lambda: layer.statistics().unread == 3, "they arrive")
        told.lose()
        await witness.until(LOST, BACK)
        for channel, count in ((half, 1), (full, 2)):
            expected = [*({"n": n} for n in range(count)), LOST, BACK]
            assert [await take(layer, channel) for _ in expected] == expected
            await told.sender.send(channel, {"last": True})
            assert await take(layer, channel) == {"last": True}
        counts = layer.statistics()
        assert counts.dropped == {}, "they take no place, and are never dropped for want of one"
        assert counts.arrived == counts.delivered + counts.unread == 2 + 3 + 4 + 2

    async def test_they_are_beyond_the_capacity_and_count_when_they_are_there(self, told: Told) -> None:
        layer, witness = told.layer, await told.consumer()
        channel = await layer.new_channel()
        for n in range(2):
            await layer.send(channel, {"n": n})
        told.lose()
        await witness.until(LOST, BACK)
        with pytest.raises(ChannelFull):
            await layer.send(channel, {"n": 2})
        assert [await take(layer, channel) for _ in range(3)] == [{"n": 0}, {"n": 1}, LOST]
        await layer.send(channel, {"n": 3})
        assert [await take(layer, channel) for _ in range(2)] == [BACK, {"n": 3}]

    async def test_nobody_else(self, told: Told) -> None:
        layer, witness = told.layer, await told.consumer()
        unused, emptied, given_up = [await layer.new_channel() for _ in range(3)]
        await layer.send(emptied, {"n": 1})
        assert await take(layer, emptied) == {"n": 1}
        waiting = asyncio.create_task(layer.receive(given_up))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        told.lose()
        await witness.until(LOST, BACK)
        assert layer.statistics().unread == 0
        for channel in (unused, emptied, given_up):
            await told.sender.send(channel, {"last": True})
            assert await take(layer, channel) == {"last": True}

    async def test_who_comes_meanwhile_gets_the_second_only(self, told: Told) -> None:
        layer, witness = told.layer, await told.consumer()
        with told.site.nobody_comes_back():
            told.lose()
            await witness.until(LOST)
            late = await told.consumer()
            left = await layer.new_channel()
        await witness.until(LOST, BACK)
        await late.until(BACK)
        await late.mark(told.sender, BACK)
        await told.sender.send(left, {"last": True})
        assert await take(layer, left) == {"last": True}

    async def test_they_come_where_messages_may_be_missing(self, told: Told) -> None:
        """What was sent before comes before the first, and all that is sent after the second comes."""
        layer, consumer = told.layer, await told.consumer()
        await layer.group_add("room", consumer.channel)
        await told.sender.group_send("room", {"n": 1})
        await consumer.until({"n": 1})
        with told.site.nobody_comes_back():
            told.lose()
            await consumer.until({"n": 1}, LOST)
            await told.sender.group_send("room", {"n": "missed"})
        await consumer.until({"n": 1}, LOST, BACK)
        await told.sender.group_send("room", {"n": 2})
        await consumer.until({"n": 1}, LOST, BACK, {"n": 2})

    async def test_a_process_that_reads_so_slowly_that_the_server_leaves_it(self, site: PubSubSite) -> None:
        """The server bounds what it keeps for it; what it did not keep is a gap like any other."""
        layer, sender = site.layer(capacity=100_000, **TOLD), site.layer()
        channel = await layer.new_channel()
        await talk(layer, channel, 20)
        reading = layer._client.shards[0].reading
        await until(lambda: reading.connection and reading.connection.loop is asyncio.get_running_loop(), "at home")
        site.server.config("client-output-buffer-limit", "pubsub 1000000 0 0")
        consumer, sent = Consumer(layer, channel), 0
        await asyncio.sleep(0)

        def flood() -> None:
            nonlocal sent
            while site.subscribers(f"mailbox:{layer.client_prefix}"):
                async_to_sync(sender.send)(channel, {"n": sent, "text": 500_000 * "x"})
                sent += 1

        flooding = threading.Thread(target=flood)
        flooding.start()
        flooding.join()  # in the way that holds up the loop
        try:
            await until(lambda: consumer.got[-1:] == [BACK], lambda: f"it is back: {len(consumer.got)} of {sent}")
            *got, lost, _ = consumer.got
            assert lost == LOST
            assert [message["n"] for message in got] == list(range(len(got)))
            assert len(got) < sent
            await sender.send(channel, {"last": True})
            await consumer.until(*got, LOST, BACK, {"last": True})
        finally:
            consumer.task.cancel()
            await asyncio.wait({consumer.task})


@pytest.mark.asyncio
class TestHowOften:
    async def test_once_for_each_time(self, told: Told) -> None:
        consumer, expected = await told.consumer(), []
        for _ in range(10):
            await told.until_back()
            told.lose()
            expected += [LOST, BACK]
            await consumer.until(*expected)
        await consumer.mark(told.sender, *expected)

    async def test_once_however_often_the_server_refuses_meanwhile(self, told: Told) -> None:
        consumer = await told.consumer()
        with told.site.nobody_comes_back():
            told.site.server.kill_clients()
            await consumer.until(LOST)
            rejected = lambda: told.site.server.client().info("stats")["rejected_connections"]  # noqa: E731
            before = rejected()
            await until(lambda: rejected() > before + 5, "it tries again and again")
            assert consumer.got == [LOST]
        await consumer.until(LOST, BACK)
        await consumer.mark(told.sender, LOST, BACK)

    async def test_once_when_the_new_connection_ends_before_all_is_subscribed(self, told: Told) -> None:
        """Of each gap: a connection that was never good for all is none that was lost."""
        layer, consumer = told.layer, await told.consumer()
        for number in range(300):
            await layer.group_add(f"group{number}", consumer.channel)
        for _ in range(40):
            told.lose()
            await asyncio.sleep(0.005)
        await until(lambda: consumer.got and consumer.got[-1] == BACK, lambda: f"{consumer.got}")
        await told.site.until_subscribers("group:group299", 1)
        await told.until_back()
        assert consumer.got == [LOST, BACK] * (len(consumer.got) // 2)

    async def test_also_of_a_layer_that_has_just_begun(self, site: PubSubSite) -> None:
        """Its first channel was there, so that messages may be missing, though not all was made yet."""
        for _ in range(10):
            layer = site.layer(**TOLD)
            consumer = Consumer(layer, await layer.new_channel())
            await asyncio.sleep(0)
            with site.nobody_comes_back():
                site.server.kill_clients()
                await consumer.until(LOST)
            await consumer.until(LOST, BACK)
            consumer.task.cancel()
            await asyncio.wait({consumer.task})
            await layer.close()

    async def test_never_at_the_first_connection(self, told: Told) -> None:
        consumer = await told.consumer()
        await consumer.mark(told.sender)

    async def test_never_at_the_first_connection_however_late(self, site: PubSubSite) -> None:
        layer = site.layer(**TOLD)
        site.server.stop()
        waiting = asyncio.create_task(layer.receive(f"specific.{layer.client_prefix}!x"))
        failed = layer._client.shards[0]
        await until(lambda: failed.reading.failure, "it has tried")
        await asyncio.to_thread(site.server.start)
        await site.until_subscribers(f"mailbox:{layer.client_prefix}", 1)
        await site.layer().send(f"specific.{layer.client_prefix}!x", {"n": 1})
        assert await asyncio.wait_for(waiting, 10) == {"n": 1}

    async def test_never_after_close(self, told: Told) -> None:
        layer, channel = told.layer, await told.layer.new_channel()
        await layer.close()
        await layer.new_channel()
        consumer = Consumer(layer, channel)
        told.consumers.append(consumer)
        await consumer.mark(told.sender)

    async def test_close_pools_is_a_gap_like_any_other(self, told: Told) -> None:
        consumer, idle = await told.consumer(), await told.layer.new_channel()
        reading = told.layer._client.shards[0].reading
        await until(lambda: reading.connection, "there is something to close")
        for turn in range(1, 4):
            await told.layer.close_pools()
            await consumer.until(*[LOST, BACK] * turn)
            await told.until_back()
        await consumer.mark(told.sender, *[LOST, BACK] * 3)
        await told.sender.send(idle, {"n": 1})
        assert await take(told.layer, idle) == {"n": 1}

    async def test_never_when_only_senders_lose_their_connection(self, told: Told) -> None:
        consumer = await told.consumer()
        await told.layer.send(consumer.channel, {"n": 1})
        told.site.server.kill_clients("normal")
        await until(lambda: told.layer._client.shards[0].far.failure is None, "it is back")
        await told.site.layer().send(consumer.channel, {"n": 2})
        await consumer.until({"n": 1}, {"n": 2})


def test_never_when_the_connection_moves_to_another_loop(site: PubSubSite) -> None:
    layer = site.layer(**TOLD)

    async def talk(channel: str) -> None:
        for n in range(20):
            await layer.send(channel, {"n": n})
            assert await take(layer, channel) == {"n": n}

    channel = asyncio.run(layer.new_channel())
    for _ in range(5):
        asyncio.run(talk(channel))
    assert layer.statistics().unread == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, []),
        ({"on_disconnect": "redis.lost"}, [LOST]),
        ({"on_reconnect": "redis.back"}, [BACK]),
        ({**TOLD, "serializer_format": "json", "symmetric_encryption_keys": ["secret"]}, [LOST, BACK]),
    ],
)
async def test_only_those_that_were_asked_for(site: PubSubSite, options: dict[str, Any], expected: list[Any]) -> None:
    layer = site.layer(**options)
    consumer = Consumer(layer, await layer.new_channel())
    await asyncio.sleep(0)
    await until(lambda: layer._client.shards[0].reading.connection is not None, "it is in use")
    before = layer._client.shards[0].reading.connection
    site.server.kill_clients("pubsub")
    await until(lambda: layer._client.shards[0].reading.connection not in (None, before), "it is back")
    await layer.send(consumer.channel, {"last": True})
    try:
        await consumer.until(*expected, {"last": True})
    finally:
        consumer.task.cancel()
        await asyncio.wait({consumer.task})


@pytest.mark.parametrize("option", ["on_disconnect", "on_reconnect"])
@pytest.mark.parametrize("value", ["", 3, {"type": "x"}, b"redis.lost"])
def test_what_is_no_type_of_a_message(option: str, value: object) -> None:
    with pytest.raises(InvalidChannelLayerError, match=option):
        RedisPubSubChannelLayer(**{option: value})  # type: ignore[arg-type]
