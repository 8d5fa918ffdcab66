"""What goes wrong while messages are delivered, and loops that end in the middle of it."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from processes import DEADLINE

from channel_layers.ipc import IPCChannelLayer


class _Capacities(IPCChannelLayer):
    def get_capacity(self, channel: str) -> int:
        if "!bad" in channel:
            raise RuntimeError("no capacity")
        return super().get_capacity(channel)


class _Handler(logging.Handler):
    """Looks whether the lock of an inbox is free, as it must be for whoever uses the layer."""

    def __init__(self, lock: threading.Lock) -> None:
        super().__init__()
        self._lock = lock
        self.texts: list[str] = []
        self.was_locked = False

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        assert record.exc_info is not None
        self.was_locked = self.was_locked or not self._lock.acquire(blocking=False)
        if not self.was_locked:
            self._lock.release()


@pytest.mark.asyncio
async def test_failures_are_logged_without_a_lock(prefix: str) -> None:
    async with _Capacities(prefix=prefix) as owner, IPCChannelLayer(prefix=prefix) as sender:
        channel = await owner.new_channel()
        handler = _Handler(owner._inbox.lock)
        logger = logging.getLogger("channel_layers")
        logger.addHandler(handler)
        try:
            remote = channel.partition("!")[0]
            await sender.send(f"{remote}!bad", {"n": 0})
            await sender.send(channel, {"n": 1})
            assert await asyncio.wait_for(owner.receive(channel), DEADLINE) == {"n": 1}
            # A turn in the background may have delivered it, and logs a moment later.
            for _ in range(1000):
                if handler.texts:
                    break
                await asyncio.sleep(0.01)
        finally:
            logger.removeHandler(handler)
        assert handler.texts == ["Dropped a message"]
        assert not handler.was_locked


def test_a_turn_that_a_loop_left_behind(prefix: str) -> None:
    """It does not begin to wake a crowd that it will not wake to the end."""
    home, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    owner, sender = IPCChannelLayer(prefix=prefix), IPCChannelLayer(prefix=prefix)
    crowd = 200

    async def settle() -> list[asyncio.Task[object]]:
        channels = [await owner.new_channel() for _ in range(crowd)]
        for n in range(10):
            await owner.send(channels[0], {"n": n})
            await owner.receive(channels[0])
        assert owner._client.home.loop is home
        for channel in channels:
            await owner.group_add("crowd", channel)
        waiting: list[asyncio.Task[object]] = [asyncio.create_task(owner.receive(channel)) for channel in channels]
        await asyncio.sleep(0.1)
        return waiting

    async def leave_behind() -> None:
        await sender.group_send("crowd", {"n": 1})
        owner._client.turns.take()

    async def hear(waiting: list[asyncio.Task[object]]) -> None:
        done, _ = await asyncio.wait(waiting, timeout=DEADLINE)
        assert len(done) == crowd
        await owner.close()
        await sender.close()

    waiting = home.run_until_complete(settle())
    other.run_until_complete(leave_behind())
    other.close()
    home.run_until_complete(hear(waiting))
    home.close()
