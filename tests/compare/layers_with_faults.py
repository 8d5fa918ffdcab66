"""Layers to try the comparison on. In a module of their own, because the process of a scenario imports them."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from channel_layers.memory import InMemoryChannelLayer


class ForgetsCancelledReceive(InMemoryChannelLayer):
    """Takes a message a moment before it hands it out: a cancellation in between loses it."""

    async def receive(self, channel: str) -> dict[str, Any]:
        message = await super().receive(channel)
        await asyncio.sleep(0.001)
        return message


class Blocks(InMemoryChannelLayer):
    """Never yields to the loop again, as a deadlock in C would."""

    async def group_send(self, group: str, message: Any) -> None:
        time.sleep(1_000)  # noqa: ASYNC251 - that is what is wrong with it


class Crashes(InMemoryChannelLayer):
    async def group_send(self, group: str, message: Any) -> None:
        os._exit(3)


class Hangs(InMemoryChannelLayer):
    async def group_send(self, group: str, message: Any) -> None:
        await asyncio.Event().wait()


class Raises(InMemoryChannelLayer):
    async def group_send(self, group: str, message: Any) -> None:
        raise OSError("the |server| is\naway")


class TakesAnyOption(InMemoryChannelLayer):
    def __init__(self, **options: Any) -> None:
        super().__init__()
