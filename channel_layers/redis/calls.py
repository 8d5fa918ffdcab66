"""Running a script over a connection, and what to make of the reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from ..statistics import logger
from .connection import Connection, pack
from .errors import RedisUnavailable
from .refusals import FORGOTTEN, refused
from .scripts import Script


async def run(connection: Connection, script: Script, keys: tuple[str, ...], *args: Any) -> Any:
    """Run a script over a connection of the running loop.

    :raises RedisUnavailable: if the server is away, or refuses.
    """
    try:
        return await connection.answer_to(script.call(keys, *args))
    except RedisUnavailable:
        raise
    except Exception as error:
        if not str(error).startswith(FORGOTTEN):
            raise refused(connection, error, f"EVALSHA ({script.name})") from error
    try:
        return await connection.answer_to(pack("EVAL", script.text, len(keys), *keys, *args))
    except RedisUnavailable:
        raise
    except Exception as error:
        raise refused(connection, error, f"EVAL ({script.name})") from error


async def answer(connection: Connection, *command: Any) -> Any:
    """Ask for a plain command over a connection of the running loop.

    :raises RedisUnavailable: if the server is away, or refuses.
    """
    try:
        return await connection.answer(*command)
    except RedisUnavailable:
        raise
    except Exception as error:
        raise refused(connection, error, str(command[0])) from error


async def release_after(other: Awaitable[Connection], connection: Connection) -> None:
    """Let a connection write what it holds, when another has answered all that it was asked until now."""
    with suppress(RedisUnavailable):
        await answer(await other, "TIME")
    connection.soon(connection.release)


def tell(
    connection: Connection, script: Script, keys: tuple[str, ...], *args: Any, then: Callable[[], None] | None = None
) -> None:
    """Run a script over a connection, and do not wait for it; in the thread of its loop."""

    def settle(reply: Any) -> None:
        if isinstance(reply, Exception) and str(reply).startswith(FORGOTTEN):
            connection.ask(pack("EVAL", script.text, len(keys), *keys, *args), end)
        else:
            end(reply)

    def end(reply: Any) -> None:
        ignored(reply)
        if then is not None:
            then()

    connection.ask(script.call(keys, *args), settle)


def ignored(reply: Any) -> None:
    """What nobody waits for; only a server that refuses it is worth a word."""
    if isinstance(reply, Exception) and not isinstance(reply, RedisUnavailable):
        logger.warning("Redis refuses: %s", reply)
