"""What the flushes of the layers have in common: finding keys in bounded steps, and hearing who is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from .calls import answer
from .connection import Connection
from .link import open_socket
from .shard import Shard

#: How long the number of the latest flush is kept: longer than any process stands still.
EPOCH_TTL_MS = 7 * 86_400_000

#: Keys that one step of the search looks at.
_STEP = 1000

#: Seconds after which processes that have not answered are looked at.
_LOOK_AGAIN = 0.1


async def found_keys(shard: Shard) -> AsyncIterator[list[bytes]]:
    """The keys of the layer on one server, in steps that take the server a moment each."""
    cursor = b"0"
    while True:
        connection = await shard.far_connection()
        cursor, keys = await answer(connection, "SCAN", cursor, "MATCH", shard.keys.pattern, "COUNT", _STEP)
        yield keys
        if cursor == b"0":
            return


@asynccontextmanager
async def acknowledgements(
    shard: Shard, key: str
) -> AsyncIterator[tuple[Callable[[], Awaitable[str | None]], Callable[..., Awaitable[Any]]]]:
    """Give two functions: one waits for the next client that is done, and returns None after a while if there is none;
    the other asks the server something else. Over a connection of their own: others must not stand behind them.
    """
    sock = await open_socket(shard.server)
    connection = Connection(sock, shard.server.label, shard.terms.lease_ms / 1000 + 5, lambda *_: None)
    connection.attach(asyncio.get_running_loop())

    async def next_one() -> str | None:
        reply = await answer(connection, "BLPOP", key, _LOOK_AGAIN)
        return None if reply is None else reply[1].decode()

    async def ask(*command: Any) -> Any:
        return await answer(connection, *command)

    try:
        yield next_one, ask
    finally:
        connection.close()
