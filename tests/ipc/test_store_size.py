"""How much shared memory normal channels take: little to begin with, more as messages pile up, and never a SIGBUS."""

from __future__ import annotations

import asyncio

import pytest
from in_small_memory import run_in_small_memory
from processes import DEADLINE, Worker
from shared_memory import SHARED, remains

from channel_layers import ChannelFull, MessageTooLarge
from channel_layers.ipc import IPCChannelLayer

SMALL = 64 << 10

pytestmark = pytest.mark.timeout(60)


def taken(prefix: str) -> int:
    """Bytes that the normal channels of a prefix take."""
    names = [name for name in remains(prefix) if name.rpartition("-")[2].startswith("n")]
    assert names
    return sum((SHARED / name).stat().st_blocks * 512 for name in names)


@pytest.mark.asyncio
async def test_a_channel_that_is_read_stays_small(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix) as layer:
        for n in range(2000):
            await layer.send("work", {"n": n, "text": "x" * 5000})
            assert (await layer.receive("work"))["n"] == n
        assert taken(prefix) <= SMALL


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["normal", "specific"])
async def test_who_is_refused_for_want_of_room_hears_it(prefix: str, kind: str) -> None:
    async with IPCChannelLayer(prefix=prefix, capacity=100_000) as layer:
        channel = "work" if kind == "normal" else await layer.new_channel()
        with pytest.raises(ChannelFull, match=r"no room .*message_memory") as caught:  # noqa: PT012
            for _ in range(100_000):
                await layer.send(channel, {"text": "x" * 50_000})
        assert caught.value.capacity is None


@pytest.mark.asyncio
async def test_a_channel_grows_with_what_waits(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix, capacity=1000) as layer, IPCChannelLayer(prefix=prefix) as other:
        await other.group_add("room", "work")
        sent = 0
        for n in range(100):
            await (layer.send("work", {"n": n, "text": "x" * 9000}) if n % 2 else other.group_send("room", {"n": n}))
            sent += 1
            if n % 3 == 0:
                sent -= 1
                await layer.receive("work")
        assert SMALL < taken(prefix) < 2 << 20
        numbers = [(await other.receive("work"))["n"] for _ in range(sent)]
        assert numbers == list(range(100 - sent, 100))
        assert not other.statistics().dropped


@pytest.mark.asyncio
async def test_the_largest_message_at_once(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix) as layer:
        message = {"text": "x" * 1_048_500}
        await layer.group_add("room", "all")
        await layer.send("work", message)
        await layer.group_send("room", message)
        assert await layer.receive("work") == await layer.receive("all") == message
        with pytest.raises(MessageTooLarge):
            await layer.send("work", {"text": "x" * 1_048_600})


@pytest.mark.asyncio
async def test_who_begins_again_at_the_front_dies(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix) as layer:
        await layer.new_channel()
        with Worker(prefix) as worker:
            worker.ask("send", "work", {"n": 0, "text": "x" * 40_000})
            worker.ask("receive", "work")
            worker.ask("arm", "rewind.tail", "SIGKILL")
            worker.tell("send", "work", {"n": 1, "text": "x" * 40_000})
            worker.process.wait(DEADLINE)
            assert worker.process.returncode < 0
        await layer.send("work", {"n": 2})
        assert await asyncio.wait_for(layer.receive("work"), DEADLINE) == {"n": 2}
        for n in range(3, 6):
            await layer.send("work", {"n": n})
        assert [(await asyncio.wait_for(layer.receive("work"), DEADLINE))["n"] for _ in range(3)] == [3, 4, 5]


def test_memory_that_runs_out(prefix: str) -> None:
    """A sender is told so; what others do with what they have goes on."""
    run_in_small_memory(
        "1m",
        f"""
import asyncio
from channel_layers import ChannelFull
from channel_layers.ipc import IPCChannelLayer
async def main():
    config = dict(prefix={prefix!r}, message_memory=256 << 10, capacity=100_000)
    async with IPCChannelLayer(**config) as layer, IPCChannelLayer(**config) as other:
        channel = await other.new_channel()
        await layer.group_add("room", "a")
        await layer.send("b", {{"n": 0}})
        full = {{}}
        for name in "abcdefgh":
            full[name] = 0
            try:
                while True:
                    await layer.send(name, {{"text": "x" * 10_000}})
                    full[name] += 1
            except layer.ChannelFull:
                pass
            except Exception as error:  # no room for another channel
                assert "/dev/shm" in str(error)
                break
        else:
            raise SystemExit("it did not run out")
        await layer.group_send("room", {{"text": "y" * 10_000}})
        assert layer.statistics().dropped == {{"full": 1}}
        await layer.send(channel, {{"n": 1}})
        assert await other.receive(channel) == {{"n": 1}}
        for _ in range(full["a"]):
            await other.receive("a")
        await layer.send("a", {{"n": 2}})
        assert await other.receive("a") == {{"n": 2}}
asyncio.run(main())
""",
    )
