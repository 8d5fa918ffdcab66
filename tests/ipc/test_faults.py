"""Death and stopping at each labelled step of the protocol, in real processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from processes import DEADLINE, Worker, until_quiet

from channel_layers import ChannelFull, LayerUnavailable
from channel_layers.ipc import IPCChannelLayer, faults

PUSHED = ["push.dirty", "push.woken", "push.counted", "push.written", "push.published"]
PUSHING = ["push.early", "lock.held", *PUSHED, "lock.done"]
TAKING = ["lock.held", "take.published", "take.asleep", "take.copied", "lock.done"]
JOINING = ["lock.held", "join.named", "join.entered", "join.created", "lock.done"]
RECLAIMING = ["reclaim.begun", "reclaim.unlinked", "reclaim.freed"]
#: By a sender that is favoured at the door of a mailbox, and needs no lock.
FAVOURED = ["door.entered", *PUSHED]
#: By one who ends the favour of another.
CLOSING = ["lock.held", "door.closed", "push.dirty", "lock.done"]
FLUSHING = ["lock.held", "flush.marked", "flush.raised", "lock.done"]
REWINDING = ["rewind.tail"]  # see test_store_size
#: Where the one who stands still holds no lock.
HARMLESS = {"push.early", "take.copied", "join.created"}


def test_every_label_is_tested() -> None:
    assert {*PUSHING, *TAKING, *JOINING, *RECLAIMING, *FLUSHING, *FAVOURED, *CLOSING, *REWINDING} == set(faults.LABELS)


@asynccontextmanager
async def layer_of(prefix: str, **config: Any) -> AsyncIterator[IPCChannelLayer]:
    async with IPCChannelLayer(prefix=prefix, **config) as layer:
        yield layer


async def numbers(layer: IPCChannelLayer, channel: str, last: int) -> list[int]:
    """What arrives, up to the message that was sent last."""
    got: list[int] = []
    while last not in got:
        got.append((await asyncio.wait_for(layer.receive(channel), DEADLINE))["n"])
    return got


async def accepted(layer: IPCChannelLayer, channel: str) -> int:
    """How many messages the channel takes until it is full."""
    count = 0
    while True:
        try:
            await layer.send(channel, {"n": 1000 + count})
        except ChannelFull:
            return count
        count += 1


async def in_time(work: Callable[[], Any]) -> Any:
    """The error with which a call ended, or None; it does not wait for a process that stands still."""
    try:
        await asyncio.wait_for(work(), DEADLINE)
    except (ChannelFull, LayerUnavailable) as raised:
        return raised
    return None


async def nobody_comes_in(sender: IPCChannelLayer, receiver: IPCChannelLayer, channel: str) -> None:
    """To the mailbox of a channel, in which another process stands still; but none waits for it."""
    assert isinstance(await in_time(lambda: sender.send(channel, {"n": -1})), ChannelFull)
    assert await in_time(lambda: sender.group_send("room", {"n": -2})) is None
    assert isinstance(await in_time(lambda: receiver.group_add("hall", channel)), LayerUnavailable)


@pytest.mark.asyncio
@pytest.mark.parametrize("label", PUSHING)
async def test_a_sender_dies(prefix: str, label: str) -> None:
    async with layer_of(prefix, capacity=5) as receiver, layer_of(prefix, capacity=5) as sender:
        channel = await receiver.new_channel()
        with Worker(prefix) as worker:
            assert worker.ask("send", channel, {"n": 0}) == ["done", None]
            await until_quiet(receiver)
            worker.ask("arm", label, "SIGKILL")
            worker.tell("send", channel, {"n": 1})
            worker.process.wait(DEADLINE)
        assert await in_time(lambda: sender.send(channel, {"n": 2})) is None
        assert await numbers(receiver, channel, 2) in ([0, 2], [0, 1, 2])
        await until_quiet(receiver)  # it puts the counters right as soon as nothing is on its way
        assert await accepted(sender, channel) == 5


@pytest.mark.asyncio
@pytest.mark.parametrize("label", PUSHING)
async def test_a_sender_stands_still(prefix: str, label: str) -> None:
    async with layer_of(prefix) as receiver, layer_of(prefix) as sender:
        channel = await receiver.new_channel()
        await receiver.group_add("room", channel)
        with Worker(prefix) as worker:
            assert worker.ask("send", channel, {"n": 0}) == ["done", None]
            await until_quiet(receiver)
            worker.ask("arm", label, "SIGSTOP")
            worker.tell("send", channel, {"n": 1})
            worker.until_stopped()
            if label in HARMLESS:
                await sender.send(channel, {"n": 2})
                await sender.group_send("room", {"n": 3})
                await receiver.group_add("hall", channel)
                assert await numbers(receiver, channel, 3) == [0, 2, 3]
            else:
                await nobody_comes_in(sender, receiver, channel)
            worker.go_on()
            assert worker.hear() == ["done", None]
            await sender.send(channel, {"n": 4})
            assert await numbers(receiver, channel, 4) == [*([] if label in HARMLESS else [0]), 1, 4]
        assert sender.statistics().dropped == ({} if label in HARMLESS else {"full": 1})


async def at_home(receiver: IPCChannelLayer, channel: str) -> None:
    """Let nobody read the receiver's mailbox but the loop of the test."""
    while receiver._client.home.loop is not asyncio.get_running_loop():
        await receiver.send(channel, {"n": 0})
        await receiver.receive(channel)
    await until_quiet(receiver)


