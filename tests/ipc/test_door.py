"""What is special about the door of a mailbox; deaths and stops in it are in test_faults."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import FrameType
from typing import Any

import pytest
from processes import Worker
from test_faults import at_home, numbers

from channel_layers import ChannelFull
from channel_layers.ipc import IPCChannelLayer, door

pytestmark = pytest.mark.timeout(60)


@pytest.mark.asyncio
async def test_who_comes_back_to_another_slot_is_not_favoured(prefix: str) -> None:
    """Others would look for it in the slot that it had, and come in while it is inside."""
    async with IPCChannelLayer(prefix=prefix) as receiver, IPCChannelLayer(prefix=prefix) as sender:
        channel = await receiver.new_channel()
        with Worker(prefix) as worker:
            await at_home(receiver, channel)
            for n in range(3):
                assert worker.ask("send", channel, {"n": n}) == ["done", None]
            assert worker.ask("close") == ["done", None]
            await sender.new_channel()  # takes the slot that is free now
            assert len(worker.ask("new_channel")[1]) > len("LayerUnavailable"), "a name, and no error"
            assert worker.ask("arm", "push.dirty", "SIGSTOP") == ["done", None]
            worker.tell("send", channel, {"n": 3})
            worker.until_stopped()
            with pytest.raises(ChannelFull):
                await sender.send(channel, {"n": 4})
            worker.go_on()
            assert worker.hear() == ["done", None]
            await sender.send(channel, {"n": 5})
            assert await numbers(receiver, channel, 5) == [0, 1, 2, 3, 5]


@pytest.mark.asyncio
async def test_threads_that_use_two_prefixes_do_not_share_a_fence(prefix: str) -> None:
    here, there = IPCChannelLayer(prefix=prefix), IPCChannelLayer(prefix=f"{prefix}-2")
    async with IPCChannelLayer(prefix=prefix) as owner, IPCChannelLayer(prefix=f"{prefix}-2") as other:
        channels = await owner.new_channel(), await other.new_channel()
        await at_home(owner, channels[0])
        for n in range(3):
            await here.send(channels[0], {"n": n})
            await there.send(channels[1], {"n": n})
        switches = 0

        def switch(frame: FrameType, event: str, called: Any) -> None:
            """Let another thread send whenever this one has acquired something at the door."""
            nonlocal switches
            if event == "c_return" and called.__name__ == "acquire" and frame.f_code.co_filename == door.__file__:
                switches += 1
                thread = threading.Thread(target=asyncio.run, args=(there.send(channels[1], {"n": 3}),))
                thread.start()
                thread.join()

        sys.setprofile(switch)
        try:
            await here.send(channels[0], {"n": 3})
        finally:
            sys.setprofile(None)
        assert switches == 2, "the guard, and the fence"
        assert await numbers(owner, channels[0], 3) == [0, 1, 2, 3]
        await here.close()
        await there.close()
