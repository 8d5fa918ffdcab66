"""What an idle process of the layer between processes costs: ``python -m benchmarks.ipc_idle``. On Linux."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
from pathlib import Path

from channel_layers.ipc import IPCChannelLayer
from channel_layers.ipc.site import Site

CHANNELS = 1_000


def private_memory() -> int:
    """Bytes that belong to this process alone."""
    text = Path("/proc/self/smaps_rollup").read_text()
    fields = dict(line.split(":") for line in text.splitlines()[1:])
    return 1024 * sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))


def shared_memory(prefix: str) -> dict[str, int]:
    """Name -> bytes that the system has reserved for it."""
    found = Path("/dev/shm").glob(Site(prefix).base[1:] + "*")
    return {path.name.partition("-")[2].partition("-")[2] or "lock": path.stat().st_blocks * 512 for path in found}


async def measure(seconds: float) -> None:
    prefix = f"idle{secrets.token_hex(4)}"
    async with IPCChannelLayer(prefix=prefix) as layer:
        before = private_memory()
        channel = await layer.new_channel()
        with_mailbox = private_memory()
        channels = [await layer.new_channel() for _ in range(CHANNELS)]
        for each in channels:
            await layer.group_add("room", each)
        joined = private_memory()
        receiving = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(1)  # until nothing is left to do
        started = os.times()
        await asyncio.sleep(seconds)
        ended = os.times()
        receiving.cancel()
        print(f"private memory: {(with_mailbox - before) / 1024:,.0f} kB with a mailbox of its own,")
        print(f"    {(joined - with_mailbox) / CHANNELS:,.0f} bytes more for each channel in a group")
        for name, size in sorted(shared_memory(prefix).items()):
            print(f"shared memory, {name}: {size / 1024:,.0f} kB")
        used = ended.user + ended.system - started.user - started.system
        print(f"processor time while a receive waits for {seconds:g} s: {1000 * used:.0f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ipc_idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of idleness (default: %(default)g)")
    asyncio.run(measure(parser.parse_args().seconds))
