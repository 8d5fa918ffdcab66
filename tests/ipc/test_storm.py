"""A storm of kills: processes that send and receive die at random instructions, and nobody else notices.

``IPC_STORM_SECONDS`` makes it longer: ``IPC_STORM_SECONDS=60 python -m pytest -s tests/ipc/test_storm.py``.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from multiprocessing.process import BaseProcess

import pytest
from stormy import start

from channel_layers.ipc import IPCChannelLayer

SECONDS = float(os.environ.get("IPC_STORM_SECONDS", "6"))
PROCESSES = 8
BETWEEN_KILLS = 0.05

#: A receive that waits longer than this while others send is a stall.
STALL = 5.0


class Heard:
    """What one receiver has got, and how long it had to wait for it at the most."""

    def __init__(self) -> None:
        self.last: dict[tuple[int, str], int] = {}
        self.normal: set[tuple[int, int]] = set()
        self.counts: Counter[str] = Counter()
        self.longest = 0.0

    async def receive(self, layer: IPCChannelLayer, channel: str) -> None:
        while True:
            began = time.monotonic()
            message = await layer.receive(channel)
            self.longest = max(self.longest, time.monotonic() - began)
            key = (message["writer"], message["by"])
            assert message["n"] > self.last.get(key, -1), "twice, or out of order"
            self.last[key] = message["n"]
            self.counts[message["by"]] += 1

    async def receive_normal(self, layer: IPCChannelLayer) -> None:
        while True:
            message = await layer.receive("normal")
            key = (message["writer"], message["n"])
            assert key not in self.normal, "twice"
            self.normal.add(key)
            self.counts["normal"] += 1


async def _rage(prefix: str, channel: str, receivers: list[asyncio.Task[None]]) -> int:
    """Kill and replace one of the processes each time; returns how many."""
    living: list[BaseProcess] = []
    killed = 0
    due = time.monotonic()
    end = due + SECONDS
    try:
        while due < end:
            while len(living) < PROCESSES:
                living.append(await asyncio.to_thread(start, prefix, channel, killed + len(living)))
            due = max(due + BETWEEN_KILLS, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            victim = living.pop(random.randrange(PROCESSES))
            victim.kill()
            killed += 1
            await asyncio.to_thread(victim.join)
            for receiver in receivers:
                if receiver.done():
                    receiver.result()
    finally:
        for process in living:
            process.kill()
            process.join()
    return killed


@pytest.mark.asyncio
@pytest.mark.timeout(60 + 3 * SECONDS)
async def test_a_storm_of_kills(prefix: str) -> None:
    random.seed(1)
    heard = Heard()
    async with IPCChannelLayer(prefix=prefix, capacity=500) as layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        receivers = [
            asyncio.create_task(heard.receive(layer, channel)),
            asyncio.create_task(heard.receive_normal(layer)),
        ]
        killed = await _rage(prefix, channel, receivers)
        for receiver in receivers:
            receiver.cancel()
        await asyncio.wait(receivers)
        print(
            f"\n{killed} of {PROCESSES} processes at a time killed in {SECONDS:g} s; {dict(heard.counts)} received from"
            f" {len({writer for writer, _ in heard.last})}, the longest wait was {heard.longest * 1000:.0f} ms"
        )
        assert set(heard.counts) == {"send", "group_send", "normal"}
        assert heard.longest < STALL
        await layer.flush()
        await layer.send(channel, {"last": True})
        assert await layer.receive(channel) == {"last": True}
        counts = layer.statistics()
        assert counts.arrived == counts.delivered + sum(counts.dropped.values()) + counts.unread
