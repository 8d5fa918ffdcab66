"""What scenarios have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.contenders import Layer

QUIET = 3.0
"""Seconds without a message after which none is expected any more."""

ROOM = 10_000
"""A capacity that a scenario never reaches, where that is not what it asks."""

Message = dict[str, Any]


def message(number: int, **more: Any) -> Message:
    return {"type": "chat.message", "n": number, **more}


async def member(layer: Layer, group: str) -> str:
    """A new channel in the group."""
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    return channel


async def receive_within(layer: Layer, channel: str, seconds: float = QUIET) -> Message | None:
    """The next message, or None. What the layer raises is raised."""
    waiting = asyncio.create_task(layer.receive(channel))
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()
    try:
        return await waiting
    except asyncio.CancelledError:
        return None


async def drain(layer: Layer, channel: str, count: int | None = None, quiet: float = QUIET) -> list[int]:
    """The numbers of the next ``count`` messages, or of those that come until it is quiet."""
    numbers: list[int] = []
    while count is None or len(numbers) < count:
        found = await receive_within(layer, channel, quiet)
        if found is None:
            break
        numbers.append(found["n"])
    return numbers


@asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Tasks that are cancelled after the block."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        await cancelled(tasks)


async def cancelled(tasks: Iterable[asyncio.Task[Any]], seconds: float = 5) -> None:
    """End them. Again and again: a client that is just failing may take a cancellation for the failure."""
    pending = set(tasks)
    for _ in range(int(seconds * 20)):
        for task in pending:
            task.cancel()
        if pending:
            _, pending = await asyncio.wait(pending, timeout=0.05)


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether ``condition()`` becomes true in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True
