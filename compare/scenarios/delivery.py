"""Messages between processes, servers and rooms: none lost on the way, none twice."""

from __future__ import annotations

import asyncio

from benchmarks.contenders import Layer
from benchmarks.line import Line
from compare.layers import Compared, Way
from compare.scenario import Outcome, fails, none_of, passes, scenario
from compare.scenarios.steps import QUIET, ROOM, drain, member, message, receive_within
from compare.site import Site


async def _work(line: Line, contender: Compared, channel: str) -> None:
    """A worker: takes what it gets until it is told to stop, then tells the numbers."""
    layer = contender.make()
    got: list[int] = []

    async def take() -> None:
        while True:
            got.append((await layer.receive(channel))["n"])

    taking = asyncio.create_task(take())
    await asyncio.sleep(0.5)  # it listens by then
    await line.tell("ready")
    while await line.hear() != "stop":
        await line.tell(len(got))
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    await line.tell(got)
    await contender.close(layer)


@scenario(
    "Four workers on one channel",
    needs=("normal", "processes"),
    seen="channels_redis #163, #299",
    deadline=120,
)
async def workers(site: Site) -> Outcome:
    """Four worker processes take jobs from one channel, over a network with 2 ms each way. Every job must be done, and
    done once: the specification says that a message never comes twice. Whose layer hands jobs out twice charges credit
    cards twice."""
    count = 300
    contender = site.bound(site.slow(0.002) if site.servers else None, capacity=ROOM)
    sender = site.layer(capacity=ROOM)
    async with (
        site.partner(_work, contender, "jobs") as a,
        site.partner(_work, contender, "jobs") as b,
        site.partner(_work, contender, "jobs") as c,
        site.partner(_work, contender, "jobs") as d,
    ):
        lines = (a, b, c, d)
        for line in lines:
            await line.hear()
        for n in range(count):
            await sender.send("jobs", message(n))
        await _settled(lines)
        got: list[int] = []
        for line in lines:
            await line.tell("stop")
            got += await line.hear()
    if len(got) > len(set(got)):
        return fails(f"{count:,} jobs done {len(got):,} times")
    return none_of(count - len(got), count, "not done")


async def _settled(lines: tuple[Line, ...]) -> None:
    """Until no worker has got anything for a while."""
    before, now = -1, 0
    while before != now:
        before, now = now, 0
        await asyncio.sleep(QUIET)
        for line in lines:
            await line.tell("how many?")
            now += await line.hear()


@scenario("Direct sends over three servers", needs=("direct", "hosts"), seen="channels_redis #94, #221")
async def shards(site: Site) -> Outcome:
    """A site has outgrown one Redis, and lists three in its settings. A message to one socket must arrive as before:
    sender and receiver have to agree where it lies."""
    count = 300
    site.at_least(3)
    sender, receiver = site.pair(capacity=ROOM)
    channels = [await receiver.new_channel() for _ in range(count)]
    for n, channel in enumerate(channels):
        await sender.send(channel, message(n))
    got = await asyncio.gather(*(receive_within(receiver, channel, 6) for channel in channels))
    return none_of(got.count(None), count, "lost")


@scenario("A fourth server is added", needs=("hosts",))
async def new_host(site: Site) -> Outcome:
    """Processes that know three servers and processes that know a fourth run side by side, as they do in every
    deployment that adds one. Rooms whose place has moved are cut in two meanwhile. One in four has to move, so that the
    new server gets its share; more than 30% fails."""
    processes, rooms = 8, 100
    site.at_least(4)
    addresses = site.way.addresses
    after = site.layer(Way(addresses[:4]), capacity=ROOM)
    receiving = []
    for process in range(processes):
        before = site.layer(Way(addresses[:3]), capacity=ROOM)
        channel = await before.new_channel()
        names = [f"room.{process}.{n}" for n in range(rooms)]
        for name in names:
            await before.group_add(name, channel)
        for n, name in enumerate(names):
            await after.group_send(name, message(n))
        receiving.append(drain(before, channel, rooms))
    arrived = sum(len(set(got)) for got in await asyncio.gather(*receiving))
    moved = 1 - arrived / (processes * rooms)
    figure = f"{moved:.0%} of the rooms cut"
    return passes(figure) if moved <= 0.3 else fails(figure)


@scenario("Sent right after group_add")
async def at_once(site: Site) -> Outcome:
    """A browser joins a room and says so; the server answers to the room at once, from a process that is nearer to
    Redis by 5 ms. ``group_add()`` has returned, so the answer must arrive."""
    count = 50
    receiver: Layer
    if site.servers:
        sender, receiver = site.layer(), site.layer(site.slow(0.005))
    else:
        sender, receiver = site.pair()
    channels = []
    for n in range(count):
        channels.append(await member(receiver, f"room.{n}"))
        await sender.group_send(f"room.{n}", message(n))
    got = await asyncio.gather(*(receive_within(receiver, channel) for channel in channels))
    return none_of(got.count(None), count, "lost")


@scenario("Fifty join at the same moment")
async def together(site: Site) -> Outcome:
    """A deployment has cut all connections, and fifty browsers come back at once, to a process that has just started,
    each to a room of its own. When their ``group_add()`` has returned, each must hear its room."""
    count = 50
    sender, receiver = site.pair()
    channels = await asyncio.gather(*(member(receiver, f"room.{n}") for n in range(count)))
    for n in range(count):
        await sender.group_send(f"room.{n}", message(n))
    got = await asyncio.gather(*(receive_within(receiver, channel) for channel in channels))
    return none_of(got.count(None), count, "lost")
