"""What each process of a storm does until it is killed. A module of its own: processes are forked with it loaded."""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.process import BaseProcess

from channel_layers import ChannelFull, LayerUnavailable
from channel_layers.ipc import IPCChannelLayer

#: From here processes are forked in a few milliseconds: one that has to be loaded first takes longer than it may live.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["asyncio", "channel_layers.ipc", "msgpack", "posix_ipc"])


def start(prefix: str, channel: str, writer: int) -> BaseProcess:
    """A process that uses every verb until somebody kills it."""
    process = _server.Process(target=_run, args=(prefix, channel, writer), daemon=True)
    process.start()
    return process


def _run(prefix: str, channel: str, writer: int) -> None:
    asyncio.run(_use_every_verb(prefix, channel, writer))


async def _use_every_verb(prefix: str, channel: str, writer: int) -> None:
    layer = IPCChannelLayer(prefix=prefix, capacity=500)
    own = await layer.new_channel()
    for number in range(1_000_000):
        message = {"writer": writer, "n": number}
        try:
            for part in range(4):  # in a row, as those do who are favoured
                await layer.send(channel, {"writer": writer, "n": 4 * number + part, "by": "send"})
            await layer.group_add("room", own)
            await layer.group_send("room", {**message, "by": "group_send"})
            await layer.receive(own)
            await layer.send("normal", message)
            await layer.group_discard("room", own)
        except (ChannelFull, LayerUnavailable):
            await asyncio.sleep(0.01)
