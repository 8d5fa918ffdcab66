"""Receivers that are cancelled, time out or wait for long."""

from __future__ import annotations

import asyncio

from compare.run import described
from compare.scenario import Outcome, fails, none_of, passes, scenario
from compare.scenarios.steps import ROOM, cancelled, drain, member, message, receive_within, running
from compare.site import Site


@scenario("A receive is cancelled while messages come", seen="channels #1683, channels_redis #366")
async def cancelled_receive(site: Site) -> Outcome:
    """A consumer waits for messages and for something else at once, and cancels the receive when the other thing is
    there first. A layer that has just taken a message off the wire for it must keep that message for the next receive;
    else the consumer misses one now and then, without an error."""
    count = 600
    sender, receiver = site.pair(capacity=ROOM)
    channel = await member(receiver, "room")

    async def send() -> None:
        for n in range(count):
            await sender.group_send("room", message(n))
            await asyncio.sleep(0.001)

    got: list[int] = []
    async with running(send()) as (sending,):
        while not sending.done():
            found = await receive_within(receiver, channel, 0.001 * (1 + len(got) % 5))
            if found is not None:
                got.append(found["n"])
        await sending
    got += await drain(receiver, channel, count - len(got))
    return in_full(got, count)


def in_full(got: list[int], count: int) -> Outcome:
    """Each number once, and in order."""
    if lost := count - len(set(got)):
        return none_of(lost, count, "lost")
    if repeated := len(got) - count:
        return fails(f"{repeated:,} of {count:,} twice")
    if got != sorted(got):
        return fails("out of order")
    return none_of(0, count, "lost")


@scenario("Others come and go", seen="channels #1244, channels_redis #372")
async def churn(site: Site) -> Outcome:
    """Three consumers stay in a room while twenty others keep connecting and disconnecting, as browsers do. Those who
    stay must get every message: somebody else's disconnect is not their business."""
    count = 500
    sender, receiver = site.pair(capacity=ROOM)
    stayers = [await member(receiver, "room") for _ in range(3)]

    async def come_and_go(number: int) -> None:
        while True:
            channel = await member(receiver, "room")
            async with running(receiver.receive(channel)):
                await asyncio.sleep(0.005 + 0.001 * number)
            await receiver.group_discard("room", channel)

    async def send() -> None:
        for n in range(count):
            await sender.group_send("room", message(n))
            await asyncio.sleep(0.001)

    async with running(*(drain(receiver, channel, count, quiet=10) for channel in stayers)) as staying:
        async with running(*map(come_and_go, range(20))):
            await send()
        results = await asyncio.gather(*staying)
    worst = min(results, key=lambda got: len(set(got)))
    return none_of(count - len(set(worst)), count, "lost by one who stayed")


@scenario("A receive times out")
async def timed_out_receive(site: Site) -> Outcome:
    """A consumer waits with a time limit, nothing comes in time, and it goes on. Its channel must be as it was: still
    there, still in its groups. Else it never hears of its room again."""
    count = 50
    sender, receiver = site.pair()

    channels = [await member(receiver, f"room.{number}") for number in range(count)]

    async def times_out_then_receives(number: int) -> bool:
        channel = channels[number]
        if await receive_within(receiver, channel, 0.05) is not None:
            return False
        await sender.group_send(f"room.{number}", message(number))
        await asyncio.sleep(0.2)  # the consumer is doing something else
        return await receive_within(receiver, channel) == message(number)

    kept = await asyncio.gather(*map(times_out_then_receives, range(count)))
    return none_of(kept.count(False), count, "lost")


@scenario("Nothing comes for seven seconds", seen="redis-py #4091, channels_redis #424")
async def idle(site: Site) -> Outcome:
    """Ten sockets are open in a quiet night, with the settings of the layer's quick start and today's redis-py. Nobody
    writes for seven seconds. No receive may end because nothing came: a consumer whose receive raises is
    disconnected."""
    receiver = site.layer(plain=True)
    channels = [await member(receiver, "room") for _ in range(10)]
    waiting = [asyncio.create_task(receiver.receive(channel)) for channel in channels]
    try:
        await asyncio.wait(waiting, timeout=7, return_when=asyncio.ALL_COMPLETED)
        ended = [task for task in waiting if task.done()]
        if ended:
            problem = next((task.exception() for task in ended), None)
            why = f" ({described(problem).partition(':')[0]})" if problem else ""
            return fails(f"{len(ended)} of {len(waiting)} ended{why}")
        sender = site.layer() if site.contender.shared else receiver
        await sender.group_send("room", message(1))
        done, late = await asyncio.wait(waiting, timeout=5)
        return none_of(len(late), len(done) + len(late), "deaf afterwards")
    finally:
        await cancelled(waiting)


@scenario("The first message of a fresh layer")
async def first_message(site: Site) -> Outcome:
    """A process has just started; somebody joins a room and is written to. How long does it take until the message is
    there? A layer that looks for work every tenth of a second is slow exactly at the first one. Fails above 60 ms in
    the median of eleven new layers."""
    delays = []
    loop = asyncio.get_running_loop()
    for number in range(11):
        sender, receiver = site.pair()
        channel = await member(receiver, f"room.{number}")
        start = loop.time()
        await sender.group_send(f"room.{number}", message(number))
        if await receive_within(receiver, channel) is None:
            return fails("it never came")
        delays.append(loop.time() - start)
    median = sorted(delays)[len(delays) // 2] * 1000
    figure = f"{median:.1f} ms"
    return passes(figure) if median < 60 else fails(figure)
