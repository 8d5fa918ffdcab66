"""A layer's reader that comes to what a server has for it later than the test goes on, or without its lease."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from numbered import until
from redis_servers import RedisServer
from sites import talk

from channel_layers.background import in_background


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


def end_lease(layer: Any, server: RedisServer, place: int = 0) -> None:
    """The server takes the process for dead, as if it had not been heard of for so long."""
    mailbox, unread, _ = layer._client.shards[place].own_keys
    server.client().delete(mailbox, unread)


async def renew_lease(layer: Any, place: int = 0) -> None:
    """What the layer does when it comes to that, now."""
    shard = layer._client.shards[place]

    async def register() -> None:
        await shard.lease.register(await shard.far_connection())

    await asyncio.wrap_future(in_background(register()))
