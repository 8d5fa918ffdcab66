"""The wall clock: it stands still, steps, differs between machines; and what depends on time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import accumulate

from benchmarks.line import Line
from compare.layers import Compared
from compare.scenario import Outcome, fails, none_of, passes, scenario
from compare.scenarios.steps import ROOM, drain, member, message, receive_within
from compare.site import Site

_true_time = time.time


def set_clock(clock: Callable[[], float]) -> None:
    """What this process takes for the time of day, from now on. ``time.monotonic`` goes on as ever."""
    time.time = clock
    time.time_ns = lambda: int(clock() * 1_000_000_000)


@scenario("Order under a clock that stands still", seen="channels_redis #89, #151")
async def frozen_clock(site: Site) -> Outcome:
    """Time stands still in tests that freeze it, and for 16 ms at a time on some systems. One process writes a hundred
    lines to a room; they must be read in the order in which they were written."""
    now = _true_time()
    set_clock(lambda: now)
    return await _in_order(site, lambda n: None)


@scenario("Order when the clock steps back", seen="channels_redis #89")
async def stepped_clock(site: Site) -> Outcome:
    """The time service corrects the clock by half a second, backwards, while a hundred lines are being written. They
    must be read in the order in which they were written."""

    def step(n: int) -> None:
        if n == 50:
            set_clock(lambda: _true_time() - 0.5)

    return await _in_order(site, step)


async def _in_order(site: Site, before: Callable[[int], None]) -> Outcome:
    count = 100
    sender, receiver = site.pair(capacity=ROOM)
    channel = await member(receiver, "room")
    for n in range(count):
        before(n)
        await sender.group_send("room", message(n))
    got = await drain(receiver, channel, count)
    if len(got) < count:
        return fails(f"{count - len(got)} of {count} lost")
    return none_of(sum(n < latest for n, latest in zip(got, accumulate(got, max), strict=True)), count, "out of order")


async def _send_late(line: Line, contender: Compared, channel: str) -> None:
    set_clock(lambda: _true_time() - 120)
    layer = contender.make()
    await layer.send(channel, message(1))
    await line.tell("sent")
    await contender.close(layer)


@scenario("A machine whose clock is behind", needs=("direct", "processes"))
async def skewed_clock(site: Site) -> Outcome:
    """The clock of one machine is two minutes late. What it sends must arrive like what others send: how old a message
    is should not depend on whose clock is asked."""
    sender, receiver = site.pair()
    channel = await receiver.new_channel()
    async with site.partner(_send_late, site.bound(), channel) as line:
        await line.hear()
    await sender.send(channel, message(2))
    got = await drain(receiver, channel, 2)
    return none_of(2 - len(got), 2, "lost")


@scenario("Expired messages are not delivered", needs=("direct", "expiry"))
async def expiry(site: Site) -> Outcome:
    """Messages live for one second here. One is written every half second, and nobody reads for three; then a consumer
    comes back. It must get only what is younger than a second: "it is your turn" is worse late than never."""
    sender, receiver = site.pair(expiry=1)
    channel = await receiver.new_channel()
    sent: list[float] = []
    for n in range(6):
        if n:
            await asyncio.sleep(0.5)
        await sender.send(channel, message(n))
        sent.append(time.monotonic())
    await asyncio.sleep(0.7)
    asked = time.monotonic()
    got = await drain(receiver, channel, quiet=1)
    # Taken at the earliest when it was asked for, and counted from the end of the send: no margin is needed.
    stale = [asked - sent[n] for n in got if asked - sent[n] > 1 and n < len(sent)]
    return fails(f"one of {max(stale):.1f} s delivered") if stale else passes(f"{len(got)} of {len(sent)} delivered")


@scenario("An expired message ends no membership", needs=("expiry",), seen="channels #1371, channels #933")
async def expired_member(site: Site) -> Outcome:
    """A socket was too slow for one message, which expired. It is still connected, and still a member of its room: the
    next message must reach it."""
    sender, receiver = site.pair(expiry=1)
    channel, other = await member(receiver, "room"), await member(receiver, "room")
    await sender.group_send("room", message(1))
    await asyncio.sleep(1.5)
    await receive_within(receiver, other, 0.2)
    await sender.group_send("room", message(2))
    found = await receive_within(receiver, channel)
    return passes() if found else fails("no member any more")
