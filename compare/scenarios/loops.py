"""Sync code, threads and event loops that end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from asgiref.sync import async_to_sync

from compare.run import described
from compare.scenario import Outcome, fails, none_of, passes, scenario
from compare.scenarios.steps import ROOM, member, message, receive_within, running
from compare.site import Site

Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result]) -> Result:
    """In a new thread that knows nothing of this event loop."""
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as problem:
            done.set_exception(problem)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)


@scenario("Connections of sync code", needs=("server", "loops"), seen="channels_redis #332, channels #1966")
async def sync_senders(site: Site) -> Outcome:
    """A view, a Celery task or a management command sends with ``async_to_sync``, a hundred times. Each call runs an
    event loop of its own. That must not cost a connection each: at some hundred calls a second a server runs out of
    ports. More than ten connections fail."""
    calls = 100
    sender = site.layer(capacity=ROOM)

    def send() -> None:
        for n in range(calls):
            async_to_sync(sender.group_send)("room", message(n))

    before = _accepted(site)
    try:
        await in_thread(send)
    except Exception as problem:
        return fails(described(problem))
    opened = _accepted(site) - before
    figure = f"{opened} for {calls} calls"
    return passes(figure) if opened <= 10 * len(site.servers) else fails(figure)


def _accepted(site: Site) -> int:
    return sum(int(server.client().info("stats")["total_connections_received"]) for server in site.servers)


@scenario("Event loops one after another", needs=("loops",), seen="channels #1799, channels_redis #312")
async def closed_loops(site: Site) -> Outcome:
    """A shell session, a test suite or a script calls ``asyncio.run()`` again and again, with one layer object: the
    loop in which it was first used is closed. Each of 20 runs joins a room, sends and receives."""
    runs = 20
    sender, receiver = site.pair()

    async def work(number: int) -> bool:
        channel = await member(receiver, f"room.{number}")
        await sender.group_send(f"room.{number}", message(number))
        return await receive_within(receiver, channel) == message(number)

    def run() -> Outcome:
        for number in range(runs):
            try:
                if not asyncio.run(work(number)):
                    return fails(f"lost in run {number + 1}")
            except Exception as problem:
                return fails(f"run {number + 1}: {described(problem)}")
        return none_of(0, runs, "wrong")

    return await in_thread(run)


@scenario("A message from another thread", needs=("direct", "loops"))
async def threads(site: Site) -> Outcome:
    """A consumer waits in the event loop; a thread of the same process, with a loop of its own, sends to it through the
    same layer object. The message must be there at once (within a second), not when something else happens to wake the
    loop. It may not be refused either."""
    layer = site.layer()
    channel = await layer.new_channel()
    loop = asyncio.get_running_loop()
    async with running(layer.receive(channel)) as (receiving,):
        await asyncio.sleep(0.5)
        start = loop.time()
        thread = threading.Thread(target=lambda: asyncio.run(layer.send(channel, message(1))), daemon=True)
        thread.start()
        # One timer, and no turn of the loop before it: looking again and again would wake a loop that was not woken.
        await asyncio.wait([receiving], timeout=3)
        took = loop.time() - start
        if not receiving.done() or took > 1:
            return fails("not woken")
        receiving.result()
    return passes(f"{took * 1000:.0f} ms")
