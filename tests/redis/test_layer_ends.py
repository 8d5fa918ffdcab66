"""The end of a Redis layer object: closed, collected, or with its process. Nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import weakref

import pytest
from asgiref.sync import async_to_sync
from redis_servers import wait_until
from sites import DEADLINE, Site, talk, use

from channel_layers import ChannelFull, LayerClosed, LayerUnavailable
from channel_layers.conformance.running import within

pytestmark = pytest.mark.usefixtures("quiet")


def test_a_layer_that_nobody_refers_to_closes_its_connections(site: Site) -> None:
    kept = site.layer()
    asyncio.run(use(kept))
    mine = site.when_all_are_connected()
    for run in (lambda layer: asyncio.run(use(layer)), async_to_sync(use)):
        layer = site.layer()
        run(layer)
        assert site.connections() > mine
        reference = weakref.ref(layer)
        del layer
        gc.collect()
        assert reference() is None
        wait_until(lambda: site.connections() <= mine, "its connections are closed")
    wait_until(lambda: len(site.held("mailbox:*")) == 1, "its mailbox is gone")
    asyncio.run(use(kept))
    assert site.connections() >= mine


@pytest.mark.asyncio
async def test_a_layer_is_collected_in_its_home_loop(site: Site) -> None:
    for n in range(10):
        layer = site.layer()
        await use(layer, n)
        del layer
    gc.collect()
    site.until_all_are_closed()
    assert not site.held("mailbox:*")


@pytest.mark.asyncio
async def test_closed_and_used_again(site: Site) -> None:
    layer, sender = site.layer(), site.layer("sender")
    channel = await layer.new_channel()
    for n in range(5):
        await use(layer, n)
        site.when_all_are_connected()
        await layer.group_add("room", channel)
        waiting = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs", channel)]
        await talk(layer, await layer.new_channel(), 10)
        await layer.close()
        site.until_all_are_closed()
        assert not site.held("mailbox:*")
        for one in waiting:
            with pytest.raises(LayerClosed):
                await within(DEADLINE, one, "a waiting receive ends")
        await layer.close()  # does no harm
        await sender.group_send("room", {"n": "of a member that is gone"})
        await sender.send(channel, {"n": n})
        assert await within(DEADLINE, layer.receive(channel), "the channel lives on") == {"n": n}


@pytest.mark.asyncio
async def test_closed_in_the_middle_of_traffic(site: Site) -> None:
    """Whatever comes during close() ends; nothing is left, and nobody becomes deaf."""
    layer = site.layer()
    channel = await layer.new_channel()

    async def traffic() -> None:
        while not closed.is_set():
            for verb in (layer.send(channel, {}), layer.group_add("room", channel), layer.group_send("room", {})):
                with contextlib.suppress(LayerUnavailable, ChannelFull):
                    await verb
            with contextlib.suppress(LayerClosed, asyncio.TimeoutError):
                await asyncio.wait_for(layer.receive(channel), 0.001)

    for n in range(10):
        closed = asyncio.Event()
        tasks = [asyncio.create_task(traffic()) for _ in range(3)]
        await talk(layer, await layer.new_channel(), 5)
        await layer.close()
        closed.set()
        await within(DEADLINE, asyncio.gather(*tasks), "all verbs end")
        await layer.close()
        site.until_all_are_closed()
        assert not site.held("mailbox:*")
        await use(layer, n)


@pytest.mark.asyncio
async def test_a_receive_that_begins_during_close(site: Site) -> None:
    """It ends with LayerClosed, or belongs to the layer that is started afresh: it does not wait in vain."""
    layer, sender = site.layer(), site.layer("sender")
    for turns in range(30):
        channel = await layer.new_channel()
        await talk(layer, channel, 5)
        closing = asyncio.create_task(layer.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs")]
        await closing
        for name, one in zip((channel, "jobs"), waiting, strict=True):
            await sender.send(name, {"n": turns})
            try:
                got = await within(DEADLINE, one, "a receive ends")
            except LayerClosed:
                got = await within(DEADLINE, layer.receive(name), "the next receive gets it")
            assert got == {"n": turns}


@pytest.mark.asyncio
async def test_async_with(site: Site) -> None:
    async with site.layer() as layer:
        await use(layer)
        assert site.connections()
    site.until_all_are_closed()
    assert not site.held("mailbox:*")
    async with layer:
        await use(layer)
    site.until_all_are_closed()


PROGRAM = """
import asyncio, sys, threading
from asgiref.sync import async_to_sync
from channel_layers.redis import RedisChannelLayer
layer = RedisChannelLayer([sys.argv[1]], prefix=sys.argv[2], send_timeout=30)
async def use():
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for n in range(20):
        await layer.send(channel, {"n": n})
        await layer.receive(channel)
    await layer.send("jobs", {"n": 1})
    await layer.receive("jobs")
    return channel
"""
WAYS_TO_END = {
    "the loop ends": "asyncio.run(use())",
    "synchronous": "[async_to_sync(use)() for _ in range(3)]",
    "a receive waits in another thread": """
channel = asyncio.run(use())
started = threading.Event()
async def wait():
    asyncio.get_running_loop().call_later(0.05, started.set)
    await asyncio.gather(layer.receive(channel), layer.receive("jobs"))
threading.Thread(target=lambda: asyncio.run(wait()), daemon=True).start()
started.wait()
""",
    "the loop is left as it is": "loop = asyncio.new_event_loop(); loop.run_until_complete(use())",
    "an exception": "asyncio.run(use()); raise SystemExit(0)",
}


@pytest.mark.parametrize("way", WAYS_TO_END)
def test_the_end_of_a_process_leaves_no_mailbox(site: Site, way: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + WAYS_TO_END[way], site.server.url, site.prefix],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    left = {key.split(":")[2] for key in site.held()}
    assert left.isdisjoint({"mailbox", "unread", "control", "early", "wake"})


FORK = """
import os
asyncio.run(use())
if pid := os.fork():
    sys.exit(os.waitpid(pid, 0)[1])
asyncio.run(use())
"""


def test_a_bare_fork_says_goodbye(site: Site) -> None:
    """As servers that fork their workers themselves: the child ends with sys.exit()."""
    layer = site.layer()
    asyncio.run(use(layer))
    code = PROGRAM + FORK
    arguments = [sys.executable, "-c", code, site.server.url, site.prefix]
    subprocess.run(arguments, timeout=DEADLINE, check=True)
    assert len(site.held("mailbox:*")) == 1, "only that of this process"
