"""Many processes that start, end and send at the same moment, and what the system may refuse them."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from processes import until_quiet

from channel_layers import LayerUnavailable
from channel_layers.conformance.running import start_thread
from channel_layers.ipc import IPCChannelLayer, client
from channel_layers.ipc.locks import BUSY, RecordLocks
from channel_layers.ipc.wakeup import Bell, Rope

DEADLINE = 60

STARTING = """
import asyncio, sys
from channel_layers.ipc import IPCChannelLayer

async def main():
    async with IPCChannelLayer(prefix=sys.argv[1], message_memory=16 << 20) as layer:
        channel = await layer.new_channel()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


def start(code: str, prefix: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, prefix]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def none_left(*_: Any) -> int:
    raise OSError(errno.EMFILE, "Too many open files")


def test_many_that_start_together_all_come_in(prefix: str) -> None:
    """Each reserves its memory, which takes long, and holds nobody up meanwhile."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", STARTING, prefix], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.communicate("\n", timeout=DEADLINE)
        assert worker.returncode == 0


@pytest.mark.asyncio
async def test_the_slot_of_one_who_is_leaving_is_passed_by(prefix: str) -> None:
    """It is free in the directory before its life has ended."""
    async with IPCChannelLayer(prefix=prefix) as layer:
        await layer.new_channel()
        with start(LEAVING, prefix) as leaving:
            assert leaving.stdout is not None
            assert leaving.stdout.readline() == "leaves\n"
            async with IPCChannelLayer(prefix=prefix) as other:
                channel = await other.new_channel()
                await layer.send(channel, {"n": 1})
                assert await asyncio.wait_for(other.receive(channel), DEADLINE) == {"n": 1}
            leaving.kill()


LEAVING = """
import asyncio, sys
from channel_layers.ipc import IPCChannelLayer, locks

give_up = locks.RecordLocks.give_up

def wait_first(self, byte):
    print("leaves", flush=True)
    sys.stdin.readline()
    give_up(self, byte)

async def main():
    layer = IPCChannelLayer(prefix=sys.argv[1])
    await layer.new_channel()
    locks.RecordLocks.give_up = wait_first
    await layer.close()

asyncio.run(main())
"""


def test_one_thread_does_not_bury_whom_another_lets_in(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of the system keep out other processes, and not this one."""
    first = IPCChannelLayer(prefix=prefix)
    asyncio.run(first.new_channel())
    here = first._client.site
    inside, go_on = threading.Event(), threading.Event()
    run_now = here.locks.run_now

    def pause_after(byte: int, work: Any, *arguments: Any) -> Any:
        result = run_now(byte, work, *arguments)
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go_on.wait(DEADLINE)
        return result

    monkeypatch.setattr(here.locks, "run_now", pause_after)
    second = IPCChannelLayer(prefix=prefix)
    joining = start_thread(second._client.join)
    assert inside.wait(DEADLINE)
    newest = max(here.directory.used_slots())
    assert not here.bury(newest)
    go_on.set()
    joining.result(DEADLINE)
    assert newest in here.directory.used_slots()
    for layer in (second, first):
        asyncio.run(layer.close())


def test_who_cannot_ring_says_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of descriptors, say: then the sleeper is not taken for woken."""
    path = str(tmp_path / "bell")
    bell, rope = Bell(path, 0o600), Rope(path)

    with monkeypatch.context() as poor:
        poor.setattr(os, "open", none_left)
        assert not rope.pull()
    assert rope.is_loose
    assert rope.pull()
    assert not rope.is_loose
    bell.close()


@pytest.mark.asyncio
async def test_a_sender_without_descriptors_silences_nobody(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, poor, healthy = (IPCChannelLayer(prefix=prefix) for _ in range(3))
    async with layer, poor, healthy:
        channel = await layer.new_channel()
        receiving = asyncio.ensure_future(_both(layer, channel))
        await asyncio.sleep(0)
        await until_quiet(layer)
        with monkeypatch.context() as changed:
            changed.setattr(os, "write", none_left)
            await poor.send(channel, {"n": 1})
        await healthy.send(channel, {"n": 2})
        assert await asyncio.wait_for(receiving, DEADLINE) == [1, 2]


async def _both(layer: IPCChannelLayer, channel: str) -> list[int]:
    return [(await layer.receive(channel))["n"] for _ in range(2)]


@pytest.mark.asyncio
async def test_who_cannot_announce_its_mailbox_keeps_no_bell(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes another with the next try."""
    made = []

    class Noted(Bell):
        def __init__(self, path: str, permissions: int) -> None:
            super().__init__(path, permissions)
            made.append(self)

    async with IPCChannelLayer(prefix=prefix) as layer:
        await layer.send("work", {"n": 0})  # so that it has joined
        with monkeypatch.context() as held:
            held.setattr(client, "Bell", Noted)
            held.setattr(RecordLocks, "run_now", lambda *arguments: BUSY)  # as by a process that was stopped
            for _ in range(3):
                with pytest.raises(LayerUnavailable):
                    await layer.new_channel()
        assert [bell.descriptor for bell in made] == [-1, -1, -1]
        assert await asyncio.wait_for(layer.receive("work"), DEADLINE) == {"n": 0}


def test_a_home_that_stands_still_holds_nobody_up(prefix: str) -> None:
    """As between two calls of run_until_complete(), or while a debugger waits."""
    layer = IPCChannelLayer(prefix=prefix)
    home = asyncio.new_event_loop()

    async def settle_in() -> str:
        channel = await layer.new_channel()
        for n in range(20):
            await layer.send(channel, {"n": n})
            await layer.receive(channel)
        return channel

    home.run_until_complete(settle_in())
    assert layer._client.home.loop is home

    async def receive_here() -> Any:
        channel = await layer.new_channel()
        waiting = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)
        other = IPCChannelLayer(prefix=prefix)
        async with other:
            await other.send(channel, {"n": 1})
            return await asyncio.wait_for(waiting, DEADLINE)

    assert asyncio.run(receive_here()) == {"n": 1}
    home.run_until_complete(layer.close())
    home.close()
