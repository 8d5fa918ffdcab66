"""What is measured between two processes. As in ``workloads.py``, every message received is checked.

A workload has two sides, each in a process with a layer object of its own. What they have to agree on goes over a line
beside the layer. Both sides have the same instance, so both know its numbers.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, monotonic_ns
from typing import ClassVar

from benchmarks.contenders import Layer
from benchmarks.errors import WrongResultError
from benchmarks.figures import Figure
from benchmarks.line import Line
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import Message, expect, messages, receive_all, send_all


class Across(ABC):
    figures: ClassVar[tuple[Figure, ...]]

    #: Processes that receive.
    receivers: int = 1

    @abstractmethod
    async def send(self, layer: Layer, lines: Sequence[Line], watch: Stopwatch) -> dict[str, float]:
        """The side that sends and measures, with a line to each receiver; returns each figure by its name."""

    @abstractmethod
    async def receive(self, layer: Layer, line: Line) -> None:
        """The side that receives. Returns when the other one has told it to, or when it has everything."""


@dataclass(frozen=True)
class Xproc(Across):
    """20 senders in one process, all to one channel; its receiver in another process."""

    senders: int = 20
    each: int = 200  # the most that a layer has to hold unread is what one batch sends: 4,000

    figures: ClassVar = (Figure("xproc", "xproc"),)

    async def send(self, layer: Layer, lines: Sequence[Line], watch: Stopwatch) -> dict[str, float]:
        [line] = lines
        channel = await line.hear()
        parts = self.parts()
        while watch.more():
            await line.tell("a batch comes")
            with watch.batch(self.senders * self.each):
                await asyncio.gather(*(send_all(layer, channel, part) for part in parts))
                await line.hear()  # all of it has been received
        await line.tell("")
        return {"xproc": watch.rate}

    async def receive(self, layer: Layer, line: Line) -> None:
        channel = await layer.new_channel()
        await line.tell(channel)
        parts = self.parts()
        while await line.hear():
            # Senders that run at once have no order among them, but each of them has its own.
            due = [iter(part) for part in parts]
            for _ in range(self.senders * self.each):
                received = await layer.receive(channel)
                expect(next(due[self.sender_of(received)], None), received)
            await line.tell("received")

    def parts(self) -> list[list[Message]]:
        """What each sender sends."""
        everything = messages(self.senders * self.each)
        return [everything[sender :: self.senders] for sender in range(self.senders)]

    def sender_of(self, received: Message) -> int:
        number = received.get("n")
        if not isinstance(number, int):
            raise WrongResultError(f"nothing like this was sent: {received}")
        return number % self.senders


@dataclass(frozen=True)
class Latency(Across):
    """One message every 2 ms from one process to another: from just before send until receive has returned."""

    rate: int = 500
    warm_up: int = 100
    longer: int = 4  # than other workloads: one in a hundred has to be many enough for a p99

    figures: ClassVar = (
        Figure("latency p50", "latency", "us", less_is_better=True),
        Figure("latency p99", "latency", "us", less_is_better=True),
    )

    async def send(self, layer: Layer, lines: Sequence[Line], watch: Stopwatch) -> dict[str, float]:
        [line] = lines
        count = self.warm_up + math.ceil(self.rate * self.longer * watch.wanted)
        await line.tell(count)
        channel = await line.hear()
        due = monotonic()
        for message in messages(count):
            await asyncio.sleep(max(0.0, due - monotonic()))
            due += 1 / self.rate
            await layer.send(channel, {**message, "t": monotonic_ns()})  # one clock for all processes of a machine
        delays = sorted((await line.hear())[self.warm_up :])
        return {"latency p50": percentile(delays, 50) / 1_000, "latency p99": percentile(delays, 99) / 1_000}

    async def receive(self, layer: Layer, line: Line) -> None:
        count = await line.hear()
        channel = await layer.new_channel()
        await line.tell(channel)
        delays = []
        for sent in messages(count):
            received = await layer.receive(channel)
            now = monotonic_ns()
            expect({**sent, "t": received.get("t")}, received)
            delays.append(now - received["t"])
        await line.tell(delays)


@dataclass(frozen=True)
class Crowd(Across):
    """20 messages from one process to a group with 1,000 members in each of 16 others; an operation is one delivery."""

    receivers: int = 16
    members: int = 1_000
    sends: int = 20

    figures: ClassVar = (Figure("crowd", "crowd"),)

    async def send(self, layer: Layer, lines: Sequence[Line], watch: Stopwatch) -> dict[str, float]:
        await self.hear_all(lines)
        sent = messages(self.sends)
        while watch.more():
            for line in lines:
                await line.tell("a batch comes")
            await self.hear_all(lines)  # all of them wait
            with watch.batch(self.receivers * self.members * self.sends):
                for message in sent:
                    await layer.group_send("room", message)
                await self.hear_all(lines)  # all of it has been received
        for line in lines:
            await line.tell("")
        return {"crowd": watch.rate}

    async def receive(self, layer: Layer, line: Line) -> None:
        channels = [await layer.new_channel() for _ in range(self.members)]
        for channel in channels:
            await layer.group_add("room", channel)
        await line.tell("joined")
        sent = messages(self.sends)
        while await line.hear():
            receiving = [asyncio.create_task(receive_all(layer, channel, sent)) for channel in channels]
            await asyncio.sleep(0)  # every receiver runs up to its first wait
            await line.tell("waiting")
            await asyncio.gather(*receiving)
            await line.tell("received")

    @staticmethod
    async def hear_all(lines: Sequence[Line]) -> None:
        for line in lines:
            await line.hear()


def percentile(ordered: list[int], percent: int) -> int:
    """The smallest value that so many percent of all do not exceed."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


ACROSS: dict[str, Across] = {"xproc": Xproc(), "latency": Latency(), "crowd": Crowd()}
