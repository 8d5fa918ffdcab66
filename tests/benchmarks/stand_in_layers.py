"""Layers to try the benchmark on. In a module of their own, because the process of a round imports them."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import tempfile
import uuid
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


class DatagramLayer(CorrectLayer):
    """Reaches other processes: each layer object is a datagram socket, of which its channels bear the name."""

    def __init__(self, folder: str, log: str | None = None) -> None:
        super().__init__(log)
        self.folder = Path(folder)
        self.name = uuid.uuid4().hex[:8]
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(str(self.folder / self.name))

    async def new_channel(self) -> str:
        return f"{self.name}!{next(self.numbers)}"

    async def send(self, channel: str, message: Message) -> None:
        address = str(self.folder / channel.partition("!")[0])
        while True:
            try:
                self.socket.sendto(json.dumps(message).encode(), address)
            except OSError as problem:
                if problem.errno not in {errno.EAGAIN, errno.ENOBUFS}:
                    raise
                await asyncio.sleep(0)  # full
            else:
                return

    async def receive(self, channel: str) -> Message:
        return json.loads(await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16))

    async def close(self) -> None:
        self.socket.close()


class ForgetfulDatagramLayer(DatagramLayer):
    """Loses one message."""

    async def send(self, channel: str, message: Message) -> None:
        if message["n"] != 50:
            await super().send(channel, message)


class FailingDatagramLayer(DatagramLayer):
    """Receives nothing."""

    async def receive(self, channel: str) -> Message:
        raise OSError("the server is away")


class SilentDatagramLayer(DatagramLayer):
    """Never wakes a receiver."""

    async def receive(self, channel: str) -> Message:
        return await asyncio.get_running_loop().create_future()


@contextmanager
def folder() -> Iterator[Mapping[str, Any]]:
    """For datagram layers. Its name is short, as names of sockets have to be."""
    with tempfile.TemporaryDirectory() as path:
        yield {"folder": path}


starts: list[str] = []


@contextmanager
def server() -> Iterator[Mapping[str, Any]]:
    starts.append("start")
    yield {"server": "started"}
    starts.append("stop")
