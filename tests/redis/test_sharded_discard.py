"""Discarding a channel ends its memberships on all servers, also where a server is read late."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from late_reading import end_lease, read_late, renew_lease, until_it_reads_here
from numbered import until
from redis_servers import SEND_TIMEOUT, RedisServer, require_server
from sharded_sites import ShardedSite, take

from channel_layers import LayerUnavailable
from channel_layers.redis import RedisChannelLayer
from channel_layers.redis.keys import Keys

pytestmark = pytest.mark.asyncio

#: Messages that a reader takes in many batches.
BACKLOG = 400


@pytest_asyncio.fixture
async def site(redis_server: RedisServer) -> AsyncIterator[ShardedSite]:
    with RedisServer(require_server("redis-server")) as second:
        site = ShardedSite(RedisChannelLayer, [redis_server, second])
        yield site
        await site.close()


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


@pytest.mark.parametrize("it_ends_by", ["a cancellation", "its deadline"])
async def test_by_a_verb_that_does_not_hear_the_answer(site: ShardedSite, it_ends_by: str) -> None:
    """What the server has taken ends the memberships on all, even if nobody waits for it any more."""
    owner, other = site.layer(send_timeout=SEND_TIMEOUT), site.layer()
    (ended, another), room = await site.channels(owner), site.name(1, "room")
    await until_it_reads_here(owner)
    await owner.group_add(room, ended)
    await owner.group_add(room, another)
    with read_late(owner, 0):
        ending = asyncio.create_task(owner.discard_channel(ended))
        if it_ends_by == "a cancellation":
            server, control = site.servers[0].client(), Keys(site.prefix).control(owner.client_prefix)
            await until(lambda: server.exists(control), "the server has taken it")
            ending.cancel()
        outcome, *_ = await asyncio.gather(ending, return_exceptions=True)
        assert isinstance(outcome, (asyncio.CancelledError, LayerUnavailable))
    await other.group_send(room, {"n": "to a member that has left"})
    assert await take(owner, another) == ["to a member that has left"]
    assert owner.statistics().unread == 0


async def test_by_a_verb_that_is_thrown_away(site: ShardedSite) -> None:
    """The garbage collector may do that in a thread that holds the lock of the inbox."""
    owner = site.layer()
    (ended, _), room = await site.channels(owner), site.name(1, "room")
    await until_it_reads_here(owner)
    await owner.group_add(room, ended)
    memberships = owner._client.shards[1].mailbox.memberships
    await until(lambda: memberships.members(room), "it has joined")
    ending = owner.discard_channel(ended)
    ending.send(None)
    with owner._inbox.lock:
        ending.close()
        assert memberships.members(room)
    await until(lambda: not memberships.members(room), "it has left")


async def test_of_a_member_that_has_just_left(site: ShardedSite) -> None:
    """What was sent to the group before it left, and is read after the end, does not come any more."""
    owner, other = site.layer(capacity=BACKLOG), site.layer()
    (ended, _), room = await site.channels(owner), site.name(1, "room")
    await until_it_reads_here(owner)
    await owner.group_add(room, ended)
    shard = owner._client.shards[1]
    mailbox, reading = shard.mailbox, shard.reading.connection
    await until(lambda: mailbox.memberships.members(room), "it has joined")
    with read_late(owner, 1):
        for n in range(BACKLOG):
            await other.group_send(room, {"n": n})
        await owner.group_discard(room, ended)
        with owner._inbox.lock:
            milliseconds, number = mailbox.changes.position
            mailbox.changes.when_applied((milliseconds, number + 1), reading.detach)
    await until(lambda: not mailbox.memberships.members(room), "it has left")
    await owner.discard_channel(ended)
    read_before = owner.statistics().arrived
    assert 0 < read_before - 20 < BACKLOG
    reading.attach(asyncio.get_running_loop())
    another = await owner.new_channel()
    await owner.group_add(room, another)
    await other.group_send(room, {"n": "the last"})
    assert await take(owner, another) == ["the last"]
    assert owner.statistics().arrived == read_before + 1


@pytest.mark.parametrize("losses", [1, 2])
async def test_of_a_member_that_a_server_remembers(site: ShardedSite, losses: int) -> None:
    """The server loses what it had, and comes back as it was some time ago."""
    owner, other = site.layer(), site.layer()
    (ended, another), room = await site.channels(owner), site.name(1, "room")
    await until_it_reads_here(owner)
    with read_late(owner, 1):
        await owner.group_add(room, ended)
        await owner.discard_channel(ended)
        with owner._inbox.lock:
            for _ in range(losses):
                owner._client.shards[1].mailbox.start_anew()
    await owner.group_add(room, another)
    await other.group_send(room, {"n": "to a member that has left"})
    assert await take(owner, another) == ["to a member that has left"]
    assert owner.statistics().unread == 0


async def test_by_an_end_that_its_server_has_lost(site: ShardedSite) -> None:
    """It ends the channel once: what came since over another server is delivered."""
    owner, other = site.layer(), site.layer()
    (ended, another), room = await site.channels(owner), site.name(1, "room")
    await until_it_reads_here(owner)
    server, control = site.servers[0].client(), Keys(site.prefix).control(owner.client_prefix)
    with read_late(owner, 0):
        ending = asyncio.create_task(owner.discard_channel(ended))
        await until(lambda: owner._client.shards[0].mailbox.changes._promised, "the server has confirmed it")
        end_lease(owner, site.servers[0])
        server.delete(control)
        await renew_lease(owner)
        await ending
        await owner.group_add(room, ended)
        await owner.group_add(room, another)
        await other.group_send(room, {"n": "since"})
        assert await take(owner, another) == ["since"]
    in_time = site.name(0, f"{owner.client_prefix}!")
    await other.send(in_time, {"n": "after all that is there"})
    assert await take(owner, in_time) == ["after all that is there"]
    assert await take(owner, ended) == ["since"]


@pytest.mark.parametrize("is_late", [False, True])
async def test_of_a_member_whose_join_is_read_again(site: ShardedSite, is_late: bool) -> None:
    """A process hears late of a flush, since it has no mailbox, and reads again what was changed since then."""
    owner, other = site.layer(), site.layer()
    (ended, another), room = await site.channels(owner), site.name(1, "room")
    await until_it_reads_here(owner)
    end_lease(owner, site.servers[1], 1)
    await other.flush()
    mailbox = owner._client.shards[1].mailbox
    with read_late(owner, 1) if is_late else contextlib.nullcontext():
        await owner.group_add(room, another)
        await owner.group_add(room, ended)
        await until(lambda: is_late or len(mailbox.memberships.members(room)) == 2, "they have joined")
        await owner.discard_channel(ended)
    await until(lambda: [*mailbox.memberships.members(room)] == [another], "one has left")
    await renew_lease(owner, 1)
    await until(lambda: mailbox.memberships.members(room), "it is read again")
    await other.group_send(room, {"n": "to who is there"})
    assert await take(owner, another) == ["to who is there"]
    assert owner.statistics().unread == 0


async def test_of_a_member_that_has_joined_before_the_connection_is_made_anew(site: ShardedSite) -> None:
    """Its join was asked for before the loss, and is not read again."""
    owner, other = site.layer(), site.layer()
    (ended, _), room, in_time = (
        await site.channels(owner),
        site.name(1, "room"),
        site.name(1, f"{owner.client_prefix}!"),
    )
    await until_it_reads_here(owner)
    shard = owner._client.shards[1]
    with owner._inbox.lock:
        shard.mailbox.start_anew()
    await owner.group_add(room, ended)
    await until(lambda: shard.mailbox.memberships.members(room), "it has joined")
    await owner.discard_channel(ended)
    shard.reading.restart()
    await other.send(in_time, {"n": "all is read"})
    assert await take(owner, in_time) == ["all is read"]
    assert not shard.mailbox.memberships.members(room)
