"""A storm of kills: processes that send and receive die at random instructions, and nobody else notices.

``IPC_STORM_SECONDS`` makes it longer: ``IPC_STORM_SECONDS=60 python -m pytest tests/ipc/test_storm.py``.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import defaultdict

import pytest
from processes import Worker

from channel_layers.ipc import IPCChannelLayer

SECONDS = float(os.environ.get("IPC_STORM_SECONDS", "6"))

#: A receive that waits longer than this while others send is a stall.
STALL = 5.0


@pytest.mark.asyncio
@pytest.mark.timeout(60 + 3 * SECONDS)
async def test_a_storm_of_kills(prefix: str) -> None:
    random.seed(1)
    async with IPCChannelLayer(prefix=prefix, capacity=500) as layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        seen: dict[tuple[int, str], int] = defaultdict(lambda: -1)
        normals: set[tuple[int, int]] = set()
        got = 0
        longest = 0.0

        async def receive() -> None:
            nonlocal got, longest
            while True:
                started = time.monotonic()
                message = await layer.receive(channel)
                longest = max(longest, time.monotonic() - started)
                key = (message["writer"], message["by"])
                assert message["n"] > seen[key], "twice, or out of order"
                seen[key] = message["n"]
                got += 1

        async def receive_normal() -> None:
            while True:
                message = await layer.receive("normal")
                assert (message["writer"], message["n"]) not in normals, "twice"
                normals.add((message["writer"], message["n"]))

        receivers = [asyncio.create_task(receive()), asyncio.create_task(receive_normal())]
        workers: list[Worker] = []
        started = 0
        end = time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                while len(workers) < 4:
                    worker = Worker(prefix, capacity=500)
                    worker.tell("storm", channel, started)
                    workers.append(worker)
                    started += 1
                await asyncio.sleep(0.05 + 0.3 * random.random())  # a process takes about that long to begin
                victim = workers.pop(random.randrange(len(workers)))
                victim.kill()
                victim.end()
                for receiver in receivers:
                    if receiver.done():
                        receiver.result()
        finally:
            for worker in workers:
                worker.kill()
                worker.end()
            for receiver in receivers:
                receiver.cancel()
        assert got > 0
        assert longest < STALL
        await layer.send(channel, {"writer": -1, "by": "send", "n": 0})
        await layer.flush()
        counts = layer.statistics()
        assert counts.arrived == counts.delivered + sum(counts.dropped.values()) + counts.unread
