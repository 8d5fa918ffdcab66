"""One of many processes that all send to all. A script, and a module from which processes are forked and spawned."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import Any

from channel_layers.ipc import IPCChannelLayer, locks

#: Processes, and messages of each kind that each of them sends to each.
MEMBERS, MESSAGES = 8, 50

DEADLINE = 60


def run(prefix: str, number: int) -> None:
    """Be one of them."""
    asyncio.run(_be_member(prefix, number))


async def _be_member(prefix: str, number: int) -> None:
    locks.PATIENCE = DEADLINE  # with so many on a busy machine, one that it does not let run is as one that was stopped
    async with IPCChannelLayer(prefix=prefix, capacity=5000) as layer:
        channel, to_start = await layer.new_channel(), await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.send("hello", {"channel": channel, "to_start": to_start})
        channels = (await asyncio.wait_for(layer.receive(to_start), DEADLINE))["channels"]
        receiving = asyncio.ensure_future(_receive_all(layer, channel))
        if number % 2:  # from another loop, in another thread
            await asyncio.to_thread(asyncio.run, _send_all(layer, number, channels))
        else:
            await _send_all(layer, number, channels)
        await receiving
        counts = layer.statistics()
        assert counts.arrived == counts.delivered == 1 + 2 * MEMBERS * MESSAGES
        await layer.send("bye", {"number": number})


async def _send_all(layer: IPCChannelLayer, number: int, channels: list[str]) -> None:
    for n in range(MESSAGES):
        await layer.group_send("room", {"by": f"{number}, group", "n": n})
        for channel in channels:
            await layer.send(channel, {"by": f"{number}, direct", "n": n})
        await asyncio.sleep(0)


async def _receive_all(layer: IPCChannelLayer, channel: str) -> None:
    got: Counter[str] = Counter()
    for _ in range(2 * MEMBERS * MESSAGES):
        message: Any = await asyncio.wait_for(layer.receive(channel), DEADLINE)
        assert message["n"] == got[message["by"]], "each once, and in order"
        got[message["by"]] += 1


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
