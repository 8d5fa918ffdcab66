"""Consumers that are slow or stand still, and what that costs the others."""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from pathlib import Path

from benchmarks.contenders import Layer
from compare.scenario import Outcome, fails, none_of, passes, scenario
from compare.scenarios.steps import drain, member, message, running
from compare.site import Site

MIB = 1 << 20


@scenario("A slow consumer beside fast ones", seen="channels_redis #384, channels #1361")
async def slow_consumer(site: Site) -> Outcome:
    """Ten sockets are in a room; one hangs and never reads. The room gets 400 messages, which is more than a capacity
    of 100. The nine others must get all of them."""
    count = 400
    sender, receiver = site.pair()
    await member(receiver, "room")
    channels = [await member(receiver, "room") for _ in range(9)]
    async with running(*(drain(receiver, channel, count) for channel in channels)) as reading:
        for n in range(count):
            await sender.group_send("room", message(n))
            await asyncio.sleep(0.002)
        got = await asyncio.gather(*reading)
    worst = min(map(len, got))
    return none_of(count - worst, count, "lost by a fast one")


@scenario("A burst to ten sockets of one process", seen="channels_redis #97, #181")
async def shared_capacity(site: Site) -> Outcome:
    """Ten sockets of one process are in a room each. Fifteen messages come to each room in a burst, while all ten are
    busy for a moment. Fifteen are far below a capacity of 100, so everybody must get all of them."""
    sender, receiver = site.pair()
    channels = [await member(receiver, f"room.{room}") for room in range(10)]
    for n in range(15):
        for room in range(10):
            await sender.group_send(f"room.{room}", message(n))
    got = await asyncio.gather(*(drain(receiver, channel, 15) for channel in channels))
    return none_of(150 - sum(map(len, got)), 150, "lost")


@scenario("What is dropped is told", needs=("capacity",), seen="channels_redis #97, awx #8759")
async def silent_drops(site: Site) -> Outcome:
    """One socket hangs, and the room gets five times what its channel holds. Messages have to be dropped; that is what
    a capacity is for. Somebody must be able to find out: by a log record of level WARNING, or by an exception."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logging.getLogger().addHandler(Keep(logging.WARNING))
    sender, receiver = site.pair(capacity=20)
    stuck, reading = await member(receiver, "room"), await member(receiver, "room")
    try:
        async with running(_read(receiver, reading)):
            for n in range(100):
                await sender.group_send("room", message(n))
                await asyncio.sleep(0.005)
    except Exception as problem:  # it is told to the sender, too
        return passes(type(problem).__name__)
    kept = await drain(receiver, stuck, quiet=1)
    if len(kept) == 100:
        return fails("nothing is dropped")
    lost = 100 - len(kept)
    return passes("logged") if records else fails(f"{lost} dropped without a word")


async def _send(sender: Layer, count: int, text: str) -> None:
    for n in range(count):
        await sender.group_send("room", message(n, text=f"{n}{text}"))
        if n % 10 == 0:
            await asyncio.sleep(0)


async def _read(layer: Layer, channel: str) -> None:
    while True:
        await layer.receive(channel)


@scenario("Memory of a reader that stands still", seen="channels_redis #276, channels #2094", deadline=180)
async def stalled_reader(site: Site) -> Outcome:
    """One socket stops reading, and nobody notices, while its room gets thousands of messages of 2 kB. The memory of
    the process must not grow with them. More than 10 MiB for the latest 10,000 fail: half of what was sent."""
    text = "x" * 2_000
    sender, receiver = site.pair()
    await member(receiver, "room")
    reading = await member(receiver, "room")
    async with running(_read(receiver, reading)):
        # What a layer reserves for its work, such as a ring of some megabytes, is in use after these.
        await _send(sender, 6_000, text)
        before = _resident()
        await _send(sender, 10_000, text)
        await asyncio.sleep(1)
        grown = max(0, _resident() - before) / MIB
    figure = f"grows by {grown:.0f} MiB"
    return passes(figure) if grown <= 10 else fails(figure)


def _resident() -> int:
    """Bytes of memory that this process has now; where the system does not say, the most that it ever had."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
