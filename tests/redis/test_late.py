"""What becomes of messages and memberships where a process or a loop is late."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis_servers import SHORT_LEASE, wait_until
from sites import DEADLINE, Site, eventually, talk

from channel_layers.conformance.running import within
from channel_layers.names import client_id_of
from channel_layers.redis import RedisChannelLayer


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["expired", "discarded", "flushed"])
async def test_what_was_taken_for_a_receiver_is_gone_when_it_looks(site: Site, way: str) -> None:
    """It waits on, so the server is asked again, and the next message arrives."""
    layer, sender = site.layer(), site.layer()
    inbox, server = layer._client.inbox, site.server.client()
    waiting = asyncio.create_task(layer.receive("jobs"))
    await eventually(lambda: is_asked(layer), "the server is asked")
    # The loop of the receiver stands still from here on; another one takes the message for it.
    ends = time.time() + (0.2 if way == "expired" else 30)
    server.rpush(f"{site.prefix}:cl1:queue:jobs", f"{int((ends - layer.expiry) * 1000)}:a message")
    wait_until(lambda: inbox.held("jobs"), "it is taken")
    if way == "expired":
        deadline = inbox._queues["jobs"].items[0][0]
        wait_until(lambda: time.monotonic() > deadline, "it expires")
    with inbox.lock:
        if way == "discarded":
            inbox.discard("jobs")
        elif way == "flushed":
            inbox.clear("flushed")
    await asyncio.sleep(0)
    await sender.send("jobs", {"n": 2})
    assert await within(DEADLINE, waiting, "the next message arrives") == {"n": 2}


def is_asked(layer: RedisChannelLayer) -> bool:
    return any(shard.queues._asked for shard in layer._client.shards)


@pytest.mark.asyncio
async def test_who_has_only_made_a_name_is_not_dead(site: Site) -> None:
    """Another process adds it to a group, and sends there more than a lease later."""
    owner, other = site.layer(lease=SHORT_LEASE), site.layer(lease=SHORT_LEASE)
    channel = await owner.new_channel()
    await other.group_add("room", channel)
    await asyncio.sleep(1.5 * SHORT_LEASE)
    await other.group_send("room", {"n": 1})
    assert await within(DEADLINE, owner.receive(channel), "the message arrives") == {"n": 1}


@pytest.mark.asyncio
async def test_a_process_that_begins_to_read_after_it_was_taken_for_dead_is_listed_again(site: Site) -> None:
    late, sender = site.layer(lease=SHORT_LEASE), site.layer(lease=SHORT_LEASE)
    channel = late._new_name("specific", late._client.id)  # as new_channel(), with a server that cannot be reached yet
    await sender.group_add("room", channel)
    await asyncio.sleep(SHORT_LEASE)
    await sender.group_send("room", {"n": 1})
    group, field = f"{site.prefix}:cl1:group:room", f"@{client_id_of(channel)}"
    assert not site.server.client().hexists(group, field)
    receiving = asyncio.create_task(late.receive(channel))
    await eventually(lambda: site.server.client().hexists(group, field), "it is listed again")
    await sender.group_send("room", {"n": 2})
    assert await within(DEADLINE, receiving, "the message arrives") == {"n": 2}


@pytest.mark.asyncio
async def test_who_only_joins_and_leaves_leaves_nothing(site: Site) -> None:
    layer = site.layer()
    await talk(layer, await layer.new_channel(), 10)
    mailbox = layer._client.shards[0].mailbox
    for n in range(50):
        channel = await layer.new_channel()
        await layer.group_add(f"room.{n}", channel)
        await layer.group_discard(f"room.{n}", channel)
        await layer.discard_channel(channel)
    await eventually(lambda: not mailbox.memberships._departed and not mailbox._discarded, "nothing is kept of them")
