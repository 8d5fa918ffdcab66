"""What another process sends wakes who waits, each time: a wake-up that comes too early, or is lost, shows here."""

from __future__ import annotations

import asyncio

import pytest
from processes import Worker

from channel_layers.ipc import IPCChannelLayer

ROUNDS = 200
DEADLINE = 10.0


@pytest.mark.asyncio
@pytest.mark.parametrize("is_normal", [True, False])
async def test_whoever_waits_is_woken(prefix: str, is_normal: bool) -> None:
    with Worker(prefix) as worker:
        await _wake_again_and_again(worker, prefix, is_normal)


async def _wake_again_and_again(worker: Worker, prefix: str, is_normal: bool) -> None:
    async with IPCChannelLayer(prefix=prefix) as layer:
        channel = "jobs" if is_normal else await layer.new_channel()
        for n in range(ROUNDS):
            waiting = asyncio.create_task(layer.receive(channel))
            await asyncio.sleep(0)
            worker.tell("send", channel, {"n": n})
            assert await asyncio.wait_for(waiting, DEADLINE) == {"n": n}
            await asyncio.to_thread(worker.hear)
