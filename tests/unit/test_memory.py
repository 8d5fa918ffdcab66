from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from channel_layers import ChannelFull, InvalidMessage, LayerClosed, MessageTooLarge
from channel_layers.memory import InMemoryChannelLayer

MESSAGE = {"type": "chat.message", "text": "hello", "n": 1}


@pytest.mark.asyncio
async def test_names_of_another_layer_cannot_be_received_on() -> None:
    mine, other = InMemoryChannelLayer(), InMemoryChannelLayer()
    channel = await other.new_channel()
    for name in (channel, other.non_local_name(channel)):
        with pytest.raises(ValueError, match="belongs to another process or layer"):
            await mine.receive(name)
    await mine.send(channel, MESSAGE)  # legal, as group_add is
    await mine.group_add("group", channel)


@pytest.mark.asyncio
async def test_names_made_by_hand_belong_to_everybody() -> None:
    layer = InMemoryChannelLayer()
    await layer.send("http.response!abc", MESSAGE)
    assert await layer.receive("http.response!") == MESSAGE


@pytest.mark.asyncio
async def test_one_mailbox_whatever_the_prefix() -> None:
    layer = InMemoryChannelLayer()
    names = [await layer.new_channel(), await layer.new_channel("ws.v2"), await layer.new_channel(prefix="x.")]
    assert len({name.partition("!")[0].rpartition(".")[2] for name in names}) == 1
    assert [name.split(".")[0] for name in names] == ["specific", "ws", "x"]


@pytest.mark.asyncio
@pytest.mark.parametrize("prefix", ["", "a b", "é", "a!b", "x" * 90, None, 5])
async def test_a_bad_prefix_is_refused(prefix: Any) -> None:
    with pytest.raises(TypeError, match=r"at most (100|60) characters"):
        await InMemoryChannelLayer().new_channel(prefix)


@pytest.mark.asyncio
async def test_statistics_balance_and_count_every_reason() -> None:
    layer = InMemoryChannelLayer(capacity=2, expiry=30)
    await layer.group_add("group", "a")
    await layer.group_add("group", "b")
    for _ in range(3):
        await layer.group_send("group", MESSAGE)
    with pytest.raises(ChannelFull):
        await layer.send("a", MESSAGE)
    with pytest.raises(MessageTooLarge):
        await layer.send("c", {"text": "x" * 2**20})
    with pytest.raises(InvalidMessage):
        await layer.group_send("group", {"text": object()})
    with pytest.raises(TypeError):
        await layer.send("not legal", MESSAGE)
    await layer.receive("a")
    await layer.discard_channel("b")
    counts = layer.statistics()
    assert counts.sent == 7
    assert counts.accepted == 3
    assert counts.refused == {"full": 1, "too_large": 1, "invalid": 2}
    assert (counts.arrived, counts.delivered, counts.unread) == (6, 1, 1)
    assert counts.dropped == {"full": 2, "discarded": 2}
    assert layer.statistics() == counts
    with pytest.raises(AttributeError):
        counts.sent = 5  # type: ignore[misc]
    assert json.loads(json.dumps(dataclasses.asdict(counts)))["dropped"] == {"full": 2, "discarded": 2}
    assert pickle.loads(pickle.dumps(counts)) == counts


