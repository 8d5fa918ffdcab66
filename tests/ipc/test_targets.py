"""To whom messages go while clients come, in several threads; and group messages that are too large for some."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from processes import DEADLINE

from channel_layers import MessageTooLarge
from channel_layers.ipc import IPCChannelLayer
from channel_layers.ipc.targets import Box, Targets, View


@pytest.mark.asyncio
async def test_a_slow_look_at_the_directory(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread saw before a client came does not hide that client from another thread."""
    async with (
        IPCChannelLayer(prefix=prefix) as sender,
        IPCChannelLayer(prefix=prefix) as old,
        IPCChannelLayer(prefix=prefix) as new,
    ):
        await old.new_channel()
        await sender.new_channel()
        has_looked, may_end = threading.Event(), threading.Event()
        targets = sender._client.targets
        open_box, refresh = Targets._open, Targets._refresh

        def slowly(self: Targets, slot: int, number: int) -> Box | None:
            box = open_box(self, slot, number)
            if threading.current_thread() is thread:
                has_looked.set()
                assert may_end.wait(DEADLINE)
            return box

        def then_the_other(self: Targets) -> View:
            view = refresh(self)
            if threading.current_thread() is not thread and not may_end.is_set():
                may_end.set()
                thread.join(DEADLINE)
            return view

        monkeypatch.setattr(Targets, "_open", slowly)
        monkeypatch.setattr(Targets, "_refresh", then_the_other)
        thread = threading.Thread(target=targets._refresh)
        thread.start()
        assert has_looked.wait(DEADLINE)
        channel = await new.new_channel()
        for n in range(3):
            await sender.send(channel, {"n": n})
        for n in range(3):
            assert await asyncio.wait_for(new.receive(channel), DEADLINE) == {"n": n}


@pytest.mark.asyncio
async def test_a_look_that_ends_after_the_layer_was_closed(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it saw is not kept."""
    sender = IPCChannelLayer(prefix=prefix)
    async with IPCChannelLayer(prefix=prefix) as receiver:
        channel = await receiver.new_channel()
        await sender.send("normal", {})  # so that it has joined
        targets = sender._client.targets
        open_box = Targets._open

        def closing(self: Targets, slot: int, number: int) -> Box | None:
            targets.forget()
            return open_box(self, slot, number)

        monkeypatch.setattr(Targets, "_open", closing)
        await sender.send(channel, {"n": 1})
        assert targets._view.boxes == {} == targets._view.targets
        assert await asyncio.wait_for(receiver.receive(channel), DEADLINE) == {"n": 1}
    await sender.close()


async def _dropped(layer: IPCChannelLayer, count: int) -> None:
    """Until the owner has noticed by itself; the statistics would make it look."""
    for _ in range(1000):
        if layer._inbox.dropped["full"] >= count:
            break
        await asyncio.sleep(0.01)
    assert layer._inbox.dropped["full"] == count


@pytest.mark.asyncio
async def test_a_group_message_that_is_too_large_for_all(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=8192) as layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_add("room", "normal")
        fits: dict[str, Any] = {"text": "x" * (8192 - 18 - len("room") - 9)}
        with pytest.raises(MessageTooLarge):
            await layer.group_send("room", {"text": fits["text"] + "x" * 20})
        assert layer.statistics().refused == {"too_large": 1}
        assert not layer.statistics().dropped
        await layer.group_send("room", fits)
        assert await asyncio.wait_for(layer.receive(channel), DEADLINE) == fits
        await layer.group_send("nobody", {"text": "x" * 9000})


@pytest.mark.asyncio
async def test_a_group_message_that_is_too_large_for_some(prefix: str) -> None:
    """Those who miss it count it, though they sleep."""
    async with (
        IPCChannelLayer(prefix=prefix) as large,
        IPCChannelLayer(prefix=prefix, message_memory=8192) as small,
        IPCChannelLayer(prefix=prefix, message_memory=8192) as sender,
    ):
        channels = [await large.new_channel(), await small.new_channel()]
        await large.group_add("room", channels[0])
        await small.group_add("room", channels[1])
        await asyncio.sleep(0.1)  # they go to sleep
        message = {"text": "x" * 9000}
        await sender.group_send("room", message)
        assert await asyncio.wait_for(large.receive(channels[0]), DEADLINE) == message
        await _dropped(small, 1)
