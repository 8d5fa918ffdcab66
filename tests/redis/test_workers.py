"""Worker processes that share a normal channel: each message reaches one receiver, once, whatever the others do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from proxy import TcpProxy
from redis_servers import DEADLINE, RedisServer, wait_until

from channel_layers import ChannelFull
from channel_layers.conformance.running import Child, within
from channel_layers.redis import RedisChannelLayer

STOP = -1


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    """A network between the layers and the server, which costs time if a test says so."""
    with TcpProxy(*redis_server.address) as proxy:
        yield proxy


@pytest.fixture
def prefix() -> str:
    return f"test{secrets.token_hex(6)}"


class Worker:
    """A process with so many receivers of one channel. What they get is on record as soon as they have it.

    The record is a pipe, so that it outlives the process. The process ends when each receiver has got a ``STOP``.
    """

    def __init__(self, make_layer: Callable[[], RedisChannelLayer], channel: str, receivers: int) -> None:
        read_end, write_end = os.pipe()

        async def receive(layer: RedisChannelLayer) -> None:
            n = None
            while n != STOP:
                n = (await layer.receive(channel))["n"]
                os.write(write_end, struct.pack("q", n))

        async def work(child: Child) -> None:
            async with make_layer() as layer:
                child.tell("at work")
                await asyncio.gather(*(receive(layer) for _ in range(receivers)))

        self._process = Child(work, 4 * DEADLINE)
        os.close(write_end)
        self._record = os.fdopen(read_end, "rb")
        self.pid = self._process.pid
        self.got: list[int] = []

    async def begun(self) -> Worker:
        await self._process.hear()
        return self

    async def read(self) -> list[int]:
        """All that it got, when it has ended."""
        self.got += [n for (n,) in struct.iter_unpack("q", await asyncio.to_thread(self._record.read))]
        return self.got

    def read_one(self) -> None:
        self.got += struct.unpack("q", self._record.read(8))

    def end(self) -> None:
        self._record.close()
        self._process.end()


@contextlib.contextmanager
def workers(
    count: int, make_layer: Callable[[], RedisChannelLayer], channel: str, receivers: int
) -> Iterator[list[Worker]]:
    begun: list[Worker] = []
    try:
        for _ in range(count):
            begun.append(Worker(make_layer, channel, receivers))
        yield begun
    finally:
        for worker in begun:
            worker.end()


async def send_all(layer: RedisChannelLayer, channel: str, numbers: Any) -> None:
    """One after the other; where there is no room, again."""
    for n in numbers:
        while True:
            try:
                await layer.send(channel, {"n": n})
                break
            except ChannelFull:
                await asyncio.sleep(0)


async def send_at_once(layer: RedisChannelLayer, channel: str, count: int) -> None:
    """In no certain order."""
    await asyncio.gather(*(send_all(layer, channel, range(start, count, 50)) for start in range(50)))


#: Ten thousand take twelve seconds with eight workers.
MESSAGES = 10_000


@pytest.mark.asyncio
@pytest.mark.parametrize(("processes", "delay"), [(2, 0.0), (4, 0.002), (8, 0.01)])
async def test_each_message_comes_to_one_worker_once(
    redis_server: RedisServer, proxy: TcpProxy, prefix: str, processes: int, delay: float
) -> None:
    """Near the server or far from it: as many are delivered as are sent, and no two are the same."""
    receivers, channel = 16, "jobs"

    def make_layer() -> RedisChannelLayer:
        return RedisChannelLayer([proxy.address], prefix=prefix, capacity=MESSAGES, send_timeout=10)

    with workers(processes, make_layer, channel, receivers) as at_work:
        for worker in at_work:
            await worker.begun()
        server = redis_server.client()
        wait_until(lambda: sum(each["cmd"] == "blpop" for each in server.client_list()) == processes, "all ask")
        proxy.delay = delay
        async with make_layer() as layer:
            await within(2 * DEADLINE, send_at_once(layer, channel, MESSAGES), "all are sent")
            await send_all(layer, channel, processes * receivers * [STOP])
            got = [await within(2 * DEADLINE, worker.read(), "the workers end") for worker in at_work]
            counts = layer.statistics()
    delivered = Counter(n for each in got for n in each)
    assert delivered.pop(STOP) == processes * receivers
    assert sum(delivered.values()) == len(delivered) == MESSAGES
    assert sorted(delivered) == list(range(MESSAGES))
    assert all(len(each) > receivers for each in got), "all have something to do"
    assert counts.accepted == MESSAGES + processes * receivers


@pytest.mark.asyncio
async def test_one_reader_gets_them_in_order(proxy: TcpProxy, prefix: str) -> None:
    """One receiver in one process: in the order in which they were sent, though they are sent in many turns."""

    def make_layer() -> RedisChannelLayer:
        return RedisChannelLayer([proxy.address], prefix=prefix, capacity=10)

    with workers(1, make_layer, "jobs", 1) as (worker,):
        await worker.begun()
        proxy.delay = 0.001
        async with make_layer() as layer:
            await within(DEADLINE, send_all(layer, "jobs", [*range(500), STOP]), "all are sent")
            got = await within(DEADLINE, worker.read(), "the worker ends")
    assert got == [*range(500), STOP]


@pytest.mark.asyncio
async def test_readers_of_one_process_share_in_order(proxy: TcpProxy, prefix: str) -> None:
    """Many receivers that wait in one process are served in the order of the messages."""
    async with RedisChannelLayer([proxy.address], prefix=prefix, capacity=1_000) as layer:
        got: list[int] = []

        async def receive() -> None:
            while (n := (await layer.receive("jobs"))["n"]) != STOP:
                got.append(n)

        receivers = [asyncio.create_task(receive()) for _ in range(20)]
        proxy.delay = 0.002
        await send_all(layer, "jobs", [*range(500), *(20 * [STOP])])
        await within(DEADLINE, asyncio.gather(*receivers), "the receivers end")
        assert got == list(range(500))


@pytest.mark.asyncio
@pytest.mark.parametrize("delay", [0.0, 0.003])
async def test_a_receiver_that_is_cancelled_at_every_await(proxy: TcpProxy, prefix: str, delay: float) -> None:
    """Also while a message is under way to it, or back to the server: nothing is lost, in order, none comes twice."""
    count, got = 150, []
    make_layer = lambda: RedisChannelLayer([proxy.address], prefix=prefix, capacity=1_000)  # noqa: E731
    async with make_layer() as layer, make_layer() as sender:
        await send_all(sender, "warm", [0])
        await layer.receive("warm")
        proxy.delay = delay
        sending = asyncio.create_task(send_all(sender, "jobs", range(count)))
        turns = 0
        while len(got) < count:
            receiving = asyncio.create_task(layer.receive("jobs"))
            for _ in range(turns % 40):
                await asyncio.sleep(0)
            if turns % 7 == 0:
                # As long as a message takes, at one of the moments at which it may be anywhere.
                await asyncio.wait({receiving}, timeout=(turns % 9) * max(delay, 0.0005))
            turns += 1
            receiving.cancel()
            await asyncio.wait({receiving})
            if not receiving.cancelled():
                got.append(receiving.result()["n"])
        await sending
        assert got == list(range(count))
        await sender.send("jobs", {"n": STOP})
        assert await within(DEADLINE, layer.receive("jobs"), "nothing comes twice") == {"n": STOP}


@pytest.mark.asyncio
async def test_receivers_that_are_cancelled_beside_others(proxy: TcpProxy, prefix: str) -> None:
    """Fickle receivers in two processes cost the steady ones nothing."""
    receivers, count, channel = 4, 1_500, "jobs"

    def make_layer() -> RedisChannelLayer:
        return RedisChannelLayer([proxy.address], prefix=prefix, capacity=count)

    got: list[int] = []
    with workers(2, make_layer, channel, receivers) as at_work:
        for worker in at_work:
            await worker.begun()
        proxy.delay = 0.001
        async with make_layer() as layer, make_layer() as sender:

            async def receive_now_and_then(pause: float) -> None:
                while not done.is_set():
                    with contextlib.suppress(asyncio.TimeoutError):
                        got.append((await asyncio.wait_for(layer.receive(channel), pause))["n"])

            done = asyncio.Event()
            fickle = [asyncio.create_task(receive_now_and_then(n * 0.0007)) for n in range(1, 9)]
            await within(DEADLINE, send_at_once(sender, channel, count), "all are sent")
            done.set()
            await within(DEADLINE, asyncio.gather(*fickle), "they end")
            await layer.close()  # gives back what it popped and nobody took
            await send_all(sender, channel, 2 * receivers * [STOP])
            for worker in at_work:
                got += await within(DEADLINE, worker.read(), "the workers end")
    assert Counter(got) == Counter([*range(count), *(2 * receivers * [STOP])])
    assert len(got) - 2 * receivers == count


@pytest.mark.asyncio
async def test_a_worker_that_is_killed(proxy: TcpProxy, prefix: str, redis_server: RedisServer) -> None:
    """It takes no more with it than it had popped: at the most one for each of its receivers."""
    receivers, count, channel = 8, 2_000, "jobs"

    def make_layer() -> RedisChannelLayer:
        return RedisChannelLayer([proxy.address], prefix=prefix, capacity=count)

    with workers(3, make_layer, channel, receivers) as at_work:
        victim = at_work[0]
        for worker in at_work:
            await worker.begun()
        proxy.delay = 0.002
        async with make_layer() as layer:
            await within(DEADLINE, send_at_once(layer, channel, count), "all are sent")
            for _ in range(100):
                await asyncio.to_thread(victim.read_one)
            os.kill(victim.pid, signal.SIGKILL)
            await send_all(layer, channel, 2 * receivers * [STOP])
            got = [n for worker in at_work for n in await within(DEADLINE, worker.read(), "the workers end")]
    delivered = Counter(got)
    assert max(count for n, count in delivered.items() if n != STOP) == 1
    lost = set(range(count)) - delivered.keys()
    assert len(lost) <= receivers
    wait_until(lambda: not redis_server.client().exists(f"{prefix}:cl1:queue:{channel}"), "nothing is left")


@pytest.mark.asyncio
async def test_workers_that_come_and_go(proxy: TcpProxy, prefix: str) -> None:
    """One that closes its layer gives back what it popped and nobody took."""
    count, channel = 600, "jobs"
    proxy.delay = 0.001
    make_layer = lambda: RedisChannelLayer([proxy.address], prefix=prefix, capacity=count)  # noqa: E731
    got: list[int] = []
    async with make_layer() as sender:
        await send_at_once(sender, channel, count)

        async def work(number: int) -> None:
            while len(got) < count:
                async with make_layer() as layer:
                    for _ in range(number):
                        with contextlib.suppress(asyncio.TimeoutError):
                            got.append((await asyncio.wait_for(layer.receive(channel), 0.05))["n"])

        await within(DEADLINE, asyncio.gather(*(work(10 * number) for number in range(1, 5))), "all are received")
        assert sorted(got) == list(range(count))
        await sender.send(channel, {"n": STOP})
        assert await within(DEADLINE, sender.receive(channel), "nothing comes twice") == {"n": STOP}
