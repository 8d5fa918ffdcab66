"""Who waits at a normal channel is woken, whatever happens to a bell, to a lock, or to others who wait; and who waits
no more leaves nothing.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from processes import DEADLINE, Worker, until_quiet

from channel_layers import LayerClosed
from channel_layers.ipc import IPCChannelLayer
from channel_layers.ipc.locks import BUSY, RecordLocks
from channel_layers.ipc.store import Store
from channel_layers.ipc.wakeup import MAILBOX, Rope

SMALL = 1 << 16

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


def store_of(layer: IPCChannelLayer, channel: str) -> Store:
    """Another mapping of the store of a channel."""
    known = layer._client.normal.stores.known(channel)
    assert known is not None
    return layer._client.normal.stores.attach(known[1])


async def wait_at(layer: IPCChannelLayer, channel: str) -> asyncio.Task[Any]:
    """Somebody who waits at a channel, and has left the mark of that."""
    waiting = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    return waiting


async def test_a_bell_that_could_not_be_rung_is_rung_with_the_next_message(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as sender,
    ):
        waiting = await wait_at(layer, "work")
        await until_quiet(layer)
        with monkeypatch.context() as patch:
            patch.setattr(Rope, "pull", lambda rope, what: False)  # as without file descriptors
            await sender.send("work", {"n": 0})
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await sender.send("work", {"n": 1})
        assert await asyncio.wait_for(waiting, DEADLINE) == {"n": 0}
        assert await asyncio.wait_for(layer.receive("work"), DEADLINE) == {"n": 1}


async def test_the_dead_are_not_rung_for_again_and_again(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer:
        with Worker(prefix, message_memory=SMALL) as worker:
            worker.ask("new_channel")
            worker.tell("receive", "work")
            await layer.new_channel()
            await layer.send("other", {"n": 0})
            layer._client.normal.stores.find("work")
            store = store_of(layer, "work")
            while not store.waiting():  # noqa: ASYNC110 - what is waited for is in shared memory
                await asyncio.sleep(0.001)
            worker.kill()
        for n in range(3):
            await layer.send("work", {"n": n})
        assert store.waiting() == []


async def test_a_wait_that_the_collector_throws_away_under_the_lock(prefix: str) -> None:
    layer = IPCChannelLayer(prefix=prefix, message_memory=SMALL)

    async def begin() -> None:
        await wait_at(layer, "work")

    def end_a_loop_in_which_somebody_waits() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin())
        loop.close()

    gc.disable()
    try:
        await asyncio.to_thread(end_a_loop_in_which_somebody_waits)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(layer.receive("work"), 0.05)  # forgets those whose loop is closed
        with layer._inbox.lock:
            gc.collect()  # as any allocation may do there
    finally:
        gc.enable()
    assert layer._client.normal._abandoned
    await layer.send("work", {"n": 0})
    assert await asyncio.wait_for(layer.receive("work"), DEADLINE) == {"n": 0}
    assert not layer._client.normal._waiters
    assert not layer._client.normal._abandoned
    await layer.close()


async def test_a_wait_whose_coroutine_is_closed_is_gone(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer:
        await layer.new_channel()
        coroutine = layer._client.normal.receive("work")
        coroutine.send(None)
        coroutine.close()
        assert not layer._client.normal._waiters
        assert store_of(layer, "work").waiting() == []


async def test_who_is_woken_and_cancelled_at_a_busy_channel_passes_the_wake_on(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as sender,
    ):
        first, second = await wait_at(layer, "work"), await wait_at(layer, "work")
        real, is_busy = RecordLocks.run_soon, asyncio.Event()

        async def run_soon(locks: RecordLocks, byte: int, work: Callable[..., Any], *arguments: Any) -> Any:
            if asyncio.current_task() is first:
                is_busy.set()
                await asyncio.sleep(10)  # as while another process holds the lock
            return await real(locks, byte, work, *arguments)

        monkeypatch.setattr(RecordLocks, "run_soon", run_soon)
        await sender.send("work", {"n": 0})
        await asyncio.wait_for(is_busy.wait(), DEADLINE)
        first.cancel()
        assert await asyncio.wait_for(second, DEADLINE) == {"n": 0}


async def test_the_last_who_waits_no_more_takes_the_mark_away(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer:
        first, second = await wait_at(layer, "work"), await wait_at(layer, "work")
        store = store_of(layer, "work")
        marks = []
        for waiting in (first, second):
            waiting.cancel()
            await asyncio.wait({waiting})
            marks.append(store.waiting())
        assert marks == [[layer._client.slot], []]


async def test_a_mark_at_a_busy_channel_is_taken_away_later(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer:
        waiting = await wait_at(layer, "work")
        store = store_of(layer, "work")
        await until_quiet(layer)
        with monkeypatch.context() as patch:
            patch.setattr(RecordLocks, "run", lambda *arguments: BUSY)
            waiting.cancel()
            await asyncio.wait({waiting})
        assert store.waiting() == [layer._client.slot]
        await layer.send("other", {"n": 0})
        await layer.receive("other")
        assert store.waiting() == []


async def test_who_closes_its_layer_waits_no_more(prefix: str) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as other,
    ):
        await other.new_channel()
        waiting = await wait_at(layer, "work")
        store = store_of(layer, "work")
        await layer.close()
        await asyncio.wait({waiting})
        assert waiting.exception() is not None
        assert store.waiting() == []


@pytest.mark.parametrize("joins_again", [False, True])
@pytest.mark.parametrize("is_alone", [False, True])
async def test_a_receive_that_a_close_overtakes_ends(prefix: str, is_alone: bool, joins_again: bool) -> None:
    """Another thread closes the layer after it was seen to be open, and before anybody waits."""
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as other,
    ):
        if not is_alone:
            await other.new_channel()
        waiting = layer._receive("work")
        await layer.close()
        if joins_again:
            await layer.send("other", {})  # which needs no bell, so nobody can ring for who waits
        with pytest.raises(LayerClosed):
            await asyncio.wait_for(waiting, DEADLINE)
        assert not layer._client.normal._waiters


async def test_a_look_costs_nothing_for_the_channels_where_nothing_happens(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as other,
    ):
        waiting = [asyncio.create_task(layer.receive(f"work-{n}")) for n in range(50)]
        channel = await layer.new_channel()
        await asyncio.sleep(0)
        await until_quiet(layer)
        looks, look = [], Store.look

        def count(store: Store, slot: int) -> int:
            looks.append(store)
            return look(store, slot)

        monkeypatch.setattr(Store, "look", count)
        for n in range(5):
            await other.send(channel, {"n": n})
            assert await asyncio.wait_for(layer.receive(channel), DEADLINE) == {"n": n}
            await until_quiet(layer)
        assert looks == []
        await other.send("work-7", {"n": 7})
        assert await asyncio.wait_for(waiting[7], DEADLINE) == {"n": 7}
        assert len(looks) == 1
        await layer.close()
        await asyncio.wait(waiting)
        assert all(task is waiting[7] or task.exception() is not None for task in waiting)


async def test_a_bell_that_is_full_says_to_look_everywhere(prefix: str) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as other,
    ):
        for n in range(10):  # so that this loop is the home, and nobody reads while it does something else
            await layer.send("work", {"n": n})
            await layer.receive("work")
        waiting = [await wait_at(layer, f"work-{n}") for n in range(3)]
        await until_quiet(layer)
        assert layer._client.home.loop is asyncio.get_running_loop()
        assert layer._client.slot is not None
        pipe = os.open(layer._client.site.bell_path(layer._client.slot), os.O_WRONLY | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while True:
                os.write(pipe, MAILBOX)
        os.close(pipe)
        for n in range(3):
            await other.send(f"work-{n}", {"n": n})
        assert await asyncio.wait_for(asyncio.gather(*waiting), DEADLINE) == [{"n": n} for n in range(3)]


async def test_who_waits_no_more_leaves_no_name_behind(prefix: str) -> None:
    """Also where nobody ever rings, as with names for one answer that does not come."""
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer:
        for n in range(5):
            waiting = await wait_at(layer, f"answer.{n}")
            waiting.cancel()
            await asyncio.wait({waiting})
        assert not any(layer._client.normal._channels_at.values())
