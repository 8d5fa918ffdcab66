"""A load of numbered messages, and an account of each: accepted or refused, received once, in order, or lost.

A lane is what one writer sends to one destination: 1, 2, 3, and so on. Whatever happens to the server, a reader gets
the numbers of a lane in rising order, each once, and a number that nobody got is one that the test can explain.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from redis_servers import DEADLINE, SEND_TIMEOUT

from channel_layers import LayerUnavailable
from channel_layers.redis import RedisChannelLayer
from channel_layers.redis.keys import Keys

Found = TypeVar("Found")
Send = Callable[[dict[str, Any]], Awaitable[None]]

#: Seconds between two sends of a lane: a steady load, not a flood.
PACE = 0.001

#: Messages that are under way at once on the lane that sends several at a time.
BURST = 3


async def until(predicate: Callable[[], Found], what: str | Callable[[], str], seconds: float = DEADLINE) -> Found:
    """As ``wait_until``, without standing in the way of the loop."""
    deadline = time.monotonic() + seconds
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.005)
    return answer


async def soon(awaitable: Awaitable[Found]) -> Found:
    """Its result, which must come within the deadline."""
    return await asyncio.wait_for(awaitable, DEADLINE)


class Reader:
    """Receives on one channel for ever; ``received`` has the numbers by lane."""

    def __init__(self, layer: RedisChannelLayer, channel: str) -> None:
        self.channel = channel
        self.received: defaultdict[str, list[int]] = defaultdict(list)
        self.task = asyncio.create_task(self._receive(layer))

    async def _receive(self, layer: RedisChannelLayer) -> None:
        while True:
            message = await layer.receive(self.channel)
            self.received[message["lane"]].append(message["number"])

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def last(self, lane: str) -> int:
        return self.received[lane][-1] if self.received[lane] else 0


class Lane:
    """What one writer sends to one destination, and who reads it.

    :param burst: how many messages it has under way at once.
    """

    def __init__(self, name: str, send: Send, readers: Sequence[Reader], burst: int = 1) -> None:
        self.name = name
        self.readers = readers
        self.issued = 0
        self.accepted: set[int] = set()
        self.refused: dict[int, LayerUnavailable] = {}
        self._send = send
        self._burst = burst
        self._is_ending = False
        self.task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        is_through = False
        while not is_through:
            is_last = self._is_ending  # this one must be accepted: by it, the readers know that they are through
            accepted = await asyncio.gather(*(self._send_next() for _ in range(1 if is_last else self._burst)))
            is_through = is_last and all(accepted)
            await asyncio.sleep(PACE)

    async def _send_next(self) -> bool:
        self.issued = number = self.issued + 1
        try:
            await self._send({"type": "numbered", "lane": self.name, "number": number})
        except LayerUnavailable as error:
            self.refused[number] = error
            return False
        self.accepted.add(number)
        return True

    async def end(self) -> None:
        """Send the last message, and wait until it has been read, and with it all before it."""
        self._is_ending = True
        await soon(self.task)
        for reader in self.readers:
            await until(lambda reader=reader: reader.last(self.name) == self.issued, lambda: f"{self!r} is read")

    def unread(self) -> range:
        """The numbers that have been sent and that some reader has not got."""
        return range(min(reader.last(self.name) for reader in self.readers) + 1, self.issued + 1)

    def lost(self, may_be_repeated: Collection[int] = ()) -> set[int]:
        """Check that nobody got anything twice or out of order; return what was accepted and did not reach all."""
        lost: set[int] = set()
        for reader in self.readers:
            received = _without_repeated(reader.received[self.name], may_be_repeated)
            assert received == sorted(set(received)), f"twice or out of order in {self!r}: {_slips(received)}"
            assert set(received) <= self.accepted | self.refused.keys()
            lost |= self.accepted - set(received)
        return lost

    def __repr__(self) -> str:
        got = [reader.last(self.name) for reader in self.readers]
        return f"<{self.name}: {self.issued} sent, {len(self.refused)} refused, the last read {got}>"


def _without_repeated(numbers: Sequence[int], may_be_repeated: Collection[int]) -> list[int]:
    seen: set[int] = set()
    return [n for n in numbers if n not in may_be_repeated or not (n in seen or seen.add(n))]


def _slips(numbers: Sequence[int]) -> list[tuple[int, int]]:
    return [(before, after) for before, after in itertools.pairwise(numbers) if after <= before][:10]


class Traffic:
    """Three layer objects: one sends to a channel, a group and a normal channel; two receive. A context manager.

    The first receiver has a channel of its own and is in the group with it; the second is in the group, too, and reads
    the normal channel.

    :param host: what all three take as their server.
    :param receivers_host: another way to the same server for the two that receive.
    """

    prefix = "faults"
    group = "room"

    def __init__(self, host: Any, receivers_host: Any = None, **options: Any) -> None:
        # Large enough that nothing is refused or dropped for want of room: what is lost has been lost otherwise.
        self.options = {"prefix": self.prefix, "capacity": 100_000, "send_timeout": SEND_TIMEOUT, **options}
        self.sender = RedisChannelLayer(hosts=[host], **self.options)
        self.first, self.second = (RedisChannelLayer(hosts=[receivers_host or host], **self.options) for _ in "12")
        self.keys = Keys(self.prefix)
        self.lanes: dict[str, Lane] = {}
        self.readers: list[Reader] = []

    async def __aenter__(self) -> Traffic:
        first, second = await self.first.new_channel(), await self.second.new_channel()
        await self.first.group_add(self.group, first)
        await self.second.group_add(self.group, second)
        self.readers = one, two, jobs = [
            Reader(self.first, first),
            Reader(self.second, second),
            Reader(self.second, "jobs"),
        ]
        sender = self.sender
        self.add("direct", lambda message: sender.send(first, message), [one], BURST)
        self.add("group", lambda message: sender.group_send(self.group, message), [one, two])
        self.add("normal", lambda message: sender.send("jobs", message), [jobs])
        await self.flows()
        return self

    def add(self, name: str, send: Send, readers: Sequence[Reader], burst: int = 1) -> None:
        """One more lane."""
        self.lanes[name] = Lane(name, send, readers, burst)

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks():
            task.cancel()
        await asyncio.gather(*self.tasks(), return_exceptions=True)
        for layer in (self.sender, self.first, self.second):
            await layer.close()

    async def flows(self) -> None:
        """What is sent from now on is read on all lanes, by all readers."""
        await self._until_each(
            lambda lane, issued: all(reader.last(lane.name) > issued for reader in lane.readers), "messages flow"
        )

    async def is_refused(self, reason: str = "") -> None:
        """What is sent from now on is refused on all lanes, and this is a part of the reason."""
        await self._until_each(
            lambda lane, issued: any(n > issued and reason in str(error) for n, error in lane.refused.items()),
            f"messages are refused ({reason})",
        )

    async def _until_each(self, holds: Callable[[Lane, int], bool], what: str) -> None:
        issued = {lane: lane.issued for lane in self.lanes.values()}

        def all_hold() -> bool:
            self.check_tasks()
            return all(holds(lane, number) for lane, number in issued.items())

        await until(all_hold, lambda: f"{what}: {list(issued)}")

    def check_tasks(self) -> None:
        """No receive has ended, and no send has raised anything but LayerUnavailable."""
        for task in self.tasks():
            if task.done():
                task.result()

    def tasks(self) -> list[asyncio.Task[None]]:
        return [each.task for each in (*self.lanes.values(), *self.readers)]

    async def welcomes(self) -> None:
        """Channels, groups and normal channels that were not there before work as well."""
        for layer in (self.first, self.second):
            channel = await soon(layer.new_channel())
            name = channel.rpartition("!")[2]
            await soon(layer.group_add(f"new-{name}", channel))
            await soon(self.sender.send(channel, {"type": "direct"}))
            await soon(self.sender.group_send(f"new-{name}", {"type": "group"}))
            await soon(self.sender.send(f"new-{name}", {"type": "normal"}))
            got = [(await soon(layer.receive(channel)))["type"] for _ in "12"]
            assert [*got, (await soon(layer.receive(f"new-{name}")))["type"]] == ["direct", "group", "normal"]

    def unread(self) -> dict[str, range]:
        """By lane, the numbers that have been sent and that some reader has not got."""
        return {name: lane.unread() for name, lane in self.lanes.items()}

    def since(self, earlier: dict[str, range]) -> dict[str, range]:
        """By lane, those that were unread earlier, and all that have been sent from then until now."""
        return {name: range(earlier[name].start, lane.issued + 1) for name, lane in self.lanes.items()}

    async def lost(self, may_be_repeated: Collection[int] = ()) -> dict[str, set[int]]:
        """See that all works, and end the load. By lane, what was accepted and did not reach all readers.

        :param may_be_repeated: numbers of the normal channel that may come twice.
        """
        await self.flows()
        await self.welcomes()
        for lane in self.lanes.values():
            await lane.end()
        return {name: lane.lost(may_be_repeated if name == "normal" else ()) for name, lane in self.lanes.items()}

    def is_listed(self, client: Any) -> bool:
        """Whether the group's key names both receivers: what is sent to the group from now on must reach them."""
        return bool(client.hlen(self.keys.group(self.group)) == 2)


class Process:
    """A Python process whose lines of output are kept; a context manager, which kills it."""

    def __init__(self, command: Iterable[str]) -> None:
        self.lines: list[str] = []
        self._command = list(command)

    def __enter__(self) -> Process:
        self.popen = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.wait()
        self._thread.join()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.rstrip("\n"))

    def kill(self) -> None:
        """At once; all that it has said can be read then."""
        self.popen.kill()
        self.popen.wait()
        self._thread.join()

    def says(self, line: str) -> bool:
        return line in self.lines

    def tell(self, line: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{line}\n")
        self.popen.stdin.flush()

    def numbers(self) -> list[int]:
        """The lines that are numbers."""
        return [int(line) for line in tuple(self.lines) if line.isdecimal()]
