"""The shared memory of normal channels: who makes it, who may have it next, and what is counted on the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from processes import DEADLINE, Worker

from channel_layers import LayerUnavailable
from channel_layers.ipc import IPCChannelLayer
from channel_layers.ipc.directory import Directory
from channel_layers.ipc.store import _COUNT, _DIRTY, Store

SMALL = 1 << 16

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


@pytest.fixture
def no_number(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A directory whose numbers of normal channels are all in use, from the moment of ``setattr(*FULL)`` on."""
    with monkeypatch.context() as patch:
        yield patch


#: Seconds.
MOMENT = 0.02

#: No number was never used.
FULL = Directory, "free_normal", lambda directory: None


def channels(layer: IPCChannelLayer) -> int:
    return len(layer._client.site.directory.normals())


def is_balanced(layer: IPCChannelLayer) -> bool:
    counts = layer.statistics()
    return counts.arrived == counts.delivered + sum(counts.dropped.values()) + counts.unread


@contextmanager
def sent_for_a_moment(layer: IPCChannelLayer) -> Iterator[None]:
    """What the layer sends meanwhile expires soon; what it sends before and after does not."""
    client = layer._client
    expiry, client.expiry = client.expiry, MOMENT
    yield
    client.expiry = expiry


async def send_and_receive(layer: IPCChannelLayer, channel: str) -> None:
    await layer.send(channel, {"n": 0})
    assert await asyncio.wait_for(layer.receive(channel), DEADLINE) == {"n": 0}


# Who makes it


async def test_verbs_that_only_remove_make_nothing(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer:
        await layer.group_discard("room", "never-used")
        await layer.discard_channel("never-used")
        assert channels(layer) == 0
        await layer.group_add("room", "used")
        await layer.send("used", {"n": 0})
        await layer.discard_channel("used")
        await layer.send("used", {"n": 1})
        assert (await layer.receive("used"))["n"] == 1
        assert channels(layer) == 1


async def test_a_capacity_may_be_any_number(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL, capacity=10**20) as layer:
        await layer.group_add("room", "jobs")
        await layer.group_send("room", {"n": 0})
        await layer.send("jobs", {"n": 1})
        assert [(await layer.receive("jobs"))["n"] for _ in range(2)] == [0, 1]
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"n": 2})
        await layer.send(channel, {"n": 3})
        assert [(await layer.receive(channel))["n"] for _ in range(2)] == [2, 3]


# Who may have it next


@pytest.mark.parametrize("step", ["change_hands", "write_normal"])
async def test_who_takes_over_a_channel_dies(prefix: str, no_number: pytest.MonkeyPatch, step: str) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as other,
    ):
        await send_and_receive(layer, "old")
        no_number.setattr(*FULL)
        with no_number.context() as patch:

            def die(*arguments: Any) -> None:
                raise InterruptedError

            if step == "write_normal":
                patch.setattr(Directory, "write_normal", die)
            else:
                patch.setattr(Store, "clear", die)
            with pytest.raises(InterruptedError):
                await layer.send("new", {"n": 0})
        for each in (layer, other):
            await send_and_receive(each, "old")
        await send_and_receive(layer, "new")
        await send_and_receive(other, "old")


async def test_a_name_that_was_waited_for_is_reused(prefix: str, no_number: pytest.MonkeyPatch) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(layer.receive("old"), 0.02)
        no_number.setattr(*FULL)
        await send_and_receive(layer, "new")
        assert channels(layer) == 1


async def test_a_name_for_which_the_dead_waited_is_reused(prefix: str, no_number: pytest.MonkeyPatch) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer:
        await layer.new_channel()
        with Worker(prefix, message_memory=SMALL) as worker:
            worker.ask("new_channel")
            worker.tell("receive", "old")
            while not channels(layer):  # noqa: ASYNC110 - what is waited for is in shared memory
                await asyncio.sleep(0.001)
            store = layer._client.normal.stores.find("old")[2]
            while not store.waiting():  # noqa: ASYNC110 - what is waited for is in shared memory
                await asyncio.sleep(0.001)
            no_number.setattr(*FULL)
            with pytest.raises(LayerUnavailable):
                await layer.send("new", {"n": 0})
            worker.kill()
        await send_and_receive(layer, "new")
        assert store.waiting() == []


async def test_a_group_member_keeps_its_number(prefix: str, no_number: pytest.MonkeyPatch) -> None:
    async with (
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer,
        IPCChannelLayer(prefix=prefix, message_memory=SMALL) as other,
    ):
        await send_and_receive(layer, "old")
        directory, real = layer._client.site.directory, Directory.set_member

        def set_member(self: Directory, number: int) -> None:
            # Just before: the latest moment at which another process may take the number over.
            site = layer._client.site
            if directory.normals()[number][1] == old:
                byte = site.normal_byte(number)
                assert site.locks.seize(byte)
                store = other._client.normal.stores.attach(number)
                if store.is_unused(()):
                    store.change_hands(1)
                    directory.write_normal(number, 1)
                    directory.changed()
                site.locks.give_up(byte)
            real(self, number)

        old = directory.normals()[0][1]
        no_number.setattr(Directory, "set_member", set_member)
        await layer.group_add("room", "old")
        await other.group_send("room", {"n": 1})
        assert await asyncio.wait_for(layer.receive("old"), DEADLINE) == {"n": 1}


# What is counted


async def test_what_a_send_finds_expired_is_counted_and_logged(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL, capacity=2) as layer:
        with sent_for_a_moment(layer):
            for n in range(2):
                await layer.send("work", {"n": n})
        await asyncio.sleep(2 * MOMENT)
        with caplog.at_level(logging.WARNING, "channel_layers"):
            await layer.send("work", {"n": 2})
        assert "'work' (expired)" in caplog.text
        assert await layer.receive("work") == {"n": 2}
        assert layer.statistics().dropped == {"expired": 2}
        assert is_balanced(layer)


async def test_what_a_group_send_finds_expired_is_counted(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL, capacity=2) as layer:
        await layer.group_add("room", "work")
        with sent_for_a_moment(layer):
            for n in range(2):
                await layer.group_send("room", {"n": n})
        await asyncio.sleep(2 * MOMENT)
        await layer.group_send("room", {"n": 2})
        assert layer.statistics().dropped == {"expired": 2}
        assert await layer.receive("work") == {"n": 2}
        assert is_balanced(layer)


async def test_what_expired_is_counted_when_the_channel_is_reused(prefix: str, no_number: pytest.MonkeyPatch) -> None:
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer:
        with sent_for_a_moment(layer):
            await layer.send("old", {"n": 0})
        await asyncio.sleep(2 * MOMENT)
        no_number.setattr(*FULL)
        await send_and_receive(layer, "new")
        assert layer.statistics().dropped == {"expired": 1}
        assert is_balanced(layer)


async def test_who_looks_for_a_channel_to_reuse_counts_again_after_a_death(
    prefix: str, no_number: pytest.MonkeyPatch
) -> None:
    """Somebody died after a message left the ring, and before that was counted; what is left expires, too."""
    async with IPCChannelLayer(prefix=prefix, message_memory=SMALL) as layer:
        with sent_for_a_moment(layer):
            await layer.send("old", {"n": 0})
        await layer.send("old", {"n": 1})
        words = layer._client.normal.stores.find("old")[2].words
        words[_COUNT], words[_DIRTY] = 7, 1
        await asyncio.sleep(2 * MOMENT)
        no_number.setattr(*FULL)
        with pytest.raises(LayerUnavailable):
            await layer.send("new", {"n": 0})
        assert words[_COUNT] == 1
        assert await layer.receive("old") == {"n": 1}
