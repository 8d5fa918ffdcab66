"""Changes of memberships that the server has confirmed are kept when the lease ends before, or after, they are read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio
from late_reading import end_lease, read_late, renew_lease, until_it_reads_here
from numbered import until
from sharded_sites import take
from sites import Site

from channel_layers.redis.queue.changes import _APPLIED
from channel_layers.redis.queue.membership import as_text

pytestmark = pytest.mark.asyncio

#: Changes of memberships that a reader does not take in one batch.
MANY = 300


class Process:
    """A layer that reads in this loop, with two of its channels; and another layer."""

    def __init__(self, site: Site) -> None:
        self.server = site.server
        self.layer, self.other = site.layer(), site.layer()
        self.shard = self.layer._client.shards[0]
        self.mailbox_key, _, self.control_key = self.shard.own_keys

    async def start(self) -> None:
        await until_it_reads_here(self.layer)
        self.channel, self.another = await self.layer.new_channel(), await self.layer.new_channel()
        await self.other.send(await self.other.new_channel(), {})

    def read_late(self) -> Any:
        return read_late(self.layer, 0)

    def members(self, group: str = "room") -> list[str]:
        return sorted(self.shard.mailbox.memberships.members(group))

    def is_listed(self) -> bool:
        """Whether the server knows of members of the group here."""
        return bool(self.server.client().exists(self.shard.keys.group("room")))

    async def renew_lease(self) -> None:
        """And wait until all that the server has was read."""
        await renew_lease(self.layer)
        await self.until_all_is_read()

    async def until_all_is_read(self) -> None:
        await self.other.send(self.another, {"n": "mark"})
        assert await take(self.layer, self.another) == ["mark"]

    async def tells(self) -> None:
        """Tell the server what was read: it need not keep that."""
        entries = self.server.client().xrevrange(self.control_key, count=1)
        await until(
            lambda: not entries or as_text(self.shard.mailbox.changes.position) == entries[0][0].decode(), "read"
        )
        told, places, loop = asyncio.Event(), self.shard.places, asyncio.get_running_loop()
        with self.layer._inbox.lock:
            places.tell_soon()
        places.when_told(lambda: loop.call_soon_threadsafe(told.set))
        await told.wait()

    async def flushes_unread(self) -> asyncio.Task[None]:
        """The other flushes; what it tells this process comes with what it is told next."""
        await self.other.send(self.another, {"n": "the look that waits ends with this"})
        server = self.server.client()
        flushing = asyncio.create_task(self.other.flush())
        await until(lambda: b"!flush" in str(server.xrange(self.mailbox_key)).encode(), "it was told")
        return flushing


@pytest_asyncio.fixture
async def process(own_site: Site) -> Process:
    process = Process(own_site)
    await process.start()
    return process


@pytest.mark.parametrize("when", ["before it is read", "after it was read", "after the server was told of that"])
async def test_a_join_after_a_flush(process: Process, when: str) -> None:
    """No mailbox is left to tell of the flush: the process hears of it late, when it renews its lease."""
    end_lease(process.layer, process.server)
    await process.other.flush()
    if when == "before it is read":
        with process.read_late():
            await process.layer.group_add("room", process.channel)
            await renew_lease(process.layer)
    else:
        await process.layer.group_add("room", process.channel)
        await until(process.members, "it has joined")
        if when == "after the server was told of that":
            await process.tells()
        await renew_lease(process.layer)
    await process.until_all_is_read()
    assert process.members() == [process.channel]
    await process.other.group_send("room", {"n": "to the member"})
    assert await take(process.layer, process.channel) == ["to the member"]


async def test_what_was_asked_for_before_a_flush_was_heard_of(process: Process) -> None:
    """The answer to the look from before tells of one join; in the next one there is the other, too."""
    reading, mailbox = process.shard.reading, process.shard.mailbox
    await process.layer.group_add("room", process.channel)
    await until(process.members, "it has joined")
    with process.read_late():
        await process.layer.group_add("room", process.another)
        with process.layer._inbox.lock:
            read_before = mailbox.changes.position
            mailbox.start_anew()
            process.layer._client.empty(process.shard)
            mailbox.changes.flushed(read_before)
    await until(process.members, "the other has joined")
    reading.restart()
    await until(lambda: len(process.members()) == 2, "both are members")


async def test_many_changes_without_a_mailbox(process: Process) -> None:
    """More than are remembered: what was read, and is not to be read again, does not wait on the server for that."""
    await process.other.flush()
    end_lease(process.layer, process.server)
    for change in (process.layer.group_add, process.layer.group_discard):
        await asyncio.gather(*(change(f"room.{n}", process.channel) for n in range(_APPLIED)))
        await process.tells()
    await process.renew_lease()
    assert [n for n in range(_APPLIED) if process.members(f"room.{n}")] == []


async def test_the_end_of_a_channel_that_is_read_before_the_connection_is_made_anew(process: Process) -> None:
    """It ends the channel once: what was sent after it stays."""
    with process.layer._inbox.lock:
        process.shard.mailbox.start_anew()
    await process.other.discard_channel(process.channel)
    await process.other.send(process.channel, {"n": "after the end"})
    await until(lambda: process.layer.statistics().unread == 1, "it has come")
    process.shard.reading.restart()
    await process.until_all_is_read()
    assert await take(process.layer, process.channel) == ["after the end"]


async def test_a_leave(process: Process) -> None:
    """The server does not list the process for ever."""
    await process.layer.group_add("room", process.channel)
    await until(process.members, "it has joined")
    end_lease(process.layer, process.server)
    with process.read_late():
        await process.layer.group_discard("room", process.channel)
        await renew_lease(process.layer)
    await process.until_all_is_read()
    assert not process.members()
    await until(lambda: not process.is_listed(), "the server knows it")


async def test_a_message_before_the_end_of_its_channel(process: Process) -> None:
    """It has come to a mailbox that is not there yet, and is not delivered after the end."""
    end_lease(process.layer, process.server)
    with process.read_late():
        await process.other.send(process.channel, {"n": "before the end"})
        ending = asyncio.create_task(process.layer.discard_channel(process.channel))
        await until(lambda: process.server.client().exists(process.control_key), "the server has taken the end")
        await asyncio.sleep(0)
        await renew_lease(process.layer)
    await ending
    await process.until_all_is_read()
    assert process.layer.statistics().unread == 0


@pytest.mark.parametrize("changes_by", ["the owner", "another"])
@pytest.mark.parametrize("kept", [0, 1, 2])
async def test_the_server_comes_back_with_some_of_the_changes(process: Process, kept: int, changes_by: str) -> None:
    """The first of them are read again, or were made by another; the rest count all the same."""
    who = process.other if changes_by == "another" else process.layer
    await process.layer.group_add("room", process.another)
    await process.layer.group_add("rest", process.channel)
    await until(lambda: process.members("rest"), "they have joined")
    with process.read_late():
        await who.group_add("room", process.channel)
        await who.group_discard("rest", process.channel)
        await process.layer.group_discard("room", process.channel)
        await process.layer.group_add("rest", process.channel)
        entries = [entry for entry, _ in process.server.client().xrange(process.control_key)][-4:]
        end_lease(process.layer, process.server)
        process.server.client().xdel(process.control_key, *entries[kept:])
        await renew_lease(process.layer)
    await process.until_all_is_read()
    assert process.members() == [process.another]
    assert process.members("rest") == [process.channel]


async def test_a_change_after_those_that_the_server_has_lost(process: Process) -> None:
    """It counts, and they do not any more, though the first of them is read again."""
    with process.read_late():
        await process.layer.group_add("room", process.channel)
        await process.layer.group_discard("room", process.channel)
        _, left = [entry for entry, _ in process.server.client().xrange(process.control_key)]
        end_lease(process.layer, process.server)
        process.server.client().xdel(process.control_key, left)
        await renew_lease(process.layer)
        await process.layer.group_add("room", process.channel)
    await process.until_all_is_read()
    assert process.members() == [process.channel]


async def test_what_was_asked_for_before_the_loss_does_not_tell_what_was_lost(process: Process) -> None:
    """The answer to the look from before comes first; in the next one there is the join, and not the end of it."""
    reading = process.shard.reading
    before = reading.connection
    reading.restart()
    await until(lambda: reading.connection not in (None, before), "nothing was read over this connection")
    with process.read_late():
        await process.other.send(process.another, {"n": "asked for before"})
        await process.layer.group_add("room", process.channel)
        await process.layer.group_discard("room", process.channel)
        _, left = [entry for entry, _ in process.server.client().xrange(process.control_key)]
        process.server.client().xdel(process.control_key, left)
        with process.layer._inbox.lock:
            process.shard.mailbox.start_anew()
    assert await take(process.layer, process.another) == ["asked for before"]
    reading.restart()
    await process.until_all_is_read()
    assert not process.members()


async def test_a_void_join_that_comes_with_a_flush(process: Process) -> None:
    """What was read is read once more, after the flush; the join of a channel that has ended is no membership then."""
    with process.read_late():
        flushing = await process.flushes_unread()
        await process.layer.group_add("room", process.channel)
        await process.layer.group_add("room", process.another)
        with process.layer._inbox.lock:
            process.shard.forget_members(process.channel)
    await flushing
    await process.until_all_is_read()
    assert process.members() == [process.another]
    assert not process.shard.mailbox.changes._void, "it is not remembered for ever"


async def test_many_joins_that_come_with_a_flush(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read in several batches, and the server may be told of that before the flush is obeyed."""
    changes, server = process.shard.mailbox.changes, process.server.client()

    def and_tell() -> None:
        server.xtrim(process.control_key, minid=process.shard.mailbox.trim()[1])
        type(changes).have_been_applied(changes)

    with process.read_late():
        flushing = await process.flushes_unread()
        await asyncio.gather(*(process.layer.group_add(f"room.{n}", process.channel) for n in range(MANY)))
        monkeypatch.setattr(changes, "have_been_applied", and_tell)
    await flushing
    await process.until_all_is_read()
    assert [n for n in range(MANY) if not process.members(f"room.{n}")] == []