def test_statistics_lose_no_send_of_many_threads() -> None:
    layer = InMemoryChannelLayer(capacity=1_000_000)

    def send_many() -> None:
        async def run() -> None:
            for _ in range(2000):
                await layer.send("a", MESSAGE)

        asyncio.run(run())

    threads = [threading.Thread(target=send_many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = layer.statistics()
    assert counts.sent == counts.accepted == counts.arrived == counts.unread == 16_000


@pytest.mark.asyncio
async def test_close_and_start_afresh() -> None:
    async with InMemoryChannelLayer() as layer:
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        waiting = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)
    with pytest.raises(LayerClosed, match=r"closed while receive\("):
        await waiting
    await layer.group_send("group", {"type": "nobody is left"})
    await layer.send(channel, MESSAGE)
    assert await layer.receive(channel) == MESSAGE


@pytest.mark.asyncio
async def test_a_log_handler_that_fails_costs_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = InMemoryChannelLayer(capacity=1)
    monkeypatch.setattr(logging.getLogger("channel_layers"), "warning", pytest.fail)
    await layer.group_add("group", "a")
    await layer.group_send("group", {"n": 1})
    await layer.group_send("group", {"n": 2})
    assert (await layer.receive("a"))["n"] == 1
    assert layer.statistics().accepted == 2


@pytest.mark.asyncio
async def test_a_subclass_may_encode_to_bytes() -> None:
    class Encoding(InMemoryChannelLayer):
        def serialize(self, message: Any) -> Any:
            return json.dumps(message).encode()

        def deserialize(self, payload: Any) -> Any:
            return json.loads(payload)

    layer = Encoding()
    await layer.group_add("group", "a")
    await layer.group_send("group", MESSAGE)
    await layer.send("a", MESSAGE)
    assert [await layer.receive("a") for _ in range(2)] == [MESSAGE, MESSAGE]


class OddName(str):
    __slots__ = ()

    def __hash__(self) -> int:
        return 5

    def __str__(self) -> str:
        return "other"


@pytest.mark.asyncio
async def test_a_name_of_a_subclass_of_str_is_the_same_name() -> None:
    layer = InMemoryChannelLayer()
    await layer.send(OddName("jobs"), MESSAGE)
    assert await layer.receive("jobs") == MESSAGE
    await layer.group_add(OddName("group"), OddName("jobs"))
    await layer.group_add("group", "jobs")
    await layer.group_send("group", MESSAGE)
    assert layer.statistics().unread == 1


@pytest.mark.asyncio
async def test_a_log_handler_may_itself_send() -> None:
    layer = InMemoryChannelLayer(capacity=1)

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            pending = layer._send("logs", {"text": record.getMessage()})
            assert pending is None

    logger, handler = logging.getLogger("channel_layers"), Forward()
    logger.addHandler(handler)
    try:
        await layer.group_add("group", "a")
        for _ in range(3):
            await layer.group_send("group", MESSAGE)
    finally:
        logger.removeHandler(handler)
    assert "'a' (full)" in (await layer.receive("logs"))["text"]


def test_a_layer_nobody_refers_to_is_collected() -> None:
    async def use() -> weakref.ref[InMemoryChannelLayer]:
        layer = InMemoryChannelLayer()
        channel = await layer.new_channel()
        await layer.send(channel, MESSAGE)
        await layer.receive(channel)
        return weakref.ref(layer)

    reference = asyncio.run(use())
    gc.collect()
    assert reference() is None


def test_one_layer_in_many_loops_one_after_the_other() -> None:
    layer = InMemoryChannelLayer()
    for number in range(100):
        asyncio.run(layer.send("a", {"n": number}))
    assert [asyncio.run(layer.receive("a"))["n"] for _ in range(100)] == list(range(100))


def test_sync_code_sends_to_a_receiver_in_another_thread(eventually: Callable[[Callable[[], object]], None]) -> None:
    layer = InMemoryChannelLayer()
    received: list[Any] = []

    async def receive_three() -> None:
        for _ in range(3):
            received.append(await layer.receive("jobs"))

    thread = threading.Thread(target=asyncio.run, args=(receive_three(),))
    thread.start()
    for number in range(3):
        async_to_sync(layer.send)("jobs", {"n": number})
    thread.join(10)
    eventually(lambda: [message["n"] for message in received] == [0, 1, 2])


def test_each_of_many_competing_receivers_gets_its_own() -> None:
    layer = InMemoryChannelLayer(capacity=10_000)
    received: list[int] = []

    async def receive() -> None:
        while (message := await layer.receive("jobs"))["n"] >= 0:
            received.append(message["n"])

    async def receivers() -> None:
        await asyncio.gather(*(receive() for _ in range(5)))

    async def send() -> None:
        for number in [*range(1000), *[-1] * 20]:
            await layer.send("jobs", {"n": number})

    threads = [threading.Thread(target=asyncio.run, args=(receivers(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(send())
    for thread in threads:
        thread.join(30)
    assert sorted(received) == list(range(1000))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_fork_the_child_is_another_layer() -> None:
    layer = InMemoryChannelLayer()
    channel = asyncio.run(layer.new_channel())
    asyncio.run(layer.group_add("group", channel))
    asyncio.run(layer.send(channel, {"from": "parent"}))

    async def look() -> dict[str, Any]:
        own = await layer.new_channel()
        await layer.group_send("group", MESSAGE)
        await layer.send(own, MESSAGE)
        try:
            await layer.receive(channel)
        except ValueError:
            refused = True
        return {
            "same client": own.partition("!")[0] == channel.partition("!")[0],
            "refused": refused,
            "own": await layer.receive(own),
            "arrived": layer.statistics().arrived,
        }

    read, write = os.pipe()
    layer._inbox.lock.acquire()  # as another thread may hold it at that moment
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            os.write(write, json.dumps(asyncio.run(look())).encode())
        finally:
            os._exit(0)
    layer._inbox.lock.release()
    os.close(write)
    os.waitpid(child, 0)
    seen = json.loads(os.read(read, 10_000))
    os.close(read)
    assert seen == {"same client": False, "refused": True, "own": MESSAGE, "arrived": 1}
    assert asyncio.run(layer.receive(channel)) == {"from": "parent"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_fork_every_layer_is_renewed_whatever_it_equals() -> None:
    class Alike(InMemoryChannelLayer):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    class Failing(InMemoryChannelLayer):
        def _after_fork(self) -> None:
            raise RuntimeError("not renewed")

    layers = [Alike(), Failing(), Alike()]
    before = [layer._client_id for layer in layers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(sum(layer._client_id != old for layer, old in zip(layers, before, strict=True)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


def test_a_stalled_reader_costs_no_more_than_its_capacity() -> None:
    layer = InMemoryChannelLayer(capacity=100)

    async def flood() -> None:
        await layer.group_add("group", "stalled")
        for number in range(20_000):
            await layer.group_send("group", {"type": "x", "text": "x" * 1000, "n": number})

    tracemalloc.start()
    asyncio.run(flood())
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 100 * 1000 * 4
    counts = layer.statistics()
    assert (counts.unread, counts.dropped["full"]) == (100, 19_900)


def test_python_optimized_refuses_the_same() -> None:
    code = """if True:
        import asyncio
        from channel_layers.memory import InMemoryChannelLayer

        async def main():
            layer = InMemoryChannelLayer(capacity=1)
            for name, message in (("a b", {}), ("a\\n", {}), ("a", []), ("a", {1: 2}), ("a", {"x": {1}})):
                try:
                    await layer.send(name, message)
                except TypeError:
                    continue
                raise SystemExit(f"accepted {name!r} {message!r}")

        asyncio.run(main())
    """
    subprocess.run([sys.executable, "-O", "-c", code], check=True)


@pytest.mark.asyncio
async def test_tests_may_look_at_channels_and_groups_as_at_those_of_channels() -> None:
    layer = InMemoryChannelLayer(group_expiry=60)
    assert (layer.channels, layer.groups) == ({}, {})
    await layer.send("jobs", MESSAGE)
    await layer.group_add("room", "jobs")
    await layer.group_add("room", "nobody")
    await layer.group_send("room", {"type": "tea", "for": ["two"]})
    assert layer.channels == {
        "jobs": [MESSAGE, {"type": "tea", "for": ["two"]}],
        "nobody": [{"type": "tea", "for": ["two"]}],
    }
    assert list(layer.groups) == ["room"]
    assert list(layer.groups["room"]) == ["jobs", "nobody"]
    assert all(0 < left <= 60 for left in layer.groups["room"].values())
    await layer.receive("jobs")
    await layer.receive("jobs")
    await layer.group_discard("room", "nobody")
    await layer.group_discard("room", "jobs")
    assert (list(layer.channels), layer.groups) == (["nobody"], {})


@pytest.mark.asyncio
async def test_a_channel_at_which_a_receive_waits_is_among_the_channels() -> None:
    layer = InMemoryChannelLayer()
    channel = await layer.new_channel()
    tasks = [asyncio.create_task(layer.receive(name)) for name in (channel, layer.non_local_name(channel))]
    await asyncio.sleep(0)
    assert layer.channels == {channel: [], layer.non_local_name(channel): []}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert layer.channels == {}


@pytest.mark.asyncio
async def test_what_has_expired_is_in_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = InMemoryChannelLayer(expiry=50, group_expiry=70)
    now = time.monotonic()
    await layer.send("jobs", MESSAGE)
    await layer.group_add("room", "jobs")
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    assert (layer.channels, list(layer.groups)) == ({}, ["room"])
    monkeypatch.setattr(time, "monotonic", lambda: now + 80)
    assert layer.groups == {}


@pytest.mark.asyncio
async def test_who_looks_at_channels_and_groups_shares_nothing_with_the_layer() -> None:
    layer = InMemoryChannelLayer()
    await layer.send("jobs", {"type": "make", "sizes": [1, 2]})
    await layer.group_add("room", "jobs")
    layer.channels["jobs"][0]["sizes"].append(3)
    layer.channels.clear()
    layer.groups["room"].clear()
    assert list(layer.groups["room"]) == ["jobs"]
    assert await layer.receive("jobs") == {"type": "make", "sizes": [1, 2]}
