"""Outages of a Redis server and ends of processes, seen by other processes of the queue layer."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Sequence

import pytest
from numbered import Process, Reader, Traffic, until
from outages import make_layer
from redis_servers import DEADLINE, SHORT_LEASE, RedisServer, skewed_python, wait_until

RECEIVER = """
import asyncio, sys
from channel_layers.redis import RedisChannelLayer

async def main(port, prefix, lease, *names):
    options = {"prefix": prefix, "lease": float(lease), "capacity": 100_000, "send_timeout": 30}
    layer = RedisChannelLayer(hosts=[("127.0.0.1", int(port))], **options)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    print(channel, flush=True)

    async def receive(channel):
        while True:
            message = await layer.receive(channel)
            print(message["number"], flush=True)

    await asyncio.gather(*(receive(name or channel) for name in names))

asyncio.run(main(*sys.argv[1:]))
"""

SENDER = """
import asyncio, sys
from channel_layers.redis import RedisChannelLayer

async def main(port, prefix, channel, first, last):
    layer = RedisChannelLayer(hosts=[("127.0.0.1", int(port))], prefix=prefix, capacity=100_000, send_timeout=30)
    for number in range(int(first), int(last) + 1):
        await layer.send(channel, {"type": "numbered", "lane": "direct", "number": number})
        await layer.group_send("room", {"type": "numbered", "lane": "group", "number": number})
        await layer.send("jobs", {"type": "numbered", "lane": "normal", "number": number})
    print("done", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""

ENDING = """
import asyncio, sys
from channel_layers import LayerUnavailable
from channel_layers.redis import RedisChannelLayer

async def main(port):
    layer = RedisChannelLayer(hosts=[("127.0.0.1", int(port))], send_timeout=2.5)
    channel = await layer.new_channel()
    receiving = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs")]
    try:
        for _ in range(20):
            await layer.send(channel, {"type": "x"})
    except LayerUnavailable:
        print("refused", flush=True)
    print("waits", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

asyncio.run(main(*sys.argv[1:]))
print("ends", flush=True)
"""


class TestProcesses:
    """Processes that end, are killed or stopped, or whose clock is wrong; the load comes from others."""

    @pytest.mark.parametrize("end", [RedisServer.kill, RedisServer.pause])
    def test_that_ends_while_the_server_is_away(self, own_redis_server: RedisServer, end) -> None:
        with python(ENDING, own_redis_server.port) as process:
            wait_until(lambda: process.says("waits"), lambda: f"{process.lines}")
            end(own_redis_server)
            self._ends(process)
            assert not process.says("refused")

    def test_that_ends_without_any_server(self, own_redis_server: RedisServer) -> None:
        own_redis_server.stop()
        with python(ENDING, own_redis_server.port) as process:
            wait_until(lambda: process.says("waits"), lambda: f"{process.lines}")
            assert process.says("refused")
            self._ends(process)

    def _ends(self, process: Process) -> None:
        process.tell("end")
        assert process.popen.wait(DEADLINE) == 0
        wait_until(lambda: process.says("ends"), lambda: f"{process.lines}")
        said = "\n".join(process.lines)
        assert "Traceback" not in said
        assert "Exception ignored" not in said

    @pytest.mark.asyncio
    async def test_that_is_killed_leaves_its_groups_and_others_go_on(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address, lease=SHORT_LEASE) as traffic:
            site = own_redis_server.client()
            with receiver(own_redis_server, "") as process:
                await until(lambda: len(process.numbers()) > 10, lambda: f"it receives: {process.lines}")
                client = process.lines[0].partition(".")[2].partition("!")[0]
                assert site.hlen(traffic.keys.group(traffic.group)) == 3
                process.kill()
                numbers = process.numbers()
            await until(lambda: traffic.is_listed(site), "it has left the group", SHORT_LEASE + 10)
            left = [key.decode() for key in site.scan_iter(f"*:{client}")]
            assert not any("mailbox" in key for key in left), left
            lost = await traffic.lost()
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert not any(lost.values())

    @pytest.mark.asyncio
    async def test_that_are_killed_leave_what_they_had_not_taken(self, own_redis_server: RedisServer) -> None:
        kills = 3
        async with Traffic(own_redis_server.address) as traffic:
            lane = traffic.lanes["normal"]
            numbers: list[int] = []
            for _ in range(kills):
                with receiver(own_redis_server, "jobs") as process:
                    await until(lambda process=process: len(process.numbers()) > 10, lambda: f"{process.lines}")
                    process.kill()
                    numbers += process.numbers()
            await traffic.flows()
            await lane.end()
            await until(lambda: len(lane.accepted - {*numbers, *lane.readers[0].received["normal"]}) <= kills, "read")
            mine = lane.readers[0].received["normal"]
            assert len(numbers) == len(set(numbers))
            assert not set(numbers) & set(mine)
            # What was refused may have arrived: a busy machine may have kept the server silent for a while.
            assert set(numbers) | set(mine) <= lane.accepted | lane.refused.keys()
            # A process has at most one message that was taken for it, and that it has not told of.
            assert len(lane.accepted - set(mine) - set(numbers)) <= kills

    @pytest.mark.asyncio
    async def test_that_stands_still_for_longer_than_its_lease_comes_back(self, own_redis_server: RedisServer) -> None:
        async with Traffic(own_redis_server.address, lease=SHORT_LEASE) as traffic:
            site = own_redis_server.client()
            with receiver(own_redis_server, "") as process:
                await until(lambda: len(process.numbers()) > 10, lambda: f"it receives: {process.lines}")
                process.popen.send_signal(signal.SIGSTOP)
                await until(lambda: traffic.is_listed(site), "it has left the group", SHORT_LEASE + 10)
                process.popen.send_signal(signal.SIGCONT)
                back = traffic.lanes["group"].issued
                await until(lambda: process.numbers()[-1] > back, lambda: f"it is back: {process.lines[-10:]}")
                process.kill()
                numbers = process.numbers()
            lost = await traffic.lost()
        assert numbers == sorted(set(numbers))
        gaps = [(before, after) for before, after in itertools.pairwise(numbers) if after != before + 1]
        assert len(gaps) <= 1
        assert not any(lost.values())

    @pytest.mark.asyncio
    @pytest.mark.parametrize("skew", [-0.5, 61.0, 3600.0])
    async def test_whose_clock_is_wrong(self, own_redis_server: RedisServer, skew: float) -> None:
        count = 200
        async with make_layer(own_redis_server.address, capacity=100_000) as layer:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            readers = Reader(layer, channel), Reader(layer, "jobs")
            with receiver(own_redis_server, "", *skewed_python(skew)) as process:
                wait_until(lambda: process.lines, lambda: f"{process.lines}")
                first = 1
                # One after the other: what a sender with the right time has sent stays before what the other sends.
                for command in ([sys.executable, "-c"], skewed_python(skew), [sys.executable, "-c"]):
                    with python(
                        SENDER, *site(own_redis_server), channel, first, first + count - 1, command=command
                    ) as sender:
                        await until(lambda sender=sender: sender.says("done"), lambda: f"{sender.lines}")
                    first += count
                for lane, reader in (("direct", readers[0]), ("group", readers[0]), ("normal", readers[1])):
                    await until(lambda lane=lane, reader=reader: reader.last(lane) == 3 * count, f"all of {lane}")
                    assert reader.received[lane] == list(range(1, 3 * count + 1))
                await until(lambda: len(process.numbers()) == 3 * count, lambda: f"{process.lines}")
                assert process.numbers() == list(range(1, 3 * count + 1))
            for reader in readers:
                await reader.end()


def site(server: RedisServer) -> tuple[str, ...]:
    return str(server.port), Traffic.prefix


def python(code: str, *arguments: object, command: Sequence[str] = (sys.executable, "-c")) -> Process:
    """A process that runs the code; ``command`` is what stands before it, as ``skewed_python`` gives it."""
    return Process([*command, code, *map(str, arguments)])


def receiver(server: RedisServer, name: str, *command: str) -> Process:
    """A process in the group that prints what it receives, on its own channel or on one of that name."""
    return python(RECEIVER, *site(server), SHORT_LEASE, name, command=command or (sys.executable, "-c"))
