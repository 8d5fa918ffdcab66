"""A storm of kills: processes that send and receive die at random instructions, and nobody else notices.

``IPC_STORM_SECONDS`` makes it longer: ``IPC_STORM_SECONDS=60 python -m pytest -s tests/ipc/test_storm.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import threading
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
    """Kill one of the processes each time, and let others take their place; returns how many."""
    living: list[BaseProcess] = []
    writers = itertools.count()
    killed: list[BaseProcess] = []
    is_over = threading.Event()

    def replace() -> None:
        while not is_over.is_set():
            if len(living) < PROCESSES:
                living.append(start(prefix, channel, next(writers)))
            else:
                is_over.wait(BETWEEN_KILLS / 10)

    replacing = asyncio.create_task(asyncio.to_thread(replace))
    due = time.monotonic()
    end = due + SECONDS
    try:
        while due < end:
            due += BETWEEN_KILLS
            await asyncio.sleep(due - time.monotonic())
            if living:
                killed.append(living.pop(random.randrange(len(living))))
                killed[-1].kill()
            for receiver in receivers:
                if receiver.done():
                    receiver.result()
    finally:
        is_over.set()
        await replacing
        for process in living:
            process.kill()
        for process in (*living, *killed):
            process.join()
    return len(killed)


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
