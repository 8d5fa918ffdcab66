"""Another process of the same user writes anything into the shared memory: nothing hangs, nothing grows, nobody dies.

What can be found out is put right, logged and counted; what cannot, a flush or a new start puts right, and the errors
until then are those of the contract.
"""

from __future__ import annotations

import asyncio
import os
import resource
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hostile import fuzz
from hypothesis import example, given
from hypothesis import strategies as st
from shared_memory import SHARED, remains

from channel_layers import ChannelFull, InvalidChannelLayerError, LayerUnavailable, MessageTooLarge
from channel_layers.ipc import IPCChannelLayer, mailbox, missed, segment, store
from channel_layers.ipc.ring import HEAD, TAIL

DEADLINE = 10.0
CLEAR = (ChannelFull, LayerUnavailable, MessageTooLarge, InvalidChannelLayerError)


class Victim:
    """A layer whose shared memory is written to, and another one that sends to it."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.loop = asyncio.new_event_loop()
        self.layer = IPCChannelLayer(prefix=prefix, message_memory=65536)
        self.sender = IPCChannelLayer(prefix=prefix, message_memory=65536)
        self.channel = self.run(self.layer.new_channel())
        self.run(self.layer.group_add("room", self.channel))
        self.run(self.sender.send("jobs", {"count": 0}))
        self.run(self.layer.receive("jobs"))
        self.count = 0
        self.loop.set_exception_handler(self._note)
        self.noted: list[Any] = []

    def _note(self, _: Any, context: dict[str, Any]) -> None:
        self.noted.append(context.get("exception") or context["message"])

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, DEADLINE))

    def write(self, kind: str, at: int, data: bytes) -> None:
        """Write to the mailbox, the directory or the normal channel, like a process that went mad."""
        names = {"mailbox": f"-{self.layer._client.slot}", "directory": "-d", "normal": "-n0"}
        path = SHARED / (self.layer._client.site.base[1:] + names[kind])
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(at % size)
            file.write(data[: size - at % size])

    def attempt(self, work: Any) -> bool:
        try:
            self.run(work)
        except CLEAR:
            return False
        return True

    def arrives(self, channel: str, seconds: float = 0.1) -> bool:
        """Whether what is sent now is received; before it may come what was written well enough."""
        self.count += 1
        if not self.attempt(self.sender.send(channel, {"count": self.count})):
            return False

        async def receive() -> None:
            while True:
                try:
                    if await self.layer.receive(channel) == {"count": self.count}:
                        return
                except ValueError:
                    pass  # bytes that are no message

        try:
            self.loop.run_until_complete(asyncio.wait_for(receive(), seconds))
        except asyncio.TimeoutError:
            return False
        except CLEAR:
            return False
        return True

    def goes_on(self, kind: str) -> None:
        """At once, after a flush, or after a new start of all: in this order."""
        channel = "jobs" if kind == "normal" else self.channel
        if not self.arrives(channel) and not self.arrives(channel):
            self.attempt(self.sender.flush())
            self.attempt(self.layer.flush())
            if not self.arrives(channel):
                self.restart()
                assert self.arrives("jobs" if kind == "normal" else self.channel, DEADLINE)
        assert not self.noted, self.noted
        counts = self.layer.statistics()
        assert counts.arrived == counts.delivered + sum(counts.dropped.values()) + counts.unread

    def restart(self) -> None:
        for layer in (self.layer, self.sender):
            self.run(layer.close())
        self.channel = self.run(self.layer.new_channel())
        self.run(self.layer.group_add("room", self.channel))

    def close(self) -> None:
        for layer in (self.layer, self.sender):
            self.run(layer.close())
        self.loop.close()


@pytest.fixture
def victim(prefix: str) -> Iterator[Victim]:
    victim = Victim(prefix)
    yield victim
    victim.close()


WORDS = st.one_of(
    st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2, 64, 4096, 2**16, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1])
)
BYTES = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.lists(WORDS, min_size=1, max_size=40).map(lambda words: struct.pack(f"<{len(words)}Q", *words)),
)
# Half of it in the header, where the positions are.
PLACES = st.one_of(st.integers(0, 63).map(lambda word: 8 * word), st.integers(0, 1 << 20))
#: Not what says what a segment is: see the test of that.
BEYOND = 32


@pytest.mark.parametrize("kind", ["mailbox", "directory", "normal"])
def test_anything_anywhere(victim: Victim, kind: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @fuzz(60)
    @given(PLACES, BYTES)
    @example(8 * HEAD, struct.pack("<Q", 2**64 - 1))
    @example(8 * HEAD, struct.pack("<Q", 2**63))
    @example(8 * HEAD, struct.pack("<Q", 5))
    @example(8 * TAIL, struct.pack("<Q", 2**64 - 1))
    @example(8 * mailbox.FLUSH_AT, struct.pack("<Q", 2**64 - 1))
    @example(8 * mailbox.FLUSHES, struct.pack("<Q", 2**64 - 1))
    @example(8 * missed.TOTAL, struct.pack("<Q", 2**63))
    @example(8 * missed.COUNTS, struct.pack("<Q", 2**64 - 1))
    @example(8 * 27, struct.pack("<Q", 0))
    def write(at: int, data: bytes) -> None:
        victim.write(kind, max(at, BEYOND), data)
        victim.attempt(victim.sender.group_send("room", {"count": -1}))
        victim.goes_on(kind)

    write()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "kilobytes"


RECORDS = st.builds(
    lambda length, entry, sent_at, kind, name, rest, is_long: (
        struct.pack("<IIdBB", length if is_long else 18 + len(name) + len(rest), entry, sent_at, kind, len(name))
        + name
        + rest
    ),
    st.integers(0, 2**32 - 1),
    st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 2000)),
    st.one_of(st.floats(), st.just(0.0), st.just(1e300)),
    st.integers(0, 7),
    st.one_of(st.binary(max_size=40), st.just(b"room"), st.just(b"x!y")),
    st.binary(max_size=40),
    st.booleans(),
)


@pytest.mark.parametrize("kind", ["mailbox", "normal"])
def test_records_that_nobody_sent(victim: Victim, kind: str) -> None:
    """Under the lock, as a sender writes, and announced as one does: only what it writes is not what one writes."""

    @fuzz(60)
    @given(st.lists(st.one_of(RECORDS, st.binary(max_size=60)), min_size=1, max_size=5))
    @example([struct.pack("<IIdBB", 0, 0, 0.0, 0, 0)])
    @example([struct.pack("<Id", 0, 0.0) * 3])
    def write(records: list[bytes]) -> None:
        sender = victim.sender._client
        if kind == "mailbox":
            box = sender.targets.box_of(victim.channel)
            assert box is not None
            ring, run = box.mailbox.ring, box.door.run
        else:
            _, number, found = sender.normal.stores.find("jobs")
            ring, run = found.ring, partial(sender.site.locks.run, sender.site.normal_byte(number))
        for record in records:
            run(ring.push, record)
        if kind == "normal":
            found.words[25] += len(records)
        victim.goes_on(kind)

    write()


def test_a_message_from_the_future_expires(prefix: str) -> None:
    async def use() -> None:
        async with IPCChannelLayer(prefix=prefix, expiry=3.0) as layer:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            client = layer._client
            box = client.targets.box_of(channel)
            assert box is not None
            name = channel.encode()
            record = struct.pack("<IIdBB", 18 + len(name) + 1, 2**32 - 1, 1e300, 0, len(name)) + name + b"\x80"
            box.door.run(box.mailbox.ring.push, record)
            assert layer.statistics().unread == 1
            await asyncio.sleep(3.1)
            assert layer.statistics().unread == 0

    asyncio.run(use())


def test_the_bell_is_rung_without_end(victim: Victim) -> None:
    path = victim.layer._client.site.bell_path(victim.layer._client.slot)
    is_over = threading.Event()

    def ring() -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        while not is_over.is_set():
            try:
                os.write(descriptor, os.urandom(4096))
            except BlockingIOError:
                time.sleep(0.0001)
        os.close(descriptor)

    thread = threading.Thread(target=ring)
    thread.start()
    try:
        for _ in range(20):
            victim.goes_on("mailbox")
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("what", ["bell", "mailbox", "normal", "directory"])
def test_something_else_is_put_in_its_place(victim: Victim, what: str) -> None:
    names = {"bell": f"-{victim.layer._client.slot}.bell", "directory": "-d", "normal": "-n0"}
    path = SHARED / (victim.layer._client.site.base[1:] + names.get(what, f"-{victim.layer._client.slot}"))

    @fuzz(40)
    @given(st.one_of(st.binary(max_size=4096), st.just(b"\0" * 512), st.just(b"CLPIC_L1" + b"\1" * 800)))
    def put(content: bytes) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        other = None
        try:
            other = IPCChannelLayer(prefix=victim.prefix)
            assert victim.attempt(other.send(victim.channel, {"count": -1})) in (True, False)
            victim.attempt(other.send("jobs", {"count": -1}))
        except InvalidChannelLayerError as error:
            assert "cannot be used" in str(error) or "in the way" in str(error)  # noqa: PT017
        if other is not None:
            victim.attempt(other.close())
        path.unlink(missing_ok=True)

    put()
    for name in remains(victim.prefix):
        (SHARED / name).unlink()
    victim.restart()
    victim.goes_on("mailbox")


CUT = """
import asyncio, os, sys
from channel_layers import InvalidChannelLayerError, LayerUnavailable
from channel_layers.ipc import IPCChannelLayer

async def send_to_what_was_cut(folder, prefix, size):
    owner = IPCChannelLayer(prefix=prefix)
    channel = await owner.new_channel()
    await owner.send("jobs", {})
    for name, channel in (("-0", channel), ("-n0", "jobs")):
        os.truncate(folder + owner._client.site.base + name, int(size))
        try:
            await IPCChannelLayer(prefix=prefix).send(channel, {})
        except (InvalidChannelLayerError, LayerUnavailable) as error:
            print("refused:", error, flush=True)
    os._exit(0)  # the owner has it mapped, and must not look

asyncio.run(send_to_what_was_cut(*sys.argv[1:]))
"""


@pytest.mark.parametrize("size", ["8", "513", "520", "4096"])
def test_a_segment_that_was_cut_is_refused_when_it_is_opened(prefix: str, size: str) -> None:
    """While it is in use, cutting it ends the process, like a kill: the system keeps nobody from that for files of
    one's own.
    """
    command = [sys.executable, "-c", CUT, str(SHARED), prefix, size]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused:") == 2, done.stdout


def test_the_kinds_are_the_ones_that_are_written_here() -> None:
    assert (segment.HEADER, store._COUNT, store._RING) == (512, 25, 27)
