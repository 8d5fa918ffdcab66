"""How the two processes of a round talk beside the layer they measure: JSON values over a socket, one a line."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

from benchmarks.errors import WrongResultError

# Of one value. Far above the thousands of delays that a receiver tells at the end.
LIMIT = 1 << 24


class Line:
    """One of its two ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Line:
        """The line takes the socket over."""
        return cls(*await asyncio.open_connection(sock=end, limit=LIMIT))

    async def tell(self, value: object) -> None:
        await self._write({"value": value})

    async def complain(self, problem: WrongResultError) -> None:
        """Instead of a value: the one who listens for it raises the error."""
        await self._write({"wrong": str(problem)})

    async def hear(self) -> Any:
        """The next value. Raises the WrongResultError that was found at the other end, and EOFError if that is gone."""
        if not (text := await self._reader.readline()):
            raise EOFError("the other process of the round ended too early; it may have printed why")
        said = json.loads(text)
        if "wrong" in said:
            raise WrongResultError(said["wrong"])
        return said["value"]

    async def wait_for_end(self) -> None:
        """Until the other end is closed. A last complaint is still heard."""
        while not self._reader.at_eof():
            try:
                await self.hear()
            except EOFError:
                return

    async def close(self) -> None:
        """What has been told is still sent."""
        self._writer.close()
        with suppress(OSError):  # the other end is gone
            await self._writer.wait_closed()

    async def _write(self, said: dict[str, object]) -> None:
        self._writer.write(json.dumps(said).encode() + b"\n")
        await self._writer.drain()
