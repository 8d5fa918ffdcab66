"""People in a room, over real WebSockets."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

if not os.environ.get("CI"):  # where the import below fails instead
    pytest.importorskip("websockets")

from websockets.asyncio.client import ClientConnection, connect

DEADLINE = 30


class Visitor:
    """Somebody in a room, who remembers everything heard."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        #: The process that serves this visitor.
        self.process = 0
        self.heard: list[dict[str, Any]] = []

    async def say(self, text: str) -> None:
        await self.connection.send(json.dumps({"text": text}))

    async def hears(self, event: str, **details: Any) -> dict[str, Any]:
        """The next event of this kind with these details; others on the way are only remembered."""
        wanted = {"event": event, **details}
        await self.hears_until(lambda: self.heard[-1].items() >= wanted.items(), str(wanted))
        return self.heard[-1]

    async def hears_until(self, enough: Callable[[], object], what: str) -> None:
        """Listen, at least to one event, until enough was heard."""
        async with deadline(f"{what}; heard {self.heard[-3:]}"):
            while True:
                self.heard.append(json.loads(await self.connection.recv()))
                if enough():
                    return

    def known(self) -> set[str]:
        """Names of those who are present, as far as this visitor was told."""
        return {event["name"] for event in self.heard if event["event"] in {"joined", "present"}}


@contextlib.asynccontextmanager
async def deadline(what: str) -> AsyncIterator[None]:
    """``asyncio.timeout`` for Python 3.10 as well, which says what was waited for."""
    task, late = asyncio.current_task(), False

    def end() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(DEADLINE, end)
    try:
        yield
    except asyncio.CancelledError:
        if not late:
            raise
        pytest.fail(f"not within {DEADLINE} s: {what}")
    finally:
        timer.cancel()


@contextlib.asynccontextmanager
async def visit(chat: Any, room: str, name: str) -> AsyncIterator[Visitor]:
    async with connect(chat.socket_url(room, name), origin=chat.origin) as connection:
        visitor = Visitor(connection)
        welcome = await visitor.hears("welcome", name=name)
        visitor.process = welcome["process"]
        await visitor.hears("joined", id=welcome["id"])
        yield visitor
