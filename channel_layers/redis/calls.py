"""Running a script over a connection, and what to make of the reply."""

from __future__ import annotations

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


def ignored(reply: Any) -> None:
    """What nobody waits for; only a server that refuses it is worth a word."""
    if isinstance(reply, Exception) and not isinstance(reply, RedisUnavailable):
        logger.warning("Redis refuses: %s", reply)
