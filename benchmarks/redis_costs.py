"""What a Redis layer costs besides time, beside its peer: bytes, commands, an idle process, a very large group.

Every cost of every layer gets a fresh server, and a process of its own.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from redis import Redis

from benchmarks.child import in_own_process
from benchmarks.contenders import Contender, Layer
from benchmarks.errors import WrongResultError
from benchmarks.line import Line
from benchmarks.meter import Meter, Traffic
from benchmarks.partner import partner
from benchmarks.progress import Progress
from benchmarks.redis_server import private_redis
from benchmarks.workloads import Message, expect, messages

DEADLINE = 900.0  # seconds, of the processes of a large group: at a peer's speed its members take a minute to join
QUIET_SECONDS = 0.05

_SETTLING = 20  # sends


@dataclass(frozen=True)
class CostEffort:
    """How much is measured."""

    sends: int = 20
    small_group: int = 100
    large_group: int = 3_000
    waiting: int = 1_000
    idle_seconds: float = 60.0
    processes: int = 20
    members_each: int = 5_000


FULL_COSTS = CostEffort()
QUICK_COSTS = CostEffort(idle_seconds=5.0, processes=5, members_each=1_000)


@dataclass(frozen=True)
class Cost:
    """One cost of a layer and of its peer; ``theirs`` is None if the peer gave a wrong result."""

    name: str
    unit: str
    ours: float
    theirs: float | None


@dataclass(frozen=True)
class Costs:
    """All costs of a pair, and what the peer did wrong."""

    contender: Contender
    peer: Contender
    rows: tuple[Cost, ...]
    problems: tuple[str, ...] = ()


Named = dict[tuple[str, str], float]  # by name and unit
Server = Mapping[str, Any]
Measurement = Callable[[Contender, Server, CostEffort], Awaitable[Named]]


def measure_costs(contenders: Iterable[Contender], effort: CostEffort, progress: Progress) -> list[Costs]:
    """Of every contender that runs on Redis.

    :raises WrongResultError: if ours loses or changes a message. A peer that does so ends nothing.
    """
    pairs = [(ours, ours.peer) for ours in contenders if ours.peer and ours.server is private_redis]
    progress.expect(len(pairs) * 2 * len(COSTS))
    return [_costs_of(ours, peer, effort, progress) for ours, peer in pairs]


def _costs_of(ours: Contender, peer: Contender, effort: CostEffort, progress: Progress) -> Costs:
    rows, problems = [], []
    for cost in COSTS:
        found = _measure(cost, ours, effort, progress)
        try:
            beside = _measure(cost, peer, effort, progress)
        except WrongResultError as problem:
            problems.append(str(problem))
            beside = {}
        rows += [Cost(name, unit, value, beside.get((name, unit))) for (name, unit), value in found.items()]
    return Costs(ours, peer, tuple(rows), tuple(problems))


def _measure(cost: Measurement, layer: Contender, effort: CostEffort, progress: Progress) -> Named:
    title = f"{layer.name}, cost of {cost.__name__}"
    progress.start(title)
    try:
        with private_redis() as server:
            found: Named = in_own_process(cost, layer, server, effort, deadline=COSTS[cost])
    except WrongResultError as problem:
        progress.done("failed")
        raise WrongResultError(f"{title}: {problem}") from None
    progress.done("done")
    return found


async def wire(contender: Contender, server: Server, effort: CostEffort) -> Named:
    """Bytes and commands of a send, and of one to a group whose members are all in one process."""
    port = _port(server)
    with Meter(port) as at_sender, Meter(port) as at_receiver:
        sender = contender.reaching(at_sender.server).make()
        receiver = contender.reaching(at_receiver.server).make()
        try:
            found = await _send_commands(sender, receiver, at_sender, effort)
            for members in (effort.small_group, effort.large_group):
                found |= await _group_traffic(sender, receiver, (at_sender, at_receiver), members, effort)
        finally:
            await contender.close(sender)
            await contender.close(receiver)
    return found


async def _send_commands(sender: Layer, receiver: Layer, meter: Meter, effort: CostEffort) -> Named:
    channel = await receiver.new_channel()
    first, sent = messages(_SETTLING), messages(effort.sends)
    for message in first:  # connects, loads scripts, and comes to be at home in this loop
        await sender.send(channel, message)
    before = meter.traffic
    for message in sent:
        await sender.send(channel, message)
    commands = (meter.traffic - before).commands / len(sent)
    for message in (*first, *sent):
        expect(message, await receiver.receive(channel))
    return {("send", "commands"): commands}


async def _group_traffic(
    sender: Layer, receiver: Layer, meters: tuple[Meter, Meter], members: int, effort: CostEffort
) -> Named:
    group = f"room-{members}"
    channels = [await receiver.new_channel() for _ in range(members)]
    for channel in channels:
        await receiver.group_add(group, channel)

    async def send(message: Message) -> None:
        await sender.group_send(group, message)
        for channel in channels:
            expect(message, await receiver.receive(channel))
        await _quiet(meters)

    first, *sent = messages(1 + effort.sends)
    await send(first)
    before = [meter.traffic for meter in meters]
    for message in sent:
        await send(message)
    at_sender, at_receiver = (meter.traffic - then for meter, then in zip(meters, before, strict=True))
    name = f"group_send to {members:,} members of one process"
    return {
        (name, "commands"): at_sender.commands / len(sent),
        (name, "bytes, sender"): at_sender.bytes / len(sent),
        (name, "bytes, receiver"): at_receiver.bytes / len(sent),
    }


async def _quiet(meters: Iterable[Meter]) -> None:
    """What a layer tidies up after a message belongs to that message, but nothing says when it is over."""
    before: list[Traffic] = []
    while (now := [meter.traffic for meter in meters]) != before:
        before = now
        await asyncio.sleep(QUIET_SECONDS)


async def idle(contender: Contender, server: Server, effort: CostEffort) -> Named:
    """Processor time of a process in which nothing happens: all its receivers wait."""
    sender, receiver = contender.reaching(server).build()
    channels = [await receiver.new_channel() for _ in range(effort.waiting)]
    waiting = [asyncio.create_task(receiver.receive(channel)) for channel in channels]
    await asyncio.sleep(1)  # connections are made, leases taken
    before = time.process_time()
    await asyncio.sleep(effort.idle_seconds)
    used = time.process_time() - before
    # An idle layer that has given up, or does not wake, would be a cheap one.
    (message,) = messages(1)
    for channel, task in list(zip(channels, waiting, strict=True))[:: max(1, effort.waiting // 10)]:
        await sender.send(channel, message)
        expect(message, await task)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    if failed := [task for task in waiting if not task.cancelled() and task.exception()]:
        raise WrongResultError(f"{len(failed)} of {effort.waiting} waiting receivers failed: {failed[0].exception()!r}")
    await contender.close(sender)
    await contender.close(receiver)
    return {(f"{effort.waiting:,} waiting receivers", "% of a core"): 100 * used / effort.idle_seconds}


async def large_group(contender: Contender, server: Server, effort: CostEffort) -> Named:
    """Time that the server spends on one send to a group with members in many processes."""
    with Meter(_port(server)) as meter, Redis(port=_port(server)) as redis:
        redis.config_set("slowlog-log-slower-than", 0)
        redis.config_set("slowlog-max-len", 100_000)
        sender = contender.reaching(meter.server).make()
        holder = contender.reaching(server)
        async with AsyncExitStack() as stack:
            lines = [
                await stack.enter_async_context(partner(_hold, holder, effort.members_each, deadline=DEADLINE))
                for _ in range(effort.processes)
            ]
            for line in lines:
                await line.hear()  # it has joined
            times = []
            for message in messages(1 + effort.sends):
                redis.slowlog_reset()
                await sender.group_send("crowd", message)
                times.append(_server_time(redis, meter.addresses))
                for line in lines:
                    await line.tell(message)
                for line in lines:
                    await line.hear()  # it has received
            for line in lines:
                await line.tell(None)
        await contender.close(sender)
    members = effort.processes * effort.members_each
    name = f"group_send to {members:,} members of {effort.processes} processes"
    return {(name, "us of the server"): statistics.median(times[1:])}


def _server_time(redis: Redis, addresses: set[str]) -> int:
    """Microseconds that the commands of these connections took. What scripts call is logged, too, under no address."""
    log = redis.slowlog_get(100_000)
    return sum(entry["duration"] for entry in log if entry["client_address"].decode() in addresses)


async def _hold(line: Line, contender: Contender, members: int) -> None:
    """One of the processes of a large group: a few of its members look whether everything arrives."""
    layer = contender.make()
    try:
        channels = [await layer.new_channel() for _ in range(members)]
        for channel in channels:
            await layer.group_add("crowd", channel)
        await line.tell("joined")
        while message := await line.hear():
            for channel in (channels[0], channels[-1]):
                expect(message, await layer.receive(channel))
            await line.tell("received")
    finally:
        await contender.close(layer)


def _port(server: Server) -> int:
    return int(server["hosts"][0][1])


#: And after how many seconds each is given up: a message was lost.
COSTS: dict[Measurement, float] = {wire: 120.0, idle: 180.0, large_group: DEADLINE}
