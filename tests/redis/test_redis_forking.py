"""Redis layer objects in processes that fork: parent and child have connections and messages of their own."""

from __future__ import annotations

import asyncio
import multiprocessing
from typing import Any

import pytest
from proxy import TcpProxy
from redis_servers import wait_until
from sites import DEADLINE, Site, receive_all, talk, use

from channel_layers.conformance.running import Child, within
from channel_layers.redis import RedisChannelLayer, server

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.asyncio
async def test_parent_and_child_each_get_what_is_theirs(site: Site) -> None:
    layer, sender = site.layer(capacity=1_000), site.layer(capacity=1_000)
    count = 200
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await talk(layer, channel, 20)
    waiting = asyncio.create_task(receive_all(layer, channel, count + 1))
    jobs = asyncio.create_task(layer.receive("jobs"))
    await talk(sender, await sender.new_channel(), 20)
    before = site.connections()

    async def work(child: Child) -> list[Any]:
        theirs = await layer.new_channel()
        await layer.group_add("room", theirs)
        child.tell(theirs)
        return await within(DEADLINE, receive_all(layer, theirs, count + 1), "all that is the child's arrives")

    child = Child(work, DEADLINE)
    try:
        theirs = await child.hear()
        assert theirs.partition("!")[0] != channel.partition("!")[0]
        for n in range(count):
            await sender.send(theirs, {"n": n})
            await sender.send(channel, {"n": n})
        await sender.group_send("room", {"n": count})
        assert await child.hear() == list(range(count + 1))
        assert await within(DEADLINE, waiting, "all that is the parent's arrives") == list(range(count + 1))
        await sender.send("jobs", {"n": 1})
        assert await within(DEADLINE, jobs, "a normal channel of the parent works") == {"n": 1}
        assert site.connections() >= before, "the parent keeps its connections"
    finally:
        child.end()
    await use(layer)
    assert layer.statistics().unread == 0


@pytest.mark.asyncio
async def test_fork_in_the_middle_of_traffic(site: Site) -> None:
    """Children that come, work and die while the parent receives and sends: it does not notice."""
    layer, sender = site.layer(capacity=2_000), site.layer(capacity=2_000)
    channel = await layer.new_channel()
    await use(layer)
    await use(sender)
    before = site.when_all_are_connected(2)
    count = 1_000
    sending = asyncio.create_task(send_all(sender, channel, count))
    receiving = asyncio.create_task(receive_all(layer, channel, count))
    children = []

    async def work(_: Child) -> None:
        await use(layer)
        await use(sender)

    try:
        for _ in range(5):
            children.append(Child(work, DEADLINE))
            await asyncio.sleep(0)
        for child in children:
            await child.hear()
        await within(DEADLINE, sending, "the parent sends")
        assert await within(DEADLINE, receiving, "the parent receives") == list(range(count))
        assert site.connections() >= before
    finally:
        for child in children:
            child.end()
    wait_until(lambda: site.connections() == before, "those of the children end with them")


async def send_all(layer: RedisChannelLayer, channel: str, count: int) -> None:
    for n in range(count):
        await layer.send(channel, {"n": n})
        await asyncio.sleep(0)


def all_are_connected(proxy: TcpProxy) -> bool:
    """Sockets that the system just connects are known to none but redis-py."""
    return proxy.open_connections == 3 and all(each._sock is not None for each in tuple(server._open))


@pytest.mark.asyncio
async def test_a_child_does_not_keep_its_parents_connections(site: Site) -> None:
    """Otherwise the server would not learn of the parent's end. One of them is being made at the moment of fork()."""
    with TcpProxy(*site.server.address) as proxy:
        layer = RedisChannelLayer([proxy.address], prefix=site.prefix)
        channel = await layer.new_channel()
        await layer.send(channel, {"n": 1})
        proxy.delay = 0.3
        receiving = asyncio.create_task(layer.receive(channel))
        presence = f"{site.prefix}:cl1:presence:{layer.client_prefix}"
        client = site.server.client()
        await asyncio.to_thread(wait_until, lambda: client.pubsub_numsub(presence)[0][1], "it has nearly subscribed")
        await asyncio.to_thread(wait_until, lambda: all_are_connected(proxy), "none is just connecting")
        child = Child(lambda child: child.hear(), 4 * DEADLINE)
        try:
            proxy.delay = 0
            assert await within(DEADLINE, receiving, "the parent goes on") == {"n": 1}
            await layer.close()
            await asyncio.to_thread(wait_until, lambda: not proxy.open_connections, "the server sees all of them end")
        finally:
            child.end()


@pytest.mark.asyncio
async def test_a_child_does_not_keep_a_socket_that_is_being_opened(site: Site) -> None:
    """The server has not greeted yet; whoever opens it is a thread that the child does not have."""
    with TcpProxy(*site.server.address) as proxy:
        proxy.delay = 1.0
        layer = RedisChannelLayer([proxy.address], prefix=site.prefix)
        await layer.new_channel()
        await asyncio.to_thread(wait_until, lambda: proxy.bytes_under_way, "it says hello")
        await asyncio.to_thread(wait_until, lambda: all_are_connected(proxy), "all say hello")
        child = Child(lambda child: child.hear(), 4 * DEADLINE)
        try:
            proxy.delay = 0.0
            await layer.send("jobs", {"n": 1})
            await layer.close()
            await asyncio.to_thread(wait_until, lambda: not proxy.open_connections, "the server sees all of them end")
        finally:
            child.end()


def child_process(url: str, prefix: str, layer: RedisChannelLayer | None) -> None:
    """What a process of multiprocessing runs; with fork it may use a layer of its parent."""
    asyncio.run(use(layer or RedisChannelLayer([url], prefix=prefix)))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(site: Site, method: str) -> None:
    layer = site.layer()
    asyncio.run(use(layer))
    before = site.when_all_are_connected()
    context = multiprocessing.get_context(method)
    arguments = (site.server.url, site.prefix, layer if method == "fork" else None)
    processes = [context.Process(target=child_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    asyncio.run(use(layer))
    for process in processes:
        process.join(DEADLINE)
        assert process.exitcode == 0
    wait_until(lambda: site.connections() == before, "those of the children end with them")
    asyncio.run(use(layer))
    assert len(site.held("mailbox:*")) == 1, "only the parent's"