async def a_favoured_worker(receiver: IPCChannelLayer, channel: str, worker: Worker) -> None:
    """Let the worker become favoured, and stay so: nobody takes the lock while this loop does not turn."""
    await at_home(receiver, channel)
    for n in (0, 1, 2):
        assert worker.ask("send", channel, {"n": n}) == ["done", None]


@pytest.mark.asyncio
@pytest.mark.parametrize("label", FAVOURED)
async def test_a_favoured_sender_dies(prefix: str, label: str) -> None:
    async with layer_of(prefix, capacity=5) as receiver, layer_of(prefix, capacity=5) as sender:
        channel = await receiver.new_channel()
        with Worker(prefix) as worker:
            await a_favoured_worker(receiver, channel, worker)
            worker.ask("arm", label, "SIGKILL")
            worker.tell("send", channel, {"n": 3})
            worker.process.wait(DEADLINE)
        assert await in_time(lambda: sender.send(channel, {"n": 4})) is None
        assert await numbers(receiver, channel, 4) in ([0, 1, 2, 4], [0, 1, 2, 3, 4])
        await until_quiet(receiver)  # it puts the counters right as soon as nothing is on its way
        assert await accepted(sender, channel) == 5


@pytest.mark.asyncio
@pytest.mark.parametrize("label", FAVOURED)
async def test_a_favoured_sender_dies_and_only_the_reader_comes(prefix: str, label: str) -> None:
    async with layer_of(prefix) as receiver:
        channel = await receiver.new_channel()
        with Worker(prefix) as worker:
            await a_favoured_worker(receiver, channel, worker)
            worker.ask("arm", label, "SIGKILL")
            worker.tell("send", channel, {"n": 3})
            worker.process.wait(DEADLINE)
        assert await numbers(receiver, channel, 2) == [0, 1, 2]
        await until_quiet(receiver)
        counts = receiver.statistics()
        assert counts.arrived - counts.accepted == 3 + (label == "push.published")


@pytest.mark.asyncio
@pytest.mark.parametrize("label", FAVOURED)
async def test_a_favoured_sender_stands_still(prefix: str, label: str) -> None:
    async with layer_of(prefix) as receiver, layer_of(prefix) as sender:
        channel = await receiver.new_channel()
        await receiver.group_add("room", channel)
        with Worker(prefix) as worker:
            await a_favoured_worker(receiver, channel, worker)
            worker.ask("arm", label, "SIGSTOP")
            worker.tell("send", channel, {"n": 3})
            worker.until_stopped()
            await nobody_comes_in(sender, receiver, channel)
            worker.go_on()
            assert worker.hear() == ["done", None]
            await sender.send(channel, {"n": 6})
            assert await numbers(receiver, channel, 6) == [0, 1, 2, 3, 6]


@pytest.mark.asyncio
@pytest.mark.parametrize("label", CLOSING)
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
async def test_who_ends_a_favour_dies_or_stands_still(prefix: str, label: str, how: str) -> None:
    async with layer_of(prefix) as receiver:
        channel = await receiver.new_channel()
        with Worker(prefix) as favoured, Worker(prefix) as worker:
            worker.ask("new_channel")  # it has joined
            await a_favoured_worker(receiver, channel, favoured)
            worker.ask("arm", label, how)
            worker.tell("send", channel, {"n": 3})
            if how == "SIGKILL":
                worker.process.wait(DEADLINE)
                came = label == "lock.done"
            else:
                worker.until_stopped()
                # Where the favour has not ended, the lock of the one who stands still is not asked for.
                is_in = favoured.ask("send", channel, {"n": 4}) == ["done", None]
                assert is_in is (label == "lock.held")
                worker.go_on()
                assert worker.hear() == ["done", None]
                came = True
            assert favoured.ask("send", channel, {"n": 5}) == ["done", None]
            got = await numbers(receiver, channel, 5)
            assert [n for n in got if n != 4] == [0, 1, 2, *([3] if came else []), 5]


