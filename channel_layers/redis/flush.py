"""Emptying a layer on one server, so that it is empty for every process when the call returns."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from . import scripts
from .calls import answer
from .connection import Connection
from .lease import EPOCH_TTL_MS
from .link import open_socket

if TYPE_CHECKING:
    from .shard import Shard

#: Keys that one step of the search looks at.
_STEP = 1000

#: Seconds after which processes that have not answered are looked at: one that has died is not waited for.
_LOOK_AGAIN = 0.1

#: What a process holds of its own: emptied with its mailbox, in one step.
_OF_CLIENTS = ("mailbox", "unread", "control", "early", "wake")


async def flush(shard: Shard) -> None:
    """Delete all keys, tell every process that lives, and wait until each has emptied what it holds.

    A process that is there and does not answer, since it is stopped, is waited for until its lease ends. In the
    background loop.
    """
    acknowledged = shard.keys.flushed(secrets.token_hex(8))
    epoch = await shard.ask(scripts.raise_epoch, (shard.keys.epoch,), EPOCH_TTL_MS)
    waited_for: dict[str, float] = {}
    seen: set[str] = set()
    cursor = b"0"
    while True:
        connection = await shard.far_connection()
        cursor, found = await answer(connection, "SCAN", cursor, "MATCH", shard.keys.pattern, "COUNT", _STEP)
        doomed = []
        for key in found:
            kind, _, name = key.decode()[len(shard.keys.all) :].partition(":")
            if kind in _OF_CLIENTS:
                if name not in seen:
                    seen.add(name)
                    left = await _flush_client(shard, name, epoch, acknowledged)
                    if left > 0:
                        waited_for[name] = time.monotonic() + left / 1000
            elif kind not in ("epoch", "flushed"):
                doomed.append(key)
        if doomed:
            await answer(connection, "UNLINK", *doomed)
        if cursor == b"0":
            break
    if waited_for:
        await _wait(shard, acknowledged, waited_for)


async def _flush_client(shard: Shard, client: str, epoch: bytes, acknowledged: str) -> int:
    keys = shard.keys
    own = (keys.mailbox(client), keys.unread(client), keys.control(client), keys.early(client))
    left: int = await shard.ask(scripts.flush_mailbox, own, epoch, acknowledged)
    return left


async def _wait(shard: Shard, acknowledged: str, waited_for: dict[str, float]) -> None:
    """Wait on a connection of its own: others must not stand behind it."""
    sock = await open_socket(shard.server)
    connection = Connection(sock, shard.server.label, shard.terms.lease_ms / 1000 + 5, lambda *_: None)
    connection.attach(asyncio.get_running_loop())
    try:
        while waited_for:
            reply = await answer(connection, "BLPOP", acknowledged, _LOOK_AGAIN)
            if reply is not None:
                waited_for.pop(reply[1].decode(), None)
                continue
            now = time.monotonic()
            names = list(waited_for)
            counts = await answer(connection, "PUBSUB", "NUMSUB", *map(shard.keys.presence, names))
            for name, there in zip(names, counts[1::2], strict=True):
                if not there or waited_for[name] <= now:
                    del waited_for[name]
    finally:
        connection.close()
