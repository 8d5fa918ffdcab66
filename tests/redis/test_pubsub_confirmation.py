"""What has returned holds: whoever sends afterwards, from however near to the server, reaches who joined or waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from numbered import soon, until
from proxy import TcpProxy
from pubsub_sites import PubSubSite, take
from redis_servers import DEADLINE, SEND_TIMEOUT, RedisServer
from sites import talk

from channel_layers import LayerUnavailable
from channel_layers.conformance.running import Child
from channel_layers.redis import RedisPubSubChannelLayer

#: Seconds that everything takes from a member to the server; a sender has no such way.
FAR = 0.003


@pytest.fixture
def site(redis_server: RedisServer) -> Iterator[PubSubSite]:
    site = PubSubSite(redis_server)
    yield site
    site.close()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    with TcpProxy(*redis_server.address, delay=FAR) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def member(site: PubSubSite, proxy: TcpProxy) -> AsyncIterator[RedisPubSubChannelLayer]:
    """A layer that is far from the server."""
    async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix, capacity=5_000) as layer:
        yield layer


@pytest_asyncio.fixture
async def sender(site: PubSubSite) -> RedisPubSubChannelLayer:
    """A layer beside the server, at work already."""
    layer = site.layer()
    for n in range(20):
        await layer.group_send("nobody", {"n": n})
    return layer


async def received(layer: RedisPubSubChannelLayer, channel: str, count: int) -> list[int]:
    """So many numbers; fewer if one does not come within the deadline."""
    numbers: list[int] = []
    with contextlib.suppress(asyncio.TimeoutError):
        while len(numbers) < count:
            numbers.append((await asyncio.wait_for(layer.receive(channel), 5))["n"])
    return sorted(numbers)


@pytest.mark.asyncio
class TestOfWhatIsHere:
    async def test_group_add(self, member: RedisPubSubChannelLayer, sender: RedisPubSubChannelLayer) -> None:
        """A thousand groups, 25 at once."""
        channel = await member.new_channel()

        async def join_and_send(first: int) -> None:
            for n in range(first, 1_000, 25):
                await member.group_add(f"room{n}", channel)
                await sender.group_send(f"room{n}", {"n": n})

        await asyncio.gather(*(join_and_send(first) for first in range(25)))
        assert await received(member, channel, 1_000) == list(range(1_000))

    async def test_group_add_by_many_at_once(
        self, member: RedisPubSubChannelLayer, sender: RedisPubSubChannelLayer
    ) -> None:
        """Who joins while the group is just being subscribed to waits for that, too."""
        channels = [await member.new_channel() for _ in range(40)]

        async def join_and_send(group: str, n: int) -> None:
            await member.group_add(group, channels[n])
            await sender.group_send(group, {"to": [group, n]})

        for turn in range(10):
            await asyncio.gather(*(join_and_send(f"room{turn}", n) for n in range(40)))
        for n, channel in enumerate(channels):
            missing = [[f"room{turn}", n] for turn in range(10)]
            while missing:
                to = (await take(member, channel))["to"]
                if to in missing:
                    missing.remove(to)

    async def test_group_add_of_one_who_had_just_left(
        self, member: RedisPubSubChannelLayer, sender: RedisPubSubChannelLayer
    ) -> None:
        """The server is asked to stop, and to begin again, in this order."""
        channel = await member.new_channel()
        for n in range(50):
            await member.group_add("room", channel)
            await sender.group_send("room", {"n": n})
            assert await received(member, channel, 1) == [n]
            await member.group_discard("room", channel)

    @pytest.mark.parametrize("kind", ["other", "own"])
    async def test_first_new_channel(
        self, site: PubSubSite, proxy: TcpProxy, sender: RedisPubSubChannelLayer, kind: str
    ) -> None:
        """Of two hundred layers, ten at once: whoever sends, another layer or the same."""

        async def begin_and_send(first: int) -> list[int]:
            got = []
            for n in range(first, 200, 10):
                async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix) as layer:
                    channel = await layer.new_channel()
                    await (sender if kind == "other" else layer).send(channel, {"n": n})
                    got += await received(layer, channel, 1)
            return got

        got = await asyncio.gather(*(begin_and_send(first) for first in range(10)))
        assert sorted(n for each in got for n in each) == list(range(200))

    async def test_new_channel_by_many_at_once(
        self, site: PubSubSite, proxy: TcpProxy, sender: RedisPubSubChannelLayer
    ) -> None:
        """Not only the first to ask waits."""
        async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix) as layer:

            async def begin_and_send(n: int) -> list[int]:
                channel = await layer.new_channel()
                await sender.send(channel, {"n": n})
                return await received(layer, channel, 1)

            got = await asyncio.gather(*(begin_and_send(n) for n in range(30)))
        assert got == [[n] for n in range(30)]

    @pytest.mark.parametrize("begun_by", ["sends alone", "a receive"])
    async def test_send_to_itself_after_close(self, site: PubSubSite, proxy: TcpProxy, begun_by: str) -> None:
        """A channel lives on when its layer was closed: what the layer itself sends there then does not come too
        early."""
        async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix) as layer:
            channel = await layer.new_channel()
            for _ in range(10):
                await layer.close()
                await layer.send("elsewhere", {})  # it is connected, but does not listen yet
                receiving = asyncio.create_task(received(layer, channel, 5))
                if begun_by == "a receive":
                    await asyncio.sleep(0)
                await asyncio.gather(*(layer.send(channel, {"n": n}) for n in range(5)))
                assert await receiving == list(range(5))

    @pytest.mark.parametrize("first", ["receive", "send"])
    async def test_first_receive_of_a_normal_channel(
        self, member: RedisPubSubChannelLayer, sender: RedisPubSubChannelLayer, first: str
    ) -> None:
        """Whether somebody waits already or not, a message to a normal channel is there for whoever comes."""
        await member.new_channel()

        async def one(n: int) -> list[int]:
            if first == "send":
                await sender.send(f"jobs{n}", {"n": n})
            receiving = asyncio.create_task(received(member, f"jobs{n}", 1))
            if first == "receive":
                await asyncio.sleep(0)
                await sender.send(f"jobs{n}", {"n": n})
            return await receiving

        for start in range(0, 200, 100):
            got = await asyncio.gather(*(one(n) for n in range(start, start + 100)))
            assert got == [[n] for n in range(start, start + 100)]


@pytest.mark.asyncio
class TestOfWhatIsElsewhere:
    """A layer lets a channel that is not its own join or leave a group, or ends it."""

    async def test_group_add(
        self, site: PubSubSite, member: RedisPubSubChannelLayer, sender: RedisPubSubChannelLayer
    ) -> None:
        channel = await member.new_channel()

        async def join_and_send(first: int) -> None:
            for n in range(first, 500, 25):
                await sender.group_add(f"room{n}", channel)
                await sender.group_send(f"room{n}", {"n": n})

        await asyncio.gather(*(join_and_send(first) for first in range(25)))
        assert await received(member, channel, 500) == list(range(500))
        assert len([name for name in site.subscribed() if name.startswith("group:room")]) == 500

    async def test_group_add_waits_for_the_server_of_the_other(
        self, site: PubSubSite, sender: RedisPubSubChannelLayer
    ) -> None:
        """Not only for the other to have heard of it."""
        member = site.layer()
        channel = await member.new_channel()
        await talk(member, channel, 20)
        reading = member._client.shards[0].reading
        await until(lambda: reading.connection and reading.connection.loop is asyncio.get_running_loop(), "at home")
        assert reading.connection is not None
        reading.connection.hold()  # the server is not asked yet
        adding = asyncio.create_task(sender.group_add("room", channel))
        for n in range(20):
            await sender.group_discard(f"other{n}", channel)  # is answered
        assert not adding.done()
        await site.until_subscribers("group:room", 0)
        reading.connection.release()
        await soon(adding)
        assert site.subscribers("group:room") == 1

    async def test_group_discard(
        self, site: PubSubSite, member: RedisPubSubChannelLayer, sender: RedisPubSubChannelLayer
    ) -> None:
        stays, leaves = await member.new_channel(), await member.new_channel()
        for channel in (stays, leaves):
            await member.group_add("room", channel)
        for n in range(50):
            await sender.group_add("room", leaves)
            await sender.group_discard("room", leaves)
            await sender.group_send("room", {"n": n})
        assert await received(member, stays, 50) == list(range(50))
        await sender.group_discard("room", stays)
        await site.until_subscribers("group:room", 0)
        await sender.send(leaves, {"last": True})
        assert await take(member, leaves) == {"last": True}

    async def test_discard_channel(
        self, site: PubSubSite, member: RedisPubSubChannelLayer, sender: RedisPubSubChannelLayer
    ) -> None:
        channel, other = await member.new_channel(), await member.new_channel()
        for name in (channel, other):
            await sender.group_add("room", name)
        await sender.send(channel, {"n": 1})
        await until(lambda: member.statistics().unread == 1, "it arrives")
        await sender.discard_channel(channel)
        assert member.statistics().dropped == {"discarded": 1}
        await sender.group_send("room", {"group": 1})
        await sender.send(channel, {"last": True})
        assert await take(member, channel) == {"last": True}
        assert await take(member, other) == {"group": 1}
        assert site.subscribers("group:room") == 1

    async def test_twice_does_no_harm(
        self, site: PubSubSite, member: RedisPubSubChannelLayer, sender: RedisPubSubChannelLayer
    ) -> None:
        channel = await member.new_channel()
        for verb in (sender.group_add, sender.group_add, member.group_add):
            await verb("room", channel)
        await sender.group_send("room", {"n": 1})
        await sender.send(channel, {"n": 2})
        assert await received(member, channel, 2) == [1, 2]
        for verb in (sender.group_discard, sender.group_discard, member.group_discard):
            await verb("room", channel)
        for _ in range(2):
            await sender.discard_channel(channel)
        await site.until_subscribers("group:room", 0)

    async def test_of_a_layer_that_only_sends(self, site: PubSubSite, member: RedisPubSubChannelLayer) -> None:
        """It begins to listen then, for the answer."""
        fresh, channel = site.layer(), await member.new_channel()
        await fresh.group_add("room", channel)
        await fresh.group_send("room", {"n": 1})
        assert await received(member, channel, 1) == [1]

    async def test_with_names_of_every_character(
        self, member: RedisPubSubChannelLayer, sender: RedisPubSubChannelLayer
    ) -> None:
        group = "a-z_A.Z0" + "9" * 80
        channel = await member.new_channel("x" * 40)
        await sender.group_add(group, channel)
        await sender.group_send(group, {"n": 1})
        assert await received(member, channel, 1) == [1]
        await sender.group_discard(group, channel)
        await sender.group_send(group, {"n": 2})
        await sender.send(channel, {"n": 3})
        assert await received(member, channel, 1) == [3]


@pytest.mark.asyncio
class TestOfAnotherProcess:
    @pytest.fixture
    def process(self, site: PubSubSite) -> Iterator[Child]:
        """It tells its channel first, and then all that comes there."""

        async def work(child: Child) -> None:
            async with site.layer() as layer:
                channel = await layer.new_channel()
                child.tell(channel)
                while (message := await layer.receive(channel)) != {"stop": True}:
                    child.tell(message)

        child = Child(work, DEADLINE)
        yield child
        child.end()

    async def test_that_lives(self, site: PubSubSite, process: Child) -> None:
        layer, channel = site.layer(), await process.hear()
        for n in range(100):
            await layer.group_add(f"room{n % 10}", channel)
            await layer.group_send(f"room{n % 10}", {"n": n})
            await layer.group_discard(f"room{n % 10}", channel)
            await layer.group_send(f"room{n % 10}", {"n": "nobody's"})
            assert await process.hear() == {"n": n}
        await layer.group_add("room", channel)
        await layer.discard_channel(channel)
        await layer.group_send("room", {"n": "nobody's"})
        await layer.send(channel, {"last": True})
        assert await process.hear() == {"last": True}

    async def test_that_is_dead(self, site: PubSubSite, process: Child) -> None:
        layer, channel = site.layer(send_timeout=SEND_TIMEOUT), await process.hear()
        await layer.group_add("room", channel)
        os.kill(process.pid, signal.SIGKILL)
        await site.until_subscribers("group:room", 0)
        with pytest.raises(LayerUnavailable, match=f"nobody is there .* waited {SEND_TIMEOUT} s"):
            await soon(layer.group_add("room", channel))
        await soon(layer.group_discard("room", channel))
        await soon(layer.discard_channel(channel))
        await soon(layer.group_send("room", {}))
        await soon(layer.send(channel, {}))

    async def test_that_is_stopped(self, site: PubSubSite, process: Child) -> None:
        """It does what it was asked for when it goes on, though nobody waits for its answer any more."""
        layer, channel = site.layer(send_timeout=SEND_TIMEOUT), await process.hear()
        for group in ("left", "kept"):
            await layer.group_add(group, channel)
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # noqa: ASYNC222 - it does not take long
        try:
            for verb in (layer.group_add("room", channel), layer.group_discard("left", channel)):
                with pytest.raises(LayerUnavailable, match=f"does not answer; waited {SEND_TIMEOUT} s"):
                    await soon(verb)
        finally:
            os.kill(process.pid, signal.SIGCONT)
        await site.until_subscribers("group:room", 1)
        await site.until_subscribers("group:left", 0)
        for n, group in enumerate(("left", "kept", "room")):
            await layer.group_send(group, {"n": n})
        assert [await process.hear() for _ in "12"] == [{"n": 1}, {"n": 2}]

    async def test_that_has_closed_its_layer(self, site: PubSubSite) -> None:
        layer, other = site.layer(send_timeout=SEND_TIMEOUT), site.layer()
        channel = await other.new_channel()
        await other.close()
        with pytest.raises(LayerUnavailable, match="nobody is there"):
            await soon(layer.group_add("room", channel))
        await soon(layer.group_discard("room", channel))

    async def test_that_is_just_coming_back(self, site: PubSubSite) -> None:
        """A moment without a connection does not make it dead."""
        layer, other = site.layer(send_timeout=5), site.layer("other")
        channel = await other.new_channel()
        await layer.new_channel()
        await until(lambda: other._client.shards[0].reading.connection, "it is at work")
        for n in range(4):
            await other.close_pools()
            await soon(layer.group_add(f"room{n}", channel))
            await site.until_subscribers(f"group:room{n}", 1)


@pytest.mark.asyncio
async def test_a_membership_that_is_made_anew_when_it_has_just_ended(site: PubSubSite) -> None:
    """The last member of a group ends and begins in the same moment: the group stays subscribed."""
    layer, sender = site.layer(group_expiry=3.0), site.layer()
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    end = time.monotonic() + 3.0
    await until(lambda: time.monotonic() > end, "the membership ends")
    await layer.group_add("room", channel)
    subscriptions = layer._client.shards[0].subscriptions
    await until(lambda: not subscriptions._unwanted, "what is not wanted is left")
    await sender.group_send("room", {"n": 1})
    assert await take(layer, channel) == {"n": 1}


@pytest.mark.asyncio
class TestTwoWhoAddTheSame:
    """A membership holds if one of them succeeds, whatever becomes of the other."""

    @pytest.mark.parametrize("given_up", [0, 1])
    async def test_one_gives_up(self, own_redis_server: RedisServer, given_up: int) -> None:
        site = PubSubSite(own_redis_server)
        layer, sender = site.layer(send_timeout=DEADLINE), site.layer()
        channel = await layer.new_channel()
        await sender.group_send("room", {"n": 0})
        own_redis_server.pause()
        adding = [asyncio.ensure_future(layer.group_add("room", channel)) for _ in range(2)]
        await asyncio.sleep(0)
        adding[given_up].cancel()
        await asyncio.wait({adding[given_up]})
        own_redis_server.resume()
        await soon(adding[1 - given_up])
        await sender.group_send("room", {"n": 1})
        assert await take(layer, channel) == {"n": 1}
        await asyncio.to_thread(site.close)

    async def test_both_give_up(self, own_redis_server: RedisServer) -> None:
        site = PubSubSite(own_redis_server)
        layer = site.layer(send_timeout=DEADLINE)
        channel = await layer.new_channel()
        own_redis_server.pause()
        adding = [asyncio.ensure_future(layer.group_add("room", channel)) for _ in range(2)]
        await asyncio.sleep(0)
        for each in adding:
            each.cancel()
        await asyncio.wait(adding)
        own_redis_server.resume()
        await site.until_subscribers("group:room", 0)
        assert not layer._client.shards[0].groups.groups()
        assert not layer._client.shards[0].groups._attempts
        await asyncio.to_thread(site.close)

    async def test_who_gives_up_does_not_end_what_held_before(self, own_redis_server: RedisServer) -> None:
        site = PubSubSite(own_redis_server)
        layer, sender = site.layer(send_timeout=DEADLINE), site.layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        with site.nobody_comes_back():
            own_redis_server.kill_clients("pubsub")
            shard = layer._client.shards[0]
            await until(lambda: shard.is_out_of_touch, "it has noticed")
            adding = asyncio.ensure_future(layer.group_add("room", channel))
            await asyncio.sleep(0)
            adding.cancel()
            await asyncio.wait({adding})
        await site.until_subscribers("group:room", 1)
        await until(lambda: not shard.is_out_of_touch, "it is back")
        await sender.group_send("room", {"n": 1})
        assert await take(layer, channel) == {"n": 1}
        await asyncio.to_thread(site.close)


@pytest.mark.asyncio
async def test_a_request_that_comes_again_is_not_done_again(site: PubSubSite, sender: RedisPubSubChannelLayer) -> None:
    """Its answer was late, and meanwhile the owner has changed its mind."""
    layer = site.layer()
    channel = await layer.new_channel()
    await sender.group_add("room", channel)
    shard = layer._client.shards[0]
    ((client, number),) = shard.requests._heard
    await layer.group_discard("room", channel)
    with shard.inbox.lock:
        shard.requests.take(["join", "room", channel, client, number])
    assert not shard.groups.members("room")
    await sender.group_add("room", channel)
    assert list(shard.groups.members("room")) == [channel]


@pytest.mark.asyncio
async def test_who_no_longer_waits_is_forgotten(own_redis_server: RedisServer) -> None:
    site = PubSubSite(own_redis_server)
    layer = site.layer(send_timeout=SEND_TIMEOUT)
    channel = await layer.new_channel()
    own_redis_server.pause()
    outcomes = await asyncio.gather(*(layer.group_add("room", channel) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(outcome, LayerUnavailable) for outcome in outcomes)
    subscriptions = layer._client.shards[0].subscriptions
    assert not any(entry.waiting for entry in subscriptions._names.values())
    own_redis_server.resume()
    await asyncio.to_thread(site.close)