@pytest.mark.asyncio
async def test_an_interrupt_of_a_favoured_sender_leaves_no_lock(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with layer_of(prefix) as layer, layer_of(prefix) as other:
        channel = await layer.new_channel()
        await at_home(layer, channel)
        for label in FAVOURED:
            for n in (0, 1, 2):
                await other.send(channel, {"n": n})

            def interrupt(passed: str, label: str = label) -> None:
                if passed == label:
                    monkeypatch.undo()
                    raise KeyboardInterrupt

            monkeypatch.setattr(faults, "hook", interrupt)
            with pytest.raises(KeyboardInterrupt):
                await other.send(channel, {"n": 3})
            with Worker(prefix) as worker:
                assert worker.ask("send", channel, {"n": 4}) == ["done", None]
            assert [n for n in await numbers(layer, channel, 4) if n != 3] == [0, 1, 2, 4]


@pytest.mark.asyncio
@pytest.mark.parametrize("label", FLUSHING)
async def test_who_flushes_dies(prefix: str, label: str) -> None:
    """What was unread may be gone or not; its places are free when it is."""
    async with layer_of(prefix, capacity=5) as receiver, layer_of(prefix, capacity=5) as sender:
        channel = await receiver.new_channel()
        with Worker(prefix, capacity=5) as worker:
            worker.ask("arm", label, "SIGKILL")
            for n in range(3):
                await sender.send(channel, {"n": n})  # the receiver's loop does not turn, and so it reads none of them
            worker.tell("flush")
            worker.process.wait(DEADLINE)
        await until_quiet(receiver)
        unread = receiver.statistics().unread
        assert unread in (0, 3)
        assert await accepted(sender, channel) == 5 - unread


@pytest.mark.asyncio
@pytest.mark.parametrize("label", TAKING)
async def test_a_receiver_dies(prefix: str, label: str) -> None:
    async with layer_of(prefix) as sender, layer_of(prefix) as other:
        with Worker(prefix) as worker:
            _, channel = worker.ask("new_channel")
            worker.ask("group_add", "room", channel)
            worker.ask("arm", label, "SIGKILL")
            worker.tell("receive", channel)
            await in_time(lambda: sender.send(channel, {"n": 0}))
            worker.process.wait(DEADLINE)
        assert await in_time(lambda: sender.send(channel, {"n": 1})) is None
        own = await other.new_channel()
        await other.group_add("room", own)
        assert await in_time(lambda: sender.group_send("room", {"n": 2})) is None
        assert (await asyncio.wait_for(other.receive(own), DEADLINE))["n"] == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("label", TAKING)
async def test_a_receiver_stands_still(prefix: str, label: str) -> None:
    async with layer_of(prefix) as sender:
        with Worker(prefix) as worker:
            _, channel = worker.ask("new_channel")
            worker.ask("arm", label, "SIGSTOP")
            worker.tell("receive_many", channel, 1)
            sent = [await in_time(lambda: sender.send(channel, {"n": 0})) is None]
            worker.until_stopped()
            sent.append(await in_time(lambda: sender.send(channel, {"n": 1})) is None)
            assert sent[1] is (label in HARMLESS)
            worker.go_on()
            if not sent[0]:
                await sender.send(channel, {"n": 0})
            assert worker.hear() == ["done", [0]]


@pytest.mark.asyncio
@pytest.mark.parametrize("label", ["lock.held", "push.written", "lock.done"])
async def test_a_sender_to_a_normal_channel_dies(prefix: str, label: str) -> None:
    async with layer_of(prefix, capacity=5) as layer:
        await layer.new_channel()  # what is sent to a normal channel outlives its sender, but not the last process
        with Worker(prefix) as worker:
            worker.ask("send", "normal", {"n": 0})
            worker.ask("arm", label, "SIGKILL")
            worker.tell("send", "normal", {"n": 1})
            worker.process.wait(DEADLINE)
        assert await in_time(lambda: layer.send("normal", {"n": 2})) is None
        assert await numbers(layer, "normal", 2) in ([0, 2], [0, 1, 2])
        assert await accepted(layer, "normal") == 5


@pytest.mark.asyncio
@pytest.mark.parametrize("label", ["lock.held", "lock.done"])
async def test_a_receiver_of_a_normal_channel_dies(prefix: str, label: str) -> None:
    async with layer_of(prefix) as layer:
        with Worker(prefix) as worker:
            worker.ask("new_channel")
            await layer.send("normal", {"n": 0})
            worker.ask("arm", label, "SIGKILL")
            worker.tell("receive", "normal")
            worker.process.wait(DEADLINE)
        assert await in_time(lambda: layer.send("normal", {"n": 1})) is None
        assert await numbers(layer, "normal", 1) in ([0, 1], [1])


@pytest.mark.asyncio
@pytest.mark.parametrize("label", [*JOINING, *RECLAIMING])
async def test_who_joins_dies(prefix: str, label: str) -> None:
    async with layer_of(prefix) as layer:
        channel = await layer.new_channel()
        with Worker(prefix) as dead:  # what there is to be reclaimed
            dead.ask("new_channel")
            dead.kill()
        with Worker(prefix) as worker:
            worker.ask("arm", label, "SIGKILL")
            worker.tell("new_channel")
            worker.process.wait(DEADLINE)
        async with layer_of(prefix) as other:
            await other.send(channel, {"n": 0})
            assert await numbers(layer, channel, 0) == [0]


@pytest.mark.asyncio
@pytest.mark.parametrize("label", [*JOINING, *RECLAIMING])
async def test_who_joins_stands_still(prefix: str, label: str) -> None:
    async with layer_of(prefix) as layer:
        channel = await layer.new_channel()
        with Worker(prefix) as dead:
            dead.ask("new_channel")
            dead.kill()
        with Worker(prefix) as worker:
            worker.ask("arm", label, "SIGSTOP")
            worker.tell("new_channel")
            worker.until_stopped()
            async with layer_of(prefix) as other:
                error = await in_time(lambda: other.send(channel, {"n": 0}))
                assert (error is None) if label in HARMLESS else isinstance(error, LayerUnavailable)
                assert await in_time(lambda: layer.send(channel, {"n": 1})) is None
                worker.go_on()
                assert worker.hear()[0] == "done"
                await other.send(channel, {"n": 2})
            assert await numbers(layer, channel, 2) == ([0, 1, 2] if label in HARMLESS else [1, 2])


@pytest.mark.asyncio
@pytest.mark.parametrize("label", ["lock.held", "join.entered", *RECLAIMING])
async def test_all_die_and_the_next_start_takes_over(prefix: str, label: str) -> None:
    with Worker(prefix) as first:
        first.ask("new_channel")
        first.ask("send", "normal", {"n": 0})
        first.kill()
    with Worker(prefix) as second:
        second.ask("arm", label, "SIGKILL")
        second.tell("new_channel")
        second.tell("send", "normal", {"n": 1})
        second.kill()
    async with layer_of(prefix) as layer:
        channel = await layer.new_channel()
        await layer.send("normal", {"n": 2})
        await layer.send(channel, {"n": 3})
        assert (await layer.receive("normal"))["n"] == 2, "normal channels end with the last process"
        assert await numbers(layer, channel, 3) == [3]


@pytest.mark.asyncio
@pytest.mark.parametrize("label", faults.LABELS)
async def test_an_interrupt_leaves_no_lock(prefix: str, label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with layer_of(prefix) as layer, layer_of(prefix) as other:
        channel = await layer.new_channel()

        def interrupt(passed: str) -> None:
            if passed == label and threading.current_thread() is threading.main_thread():
                monkeypatch.undo()
                raise KeyboardInterrupt

        monkeypatch.setattr(faults, "hook", interrupt)
        caught = 0
        for work in (
            other.new_channel,
            lambda: other.send(channel, {"n": 0}),
            lambda: other.group_add("room", channel),
        ):
            try:
                await work()
            except KeyboardInterrupt:
                caught += 1
        if label in {*PUSHING, *JOINING} - {"push.early", "reclaim.begun"}:
            assert caught == 1
        monkeypatch.undo()
        await until_quiet(layer)
        with Worker(prefix) as worker:  # in this process a lock would not exclude anybody
            assert worker.ask("send", channel, {"n": 7}) == ["done", None]
        assert (await numbers(layer, channel, 7))[-1] == 7
