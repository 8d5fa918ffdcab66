"""A fork at the moment at which the background thread closes a layer that nobody refers to any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from shared_memory import remains

FORKING = """
import asyncio, gc, os, sys, threading, warnings
from channel_layers.ipc import IPCChannelLayer, client, site, watch
from channel_layers.ipc.wakeup import Bell

warnings.simplefilter("ignore")
prefix, kind, name = sys.argv[1:]
is_there, go_on = threading.Event(), threading.Event()
place = {"Site": site.Site, "Watch": watch.Watch, "Bell": Bell, "Client": client.Client}[kind]
original = getattr(place, name)

def stop_there(*arguments):
    if threading.current_thread() is threading.main_thread():
        return original(*arguments)
    is_there.set()
    go_on.wait()
    return original(*arguments)

layer, other = IPCChannelLayer(prefix=prefix), IPCChannelLayer(prefix=prefix)
asyncio.run(layer.new_channel())
channel = asyncio.run(other.new_channel())
bells = [fd for fd in map(int, os.listdir("/proc/self/fd")) if ".bell" in (os.path.realpath(f"/proc/self/fd/{fd}"))]
assert len(bells) == 2
setattr(place, name, stop_there)
del layer
gc.collect()
assert is_there.wait(10)
child = os.fork()
if not child:
    setattr(place, name, original)
    for fd in bells:
        try:
            os.fstat(fd)
        except OSError:
            continue
        os._exit(3)  # the bell of a dead parent would have a reader

    async def use():
        await other.send(channel, {"n": 1})
        own = await other.new_channel()
        await other.send(own, {"n": 2})
        return await other.receive(own)

    assert asyncio.run(asyncio.wait_for(use(), 10)) == {"n": 2}
    sys.exit(0)  # with all that runs at exit
while True:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        break
    go_on.wait(0.01)
go_on.set()
if status:
    sys.exit(f"the child ended with {os.waitstatus_to_exitcode(status)}")
assert asyncio.run(asyncio.wait_for(other.receive(channel), 10)) == {"n": 1}
"""


@pytest.mark.parametrize("step", ["Client close", "Watch stop", "Site leave", "Bell close"])
def test_a_fork_while_an_unreferenced_layer_is_closed(prefix: str, step: str) -> None:
    command = [sys.executable, "-c", FORKING, prefix, *step.split()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as program:
        try:
            _, error = program.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)  # the child as well
            raise
    assert program.returncode == 0, error
    assert not error
    assert not remains(prefix)
