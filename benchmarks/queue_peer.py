"""``multiprocessing.Queue`` with the verbs of a layer: what two processes that know each other would use instead."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from typing import Any


def inherited_queue() -> Mapping[str, Any]:
    """What both processes of a round have from its beginning: such a queue cannot be found by a name."""
    return {"queue": multiprocessing.get_context("spawn").Queue()}


class QueueLayer:
    """One channel. Who receives holds up its event loop, as no layer may: it is the fastest way to use the queue."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    async def new_channel(self) -> str:
        return "queue"

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self._queue.put(message)

    async def receive(self, channel: str) -> dict[str, Any]:
        return self._queue.get()

    async def flush(self) -> None:
        """Nothing is left: a round receives all that it sends."""

    async def close(self) -> None:
        self._queue.close()
