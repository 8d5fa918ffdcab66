"""A server that goes away and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from benchmarks.contenders import Layer
from compare.layers import Way
from compare.run import described
from compare.scenario import Outcome, fails, none_of, passes, scenario
from compare.scenarios.steps import member, message, running, until
from compare.site import Site

MEMBERS = 10
DOWN_SECONDS = 1.0
RESUME_SECONDS = 20.0
FAILOVER_SECONDS = 60.0


class Traffic:
    """Messages to a room of ten, before, during and after something bad."""

    def __init__(self, sender: Layer, receiver: Layer) -> None:
        self._sender = sender
        self._receiver = receiver
        self.accepted: set[int] = set()
        self.got: list[set[int]] = [set() for _ in range(MEMBERS)]
        self._number = 0

    async def receive(self, number: int, channel: str) -> None:
        while True:
            self.got[number].add((await self._receiver.receive(channel))["n"])

    async def send(self) -> None:
        while True:
            self._number += 1
            with suppress(Exception):  # the server is away: that a send says so is right
                await asyncio.wait_for(self._sender.group_send("room", message(self._number)), 2)
                self.accepted.add(self._number)
            await asyncio.sleep(0.02)

    async def over(self, outage: Callable[[], None], seconds: float) -> Outcome:
        """All must hear again, by the same receive loops, and as members that they still are."""
        channels = [await member(self._receiver, "room") for _ in range(MEMBERS)]
        loops = (self.receive(number, channel) for number, channel in enumerate(channels))
        async with running(self.send(), *loops) as (_, *receiving):
            if not await until(lambda: all(len(got) > 5 for got in self.got), 15):
                return fails("nothing arrives even before")
            await asyncio.to_thread(outage)
            back, first = time.monotonic(), self._number + 1
            await until(lambda: _ended(receiving) or all(any(n > first for n in got) for got in self.got), seconds)
            took = time.monotonic() - back
            if _ended(receiving):
                await until(lambda: len(_ended(receiving)) == MEMBERS, 3)
            ended = _ended(receiving)
        if ended:
            problem = ended[0].exception()
            name = described(problem).partition(":")[0] if problem else "an end"
            return fails(f"{len(ended)} of {MEMBERS} receive loops ended ({name})")
        if deaf := sum(not any(n > first for n in got) for got in self.got):
            return fails(f"{deaf} of {MEMBERS} deaf afterwards, without an error")
        return passes(f"all hear again, {took:.1f} s later")


def _ended(tasks: list[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
    return [task for task in tasks if task.done()]


@scenario("The server restarts", needs=("server",), seen="channels_redis #256, channels #285")
async def restart(site: Site) -> Outcome:
    """Redis is killed while ten sockets are open, and is back after a second, empty. Every socket must hear its room
    again within 20 s, by the receive that waits: nobody tells the browsers to come again. What was sent while the
    server was away may be lost."""
    sender, receiver = site.pair()

    def outage() -> None:
        for server in site.servers:
            server.kill()
        time.sleep(DOWN_SECONDS)
        for server in site.servers:
            server.start()

    return await Traffic(sender, receiver).over(outage, RESUME_SECONDS)


@scenario("Sentinel fails over", needs=("server", "sentinel"), deadline=180, seen="channels_redis #331")
async def failover(site: Site) -> Outcome:
    """The master of a Redis with two replicas and three Sentinels dies, and a replica takes its place some seconds
    later. The sockets must hear their room again, as after a restart, within a minute."""
    topology = await asyncio.to_thread(site.sentinels)
    way = Way(sentinels=tuple(topology.sentinel_addresses), master_name=topology.service_name)
    sender, receiver = site.layer(way), site.layer(way)

    def outage() -> None:
        topology.wait_for_master(topology.kill_master())

    return await Traffic(sender, receiver).over(outage, FAILOVER_SECONDS)


@scenario("Consumers are told of a gap", needs=("server", "notices"), seen="channels_redis #406")
async def notices(site: Site) -> Outcome:
    """With Pub/Sub, what is sent while a connection is down is gone. So that a page can fetch what it missed, both
    Pub/Sub layers document ``on_disconnect`` and ``on_reconnect``, the types of two messages to every consumer. The
    server ends the connections: both messages must come."""
    types = {"redis.lost", "redis.found"}
    receiver = site.layer(on_disconnect="redis.lost", on_reconnect="redis.found")
    channel = await member(receiver, "room")
    told: set[str] = set()

    async def listen() -> None:
        while True:
            told.add((await receiver.receive(channel))["type"])

    async with running(listen()):
        await asyncio.sleep(0.3)
        for server in site.servers:
            await asyncio.to_thread(server.kill_clients, "pubsub")
        await until(lambda: told == types, 8)
    return none_of(len(types - told), len(types), "never come")
