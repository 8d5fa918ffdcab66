"""Receivers in a loop that is not the home of their layer get their messages, whatever the home does meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from processes import DEADLINE

from channel_layers.background import background_loop, in_background
from channel_layers.conformance.running import start_thread
from channel_layers.ipc import IPCChannelLayer
from channel_layers.ipc.wakeup import MAILBOX, Bell

#: Seconds, of a busy machine. Without a bound it would be for as long as the home stands still.

pytestmark = pytest.mark.timeout(60)


async def settle_in(layer: IPCChannelLayer) -> None:
    """Make the running loop the home, in place of one that stands still."""
    channel, deadline = await layer.new_channel(), time.monotonic() + DEADLINE
    while layer._client.home.loop is not asyncio.get_running_loop():
        await layer.send(channel, {"n": 0})
        await layer.receive(channel)
        assert time.monotonic() < deadline


def is_watching(layer: IPCChannelLayer, loop: asyncio.AbstractEventLoop) -> bool:
    watch = layer._client.watch
    return watch is not None and watch.loop is loop


class Home:
    """A loop in a thread that is the home of a layer, and can be blocked and stopped."""

    def __init__(self, layer: IPCChannelLayer) -> None:
        self.layer = layer
        self.loop = asyncio.new_event_loop()
        self._thread = start_thread(self.loop.run_forever)
        self._go_on = threading.Event()
        self.run(settle_in(layer))

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE)

    def block(self) -> None:
        is_blocked = threading.Event()

        def wait() -> None:
            is_blocked.set()
            self._go_on.wait()

        self.loop.call_soon_threadsafe(wait)
        assert is_blocked.wait(DEADLINE)

    def go_on(self) -> None:
        self._go_on.set()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.result(DEADLINE)

    def end(self) -> None:
        self.go_on()
        if self.loop.is_running():
            self.run(self.layer.close())
            self.stop()
        else:
            self.loop.run_until_complete(self.layer.close())
        self.loop.close()


@pytest.fixture
def home(prefix: str) -> Iterator[Home]:
    home = Home(IPCChannelLayer(prefix=prefix))
    yield home
    home.end()


async def begin(layer: IPCChannelLayer, channel: str) -> asyncio.Task[Any]:
    waiting = asyncio.create_task(layer.receive(channel))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    return waiting


@pytest.mark.parametrize("stand_still", [Home.block, Home.stop])
@pytest.mark.parametrize("kind", ["specific", "prefix", "normal"])
def test_a_home_stands_still_after_others_began_to_wait(home: Home, prefix: str, stand_still: Any, kind: str) -> None:
    layer = home.layer

    async def receive_here() -> Any:
        channel = name = await layer.new_channel()
        if kind != "specific":
            channel = name if kind == "prefix" else "jobs"
        async with IPCChannelLayer(prefix=prefix) as other:
            waiting = await begin(layer, channel[: channel.index("!") + 1] if kind == "prefix" else channel)
            stand_still(home)
            for n in range(3):
                await other.send(channel, {"n": n})
                assert await asyncio.wait_for(waiting, DEADLINE) == {"n": n}
                waiting = await begin(layer, channel)
            waiting.cancel()

    asyncio.run(receive_here())


def test_a_loop_that_was_home_is_not_forgotten(home: Home, prefix: str) -> None:
    """Who began to wait in it while it was the home gets its messages when another home is blocked."""
    layer = home.layer
    channel = home.run(layer.new_channel())
    waiting = home.run(begin(layer, channel))
    home.stop()

    async def take_over() -> None:
        await settle_in(layer)
        thread = start_thread(lambda: home.loop.run_until_complete(asyncio.wait_for(waiting, DEADLINE)))
        async with IPCChannelLayer(prefix=prefix) as other:
            await other.send(channel, {"n": 1})
        # Here this loop, now the home, blocks.
        assert thread.result(DEADLINE) == {"n": 1}

    asyncio.run(take_over())


def test_the_home_watches_again_when_nobody_waits_elsewhere(home: Home) -> None:
    layer = home.layer

    async def receive_here() -> None:
        channel = await layer.new_channel()
        waiting = await begin(layer, channel)
        assert is_watching(layer, background_loop())
        await layer.send(channel, {"n": 0})
        assert await asyncio.wait_for(waiting, DEADLINE) == {"n": 0}

    asyncio.run(receive_here())

    async def wake_up() -> None:
        channel = await layer.new_channel()
        waiting = await begin(layer, channel)
        await layer.send(channel, {"n": 1})
        assert await asyncio.wait_for(waiting, DEADLINE) == {"n": 1}
        for _ in range(1000):
            if is_watching(layer, home.loop):
                break
            await asyncio.sleep(0.01)
        assert is_watching(layer, home.loop)

    home.run(wake_up())


def test_loops_that_are_closed_are_forgotten(prefix: str) -> None:
    """As those of synchronous code are, each of which waits once; and where there is no home."""
    layer = IPCChannelLayer(prefix=prefix)

    async def wait_in_vain() -> None:
        waiting = await begin(layer, await layer.new_channel())
        waiting.cancel()

    for _ in range(5):
        asyncio.run(wait_in_vain())
    watch = layer._client.watch
    assert watch is not None
    assert len(watch._apart) <= 1
    asyncio.run(layer.close())


def test_a_home_that_stands_still_keeps_no_bell_open(home: Home) -> None:
    """It may never run again, and then nothing that was left to it is ever done."""
    watch = home.layer._client.watch
    assert watch is not None
    assert is_watching(home.layer, home.loop)
    home.stop()
    asyncio.run(home.layer.close())
    assert watch._bell.descriptor < 0, "it is closed"
    assert not home.loop.remove_reader(watch._descriptor), "it was removed: another file may get its number"


def test_what_a_loop_hears_that_watches_no_more_is_not_lost(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may let another loop watch after this one has looked whether it still does."""
    go_on = threading.Event()
    quiet = Bell.quiet

    async def receive_here() -> Any:
        async with IPCChannelLayer(prefix=prefix) as layer, IPCChannelLayer(prefix=prefix) as other:
            await settle_in(layer)
            channel = await layer.new_channel()
            waiting = await begin(layer, channel)
            watch = layer._client.watch
            assert watch is not None

            def hear(bell: Bell) -> set[int]:
                monkeypatch.undo()
                watch._apart.setdefault(background_loop(), set()).add(object())
                start_thread(watch.settle).result(DEADLINE)
                in_background(asyncio.sleep(0)).result(DEADLINE)
                assert is_watching(layer, background_loop())  # it has looked, and sleeps
                background_loop().call_soon_threadsafe(go_on.wait)
                start_thread(lambda: asyncio.run(other.send(channel, {"n": 1}))).result(DEADLINE)
                heard = quiet(bell)
                go_on.set()
                return heard

            monkeypatch.setattr(Bell, "quiet", hear)
            os.write(watch._descriptor, MAILBOX)
            return await asyncio.wait_for(waiting, DEADLINE)

    assert asyncio.run(receive_here()) == {"n": 1}
