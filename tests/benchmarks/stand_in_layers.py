"""Layers to try the benchmark on. In a module of their own, because the process of a round imports them."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

Message = dict[str, Any]


class CorrectLayer:
    """As little as the workloads need."""

    def __init__(self, log: str | None = None) -> None:
        self.queues: dict[str, asyncio.Queue[Message]] = defaultdict(asyncio.Queue)
        self.groups: dict[str, set[str]] = defaultdict(set)
        self.numbers = count(1)
        if log:
            with Path(log).open("a", encoding="utf-8") as lines:
                lines.write(f"{os.getpid()}\n")

    async def send(self, channel: str, message: Message) -> None:
        self.queues[channel].put_nowait(dict(message))

    async def receive(self, channel: str) -> Message:
        return await self.queues[channel].get()

    async def new_channel(self) -> str:
        return f"channel.{next(self.numbers)}"

    async def group_add(self, group: str, channel: str) -> None:
        self.groups[group].add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.groups[group].discard(channel)

    async def group_send(self, group: str, message: Message) -> None:
        for channel in self.groups[group]:
            await self.send(channel, message)

    async def flush(self) -> None:
        self.queues.clear()
        self.groups.clear()

    async def close(self) -> None:
        pass


class BrokenLayer(CorrectLayer):
    """Does something wrong with every seventh message."""

    def __init__(self) -> None:
        super().__init__()
        self.sends = count(1)

    async def send(self, channel: str, message: Message) -> None:
        if next(self.sends) % 7:
            await super().send(channel, message)
        else:
            await self.break_it(channel, message)

    async def break_it(self, channel: str, message: Message) -> None:
        raise NotImplementedError


class LossyLayer(BrokenLayer):
    async def break_it(self, channel: str, message: Message) -> None:
        pass


class RepeatingLayer(BrokenLayer):
    async def break_it(self, channel: str, message: Message) -> None:
        await CorrectLayer.send(self, channel, message)
        await CorrectLayer.send(self, channel, message)


class ChangingLayer(BrokenLayer):
    async def break_it(self, channel: str, message: Message) -> None:
        await CorrectLayer.send(self, channel, {**message, "text": message["text"][:-1]})


class SharedLayer(CorrectLayer):
    """Two objects reach each other. Takes only messages of the server it was led to."""

    everything = CorrectLayer()

    def __init__(self, server: str, log: str | None = None) -> None:
        super().__init__(log)
        if server != "started":
            raise ValueError(server)
        self.queues = self.everything.queues
        self.groups = self.everything.groups


starts: list[str] = []


@contextmanager
def server() -> Iterator[Mapping[str, Any]]:
    starts.append("start")
    yield {"server": "started"}
    starts.append("stop")
