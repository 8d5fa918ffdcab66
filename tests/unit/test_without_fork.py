"""On a system without ``fork()``, such as Windows."""

from __future__ import annotations

import subprocess
import sys

USE = """
import os
del os.register_at_fork, os.fork
import asyncio, channel_layers, channel_layers.redis
from channel_layers.memory import InMemoryChannelLayer

async def use():
    layer = InMemoryChannelLayer()
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 1})
    assert await layer.receive(channel) == {"n": 1}

asyncio.run(use())
"""


def test_the_package_imports_and_works() -> None:
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
