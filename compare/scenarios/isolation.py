"""Installations, processes and receivers that must not meet."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from dataclasses import replace
from multiprocessing.connection import Connection

from benchmarks.contenders import Layer
from compare.layers import Compared
from compare.scenario import Outcome, fails, none_of, passes, scenario
from compare.scenarios.steps import ROOM, drain, member, message, receive_within, running
from compare.site import Site, close


@scenario("Two prefixes on one server", needs=("processes", "prefix"), seen="channels #395")
async def prefix(site: Site) -> Outcome:
    """Staging and production share a Redis and differ in the prefix, as the documentation of channels_redis advises.
    Neither may hear the other, in no room and on no channel."""
    return await _apart(site, site.layer(prefix="staging"), site.layer(prefix="production"))


@scenario("Two databases of one server", needs=("databases",))
async def database(site: Site) -> Outcome:
    """Two projects share a Redis and have a database each. Neither may hear the other. Redis itself does not separate
    Pub/Sub by database, so a layer on it has to."""
    return await _apart(site, site.layer(site.way), site.layer(replace(site.way, database=5)))


async def _apart(site: Site, mine: Layer, theirs: Layer) -> Outcome:
    heard = []
    channel = await member(mine, "room")
    await member(theirs, "room")
    await theirs.group_send("room", message(1))
    if await receive_within(mine, channel, 1):
        heard.append("a room")
    if "normal" not in site.contender.cannot:
        async with running(mine.receive("jobs")) as (receiving,):
            await asyncio.sleep(0.5)
            await theirs.send("jobs", message(2))
            await asyncio.wait([receiving], timeout=1)
            if receiving.done():
                heard.append("a channel")
    return fails(f"{' and '.join(heard)} of the other heard") if heard else passes()


def _fork(contender: Compared, ends: list[Connection]) -> None:
    """A server that loads the application, then forks its workers."""
    layer = contender.make()
    children = []
    for number, end in enumerate(ends):
        if child := os.fork():
            children.append(child)
            continue
        try:
            asyncio.run(_be_worker(contender, layer, f"room.{number}", end))
        finally:
            os._exit(0)
    for child in children:
        os.waitpid(child, 0)


async def _be_worker(contender: Compared, layer: Layer, room: str, end: Connection) -> None:
    channel = await member(layer, room)
    end.send("ready")
    end.send(len(await drain(layer, channel, 100, quiet=5)))
    await close(contender, layer)


@scenario("Workers forked with the layer in place", needs=("processes",))
async def fork(site: Site) -> Outcome:
    """A server loads the application once and forks two workers from it (``gunicorn --preload``, Celery's prefork), so
    both begin with the same layer object. Each has a socket in a room of its own; a hundred messages go to each."""
    sender = site.layer(capacity=ROOM)
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    process = context.Process(target=_fork, args=(site.bound(capacity=ROOM), [theirs for _, theirs in pipes]))
    process.start()
    try:
        for ours, _ in pipes:
            if await _from(ours) != "ready":
                return fails("a worker does not start")
        for n in range(100):
            for number in range(len(pipes)):
                await sender.group_send(f"room.{number}", message(n))
        got = sum([int(await _from(ours) or 0) for ours, _ in pipes])
    finally:
        process.terminate()
        process.join()
    return none_of(200 - got, 200, "lost")


async def _from(end: Connection, seconds: float = 40) -> object:
    """What the other end said, or None."""
    return await asyncio.to_thread(lambda: end.recv() if end.poll(seconds) else None)


@scenario("A receiver changes what it got")
async def mutable(site: Site) -> Outcome:
    """Two sockets get the same message. One handler takes it apart, and the sender reuses the dict. Nobody else may see
    anything of it."""
    sender, receiver = site.pair()
    channels = [await member(receiver, "room") for _ in range(2)]
    sent = message(1, path=["a", {"b": []}])
    await sender.group_send("room", sent)
    sent["path"][1]["b"].append("changed by the sender")
    first = await receive_within(receiver, channels[0])
    if first:
        first["path"][1]["b"].append("changed by a receiver")
    second = await receive_within(receiver, channels[1])
    return passes() if second == message(1, path=["a", {"b": []}]) else fails("another sees the change")
