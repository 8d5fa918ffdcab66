"""Flush: among keys that are not the layer's, and with processes that stand still, block, or are dead."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from typing import Any

import pytest
from redis_servers import SHORT_LEASE
from sites import DEADLINE, Site, eventually, use

from channel_layers.conformance.running import Child, within
from channel_layers.redis import RedisChannelLayer


@pytest.mark.asyncio
async def test_flush_among_foreign_keys(own_site: Site) -> None:
    """It searches in steps, between which others go on, and touches no key that is not the layer's."""
    foreign, others = 100_000, Site(own_site.server)
    client = own_site.server.client()
    client.execute_command("DEBUG", "POPULATE", foreign, "foreign")
    for name in ("xx", f"x{own_site.prefix}:cl1:queue:jobs", f"{own_site.prefix}x:cl1:queue:jobs", own_site.prefix):
        client.set(name, "theirs")
    layer, other, theirs = own_site.layer(), own_site.layer(), others.layer()
    channel = await other.new_channel()
    for each in (layer, other, theirs):
        await use(each)
    for n in range(50):
        await layer.send(f"jobs.{n}", {})
        await layer.group_add(f"room.{n}", channel)
    client.config_resetstat()
    flushing = asyncio.create_task(layer.flush())
    sent = 0
    while not flushing.done():
        await theirs.send("jobs", {})
        await within(DEADLINE, theirs.receive("jobs"), "others go on")
        sent += 1
    await flushing
    commands = client.info("commandstats")
    assert "cmdstat_keys" not in commands
    assert commands["cmdstat_scan"]["calls"] > 50
    assert sent > 1
    kinds = {key.split(":")[2] for key in own_site.held()}
    assert kinds <= {"mailbox", "unread", "epoch", "servers", "flushed", "wake"}
    assert client.dbsize() == foreign + 4 + len(own_site.held()) + len(others.held())
    await asyncio.to_thread(others.close)


# Processes that do not answer


async def fill(layer: RedisChannelLayer) -> str:
    """A channel that is a member of the group and holds three messages."""
    channel = await layer.new_channel()
    await use(layer)
    await layer.group_add("room", channel)
    for n in range(3):
        await layer.send(channel, {"before": n})
    await eventually(lambda: layer.statistics().unread == 3, "they arrive")
    return channel


async def hold_messages(layer: RedisChannelLayer, child: Child) -> None:
    """What a process does that others stop or kill: it holds messages, and tells what it gets when it goes on."""
    channel = await fill(layer)
    child.tell((channel, layer.client_prefix))
    await child.hear()
    while True:
        got = await layer.receive(channel)
        child.tell(got)
        if got == {"last": True}:
            return


@pytest.mark.asyncio
async def test_flush_waits_for_a_process_that_stands_still(site: Site) -> None:
    """Until its lease has ended. When it goes on, it drops what it held, and its memberships."""
    layer = site.layer(lease=SHORT_LEASE)
    child = Child(lambda child: hold_messages(layer, child), DEADLINE)
    try:
        channel, client_id = await child.hear()
        mailbox = f"{site.prefix}:cl1:mailbox:{client_id}"
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)  # noqa: ASYNC222 - it does not take long
        flushing = asyncio.create_task(layer.flush())
        waited = 0
        while not flushing.done():
            waited += site.server.client().exists(mailbox)
            await asyncio.sleep(0.01)
        await flushing
        assert not site.server.client().exists(mailbox)
        assert waited > 1
        await layer.group_send("room", {"group": "it is no member"})
        os.kill(child.pid, signal.SIGCONT)
        await eventually(lambda: site.server.client().exists(mailbox), "it comes back")
        child.tell("go on")
        await layer.send(channel, {"last": True})
        assert await child.hear() == {"last": True}
    finally:
        child.end()


@pytest.mark.asyncio
async def test_flush_does_not_wait_for_a_process_that_was_killed(site: Site) -> None:
    """Though its lease has not ended for long."""
    layer = site.layer(lease=600)
    child = Child(lambda child: hold_messages(layer, child), DEADLINE)
    channel, client_id = await child.hear()
    child.end()
    await within(DEADLINE, layer.flush(), "flush() returns")
    assert site.server.client().exists(f"{site.prefix}:cl1:mailbox:{client_id}")
    assert site.server.client().xlen(f"{site.prefix}:cl1:mailbox:{client_id}") <= 1
    await layer.send(channel, {"to": "nobody"})
    await use(layer)


@pytest.mark.asyncio
async def test_flush_and_a_process_whose_loop_blocks(site: Site) -> None:
    """What it held before is dropped, though its loop learns of nothing."""
    layer = site.layer(lease=SHORT_LEASE)

    async def work(child: Child) -> Any:
        channel = await fill(layer)
        child.tell(channel)
        child._hear()  # in the way that holds up the loop
        return [await layer.receive(channel), layer.statistics().dropped]

    child = Child(work, DEADLINE)
    try:
        channel = await child.hear()
        await within(DEADLINE, layer.flush(), "flush() returns")
        await layer.group_send("room", {"group": "it is no member"})
        await layer.send(channel, {"last": True})
        child.tell("go on")
        assert await child.hear() == [{"last": True}, {"flushed": 3}]
    finally:
        child.end()


@pytest.mark.asyncio
async def test_flush_by_many_at_once(site: Site) -> None:
    layers = [site.layer() for _ in range(3)]
    channels = [await layer.new_channel() for layer in layers]
    for _ in range(5):
        for layer, channel in zip(layers, channels, strict=True):
            await layer.group_add("room", channel)
            await layer.send(channel, {})
            await layer.send(f"jobs.{secrets.token_hex(4)}", {})
        await within(DEADLINE, asyncio.gather(*(layer.flush() for layer in layers)), "all flushes return")
        assert [layer.statistics().unread for layer in layers] == [0, 0, 0]
        assert not site.held("queue:*")
        assert not site.held("group:*")
        for layer in layers:
            await use(layer)


@pytest.mark.asyncio
async def test_a_flush_that_is_read_again(own_site: Site) -> None:
    """After a connection was lost, a process reads its mailbox from the beginning: what came since then stays."""
    layer, other = own_site.layer(), own_site.layer()
    channel = await layer.new_channel()
    await use(layer)
    await other.flush()
    await layer.group_add("room", channel)
    for n in range(3):
        await other.send(channel, {"n": n})
    await eventually(lambda: layer.statistics().unread == 3, "they arrive")
    before = own_site.connections()
    own_site.server.kill_clients()
    await eventually(lambda: len(own_site.connections() - before) >= len(before), "they connect again")
    await use(other)
    await other.group_send("room", {"n": 3})
    for n in range(4):
        assert await within(DEADLINE, layer.receive(channel), "what came after the flush is there") == {"n": n}
    assert sum(layer.statistics().dropped.values()) == 0
