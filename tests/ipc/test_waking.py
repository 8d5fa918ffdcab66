"""What another process sends wakes who waits, each time: a wake-up that comes too early, or is lost, shows here."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest
from processes import DEADLINE, Worker, until_quiet
from test_faults import at_home

from channel_layers import ChannelFull
from channel_layers.ipc import IPCChannelLayer, faults
from channel_layers.ipc.mailbox import SLEEPING
from channel_layers.ipc.reader import Reader
from channel_layers.ipc.wakeup import Rope

ROUNDS = 200


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


@pytest.mark.parametrize("label", ["lock.held", "take.published", "take.asleep", "take.copied"])
def test_a_reader_that_was_interrupted_comes_again(prefix: str, label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has heard the bell, which nobody rings once more for a reader that seems to be awake."""
    loop = asyncio.new_event_loop()
    layer = IPCChannelLayer(prefix=prefix, capacity=5)

    async def settle_in() -> str:
        channel = await layer.new_channel()
        await at_home(layer, channel)
        return channel

    def interrupt(passed: str) -> None:
        if passed == label:
            monkeypatch.undo()
            raise KeyboardInterrupt

    with Worker(prefix, capacity=5) as worker:
        channel = loop.run_until_complete(settle_in())
        waiting = loop.create_task(layer.receive(channel))
        loop.run_until_complete(asyncio.sleep(0))
        assert worker.ask("send", channel, {"n": 0}) == ["done", None]
        monkeypatch.setattr(faults, "hook", interrupt)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(DEADLINE))
        assert worker.ask("send", channel, {"n": 1}) == ["done", None]
        received = loop.run_until_complete(asyncio.wait_for(waiting, DEADLINE))
        assert received == {"n": int(label == "take.copied")}, "what was being taken is gone"
        loop.run_until_complete(until_quiet(layer))
        unread = layer.statistics().unread
        sent = [worker.ask("send", channel, {"n": 2}) for _ in range(6 - unread)]
        assert sent == [*[["done", None]] * (5 - unread), ["done", "ChannelFull"]], "its places are free"
        loop.run_until_complete(layer.close())
    loop.close()


@pytest.mark.asyncio
async def test_a_reader_whose_mailbox_is_locked_tries_seldom(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many have rung for it meanwhile, who may do that without the lock."""
    async with IPCChannelLayer(prefix=prefix) as layer, IPCChannelLayer(prefix=prefix) as other:
        channel = await layer.new_channel()
        await at_home(layer, channel)
        looks = 0
        look = Reader.peek

        def counted(reader: Reader) -> int:
            nonlocal looks
            looks += 1
            return look(reader)

        with Worker(prefix) as worker:
            worker.ask("send", channel, {"n": 0})
            assert await layer.receive(channel) == {"n": 0}
            await until_quiet(layer)
            worker.ask("arm", "push.dirty", "SIGSTOP")
            worker.tell("send", channel, {"n": 1})
            worker.until_stopped()
            refused = await asyncio.gather(*(other.send(channel, {}) for _ in range(20)), return_exceptions=True)
            assert {type(error) for error in refused} == {ChannelFull}
            monkeypatch.setattr(Reader, "peek", counted)
            await asyncio.sleep(0.3)
            assert looks < 100
            worker.go_on()
            assert await asyncio.wait_for(layer.receive(channel), DEADLINE) == {"n": 1}
            assert worker.hear() == ["done", None]


@pytest.mark.asyncio
async def test_what_is_refused_again_and_again_wakes_nobody(prefix: str) -> None:
    """A channel that nobody empties costs its process the first wake-up, by who could not know, and no other."""
    async with IPCChannelLayer(prefix=prefix, capacity=2) as layer:
        channel = await layer.new_channel()
        await at_home(layer, channel)
        await layer.send(channel, {})
        await layer.send(channel, {})
        await until_quiet(layer)
        reader = layer._client.reader
        assert reader is not None
        before = reader.words[SLEEPING]
        with pytest.raises(ChannelFull):
            await layer.send(channel, {})
        while reader.words[SLEEPING] in (before, 0):  # noqa: ASYNC110 - what is waited for is in shared memory
            await asyncio.sleep(0.001)
        sleep = reader.words[SLEEPING]
        for _ in range(5):
            with pytest.raises(ChannelFull):
                await layer.send(channel, {})
            await asyncio.sleep(0.01)
        assert reader.words[SLEEPING] == sleep, "it has not woken since"
        assert await layer.receive(channel) == {}
        await until_quiet(layer)
        await layer.send(channel, {"n": 2})
        assert [await asyncio.wait_for(layer.receive(channel), DEADLINE) for _ in range(2)] == [{}, {"n": 2}]


@pytest.mark.asyncio
async def test_a_reader_that_fails_does_not_spin(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in it: the bell must not ring on, and what came is delivered when it is over."""
    loop = asyncio.get_running_loop()
    failures = []
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail(reader: Reader) -> int:
        raise MemoryError

    async with IPCChannelLayer(prefix=prefix) as layer:
        channel = await layer.new_channel()
        await at_home(layer, channel)
        waiting = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(Reader, "peek", fail)
            with Worker(prefix) as worker:
                assert worker.ask("send", channel, {"n": 0}) == ["done", None]
                await asyncio.sleep(0.5)
        assert 0 < len(failures) < 20
        assert {type(error) for error in failures} == {MemoryError}
        assert await asyncio.wait_for(waiting, DEADLINE) == {"n": 0}


@pytest.mark.asyncio
async def test_two_threads_that_ring_first_open_a_bell_once(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with IPCChannelLayer(prefix=prefix) as layer:
        await layer.new_channel()
        rope = Rope(layer._client.site.bell_path(layer._client.own_slot))
        opened = []
        really_open = os.open

        def open_twice(*arguments: Any) -> int:
            monkeypatch.undo()
            opened.append(really_open(*arguments))
            assert rope.pull()  # as another thread at this moment
            return opened[0]

        monkeypatch.setattr(os, "open", open_twice)
        assert rope.pull()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(opened[0])
        assert rope.pull()


SENDING_TO_THE_DEAD = """
import asyncio, signal, sys
from channel_layers.ipc import IPCChannelLayer

async def main():
    async with IPCChannelLayer(prefix=sys.argv[1]) as layer:
        await layer.send("other", {})
        channel = sys.argv[3]
        await layer.send(channel, {"n": 0})  # so that the pipe is open here before it loses its reader
        print("ready", flush=True)
        sys.stdin.readline()
        await layer.send(channel, {"n": 1})
        await asyncio.get_running_loop().run_in_executor(None, asyncio.run, layer.send(channel, {"n": 2}))
        await layer.receive("other")
        assert signal.sigpending() == set(), signal.sigpending()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
        print("alive", flush=True)

signal.signal(signal.SIGPIPE, getattr(signal, sys.argv[2]))
asyncio.run(main())
"""


@pytest.mark.parametrize("disposition", ["SIG_DFL", "SIG_IGN"])
def test_a_bell_without_a_reader_kills_nobody(prefix: str, disposition: str) -> None:
    """As tools of the command line do, which are to end with the pipe that they write to."""
    with Worker(prefix) as worker:
        _, channel = worker.ask("new_channel")
        worker.ask("until_quiet")
        command = [sys.executable, "-c", SENDING_TO_THE_DEAD, prefix, disposition, channel]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
            assert sender.stdout is not None
            assert sender.stdout.readline() == "ready\n"
            worker.ask("until_quiet")
            worker.kill()
            assert sender.communicate("\n", timeout=30)[0] == "alive\n"
        assert sender.returncode == 0
