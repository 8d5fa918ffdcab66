"""Discarding a channel ends its memberships on all servers, also where a server is read late."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from numbered import until
from redis_servers import RedisServer, require_server
from sharded_sites import ShardedSite, take
from sites import talk

from channel_layers.redis import RedisChannelLayer

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def site(redis_server: RedisServer) -> AsyncIterator[ShardedSite]:
    with RedisServer(require_server("redis-server")) as second:
        site = ShardedSite(RedisChannelLayer, [redis_server, second])
        yield site
        await site.close()


async def until_it_reads_here(layer: Any) -> None:
    """This loop becomes the home of the layer, in which it reads from all servers."""
    await talk(layer, await layer.new_channel(), 20)
    reading, loop = [shard.reading for shard in layer._client.shards], asyncio.get_running_loop()
    await until(lambda: all(each.connection and each.connection.loop is loop for each in reading), "it reads here")


@contextlib.contextmanager
def read_late(layer: Any, place: int) -> Iterator[None]:
    """What comes over that server meanwhile waits in the socket. In the home loop of the layer."""
    reading = layer._client.shards[place].reading.connection
    reading.detach()
    yield
    reading.attach(asyncio.get_running_loop())


@pytest.mark.parametrize("member_before", ["the channel", "nobody", "another"])
@pytest.mark.parametrize("by_its_owner", [True, False])
async def test_of_a_member_that_has_just_joined(site: ShardedSite, by_its_owner: bool, member_before: str) -> None:
    """The owner comes to the join later than to the end."""
    owner, other = site.layer(), site.layer()
    (ended, _), room = await site.channels(owner), site.name(1, "room")
    another = await owner.new_channel()
    await until_it_reads_here(owner)
    if member_before == "another":
        await owner.group_add(room, another)
    elif member_before == "the channel":
        await owner.group_add(room, ended)
    who = owner if by_its_owner else other
    with read_late(owner, 1):
        await who.group_add(room, ended)
        await who.discard_channel(ended)
        await other.send(ended, {"n": "after the end"})
        assert await take(owner, ended) == ["after the end"], "the owner has heard of it"
        await other.group_send(room, {"n": "to a member that has left"})
    await owner.group_add(room, another)
    await other.group_send(room, {"n": "the last"})
    while await take(owner, another) != ["the last"]:
        pass
    assert owner.statistics().unread == 0


@pytest.mark.parametrize("late", [0, 1])
async def test_of_a_member_that_comes_back(site: ShardedSite, late: int) -> None:
    """The owner comes to the new join before the end of the channel, or to both when others have sent."""
    owner, other = site.layer(), site.layer()
    (ended, second), room = await site.channels(owner), site.name(1, "room")
    await until_it_reads_here(owner)
    await owner.group_add(room, ended)
    with read_late(owner, late):
        if late == 0:
            await other.group_send(room, {"n": "before the end"})
            await until(lambda: owner.statistics().unread == 1, "it arrives")
        await other.discard_channel(ended)
        await other.group_add(room, ended)
        in_time = (second, ended)[late]
        await other.send(in_time, {"n": "over the other server"})
        assert await take(owner, in_time) == ["over the other server"]
    await until(lambda: owner.statistics().unread == 0, "the owner has heard of the end")
    await other.group_send(room, {"n": "to who came back"})
    assert await take(owner, ended) == ["to who came back"]
