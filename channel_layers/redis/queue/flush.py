"""Emptying a layer on one server, so that it is empty for every process when the call returns."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from .. import scripts
from ..calls import answer
from ..flushing import EPOCH_TTL_MS, acknowledgements, found_keys

if TYPE_CHECKING:
    from .shard import QueueShard

#: What a process holds of its own: emptied with its mailbox, in one step.
_OF_CLIENTS = ("mailbox", "unread", "control", "early", "wake")

#: What stays: the number of flushes, the names of the servers, answers to a flush under way, and all of a Pub/Sub
#: layer with this prefix.
_STAYS = ("epoch", "servers", "flushed", "pubsub")


async def flush(shard: QueueShard) -> None:
    """Delete all keys, tell every process that lives, and wait until each has emptied what it holds.

    A process that is there and does not answer, since it is stopped, is waited for until its lease ends. In the
    background loop.
    """
    acknowledged = shard.keys.flushed(secrets.token_hex(8))
    epoch = await shard.ask(scripts.raise_epoch, (shard.keys.epoch,), EPOCH_TTL_MS)
    waited_for: dict[str, float] = {}
    seen: set[str] = set()
    async for found in found_keys(shard):
        doomed = []
        for key in found:
            kind, _, name = key.decode()[len(shard.keys.all) :].partition(":")
            if kind in _OF_CLIENTS:
                if name not in seen:
                    seen.add(name)
                    left = await _flush_client(shard, name, epoch, acknowledged)
                    if left > 0:
                        waited_for[name] = time.monotonic() + left / 1000
            elif kind not in _STAYS:
                doomed.append(key)
        if doomed:
            await answer(await shard.far_connection(), "UNLINK", *doomed)
    if waited_for:
        await _wait(shard, acknowledged, waited_for)


async def _flush_client(shard: QueueShard, client: str, epoch: bytes, acknowledged: str) -> int:
    keys = shard.keys
    own = (keys.mailbox(client), keys.unread(client), keys.control(client), keys.early(client))
    left: int = await shard.ask(scripts.flush_mailbox, own, epoch, acknowledged)
    return left


async def _wait(shard: QueueShard, acknowledged: str, waited_for: dict[str, float]) -> None:
    async with acknowledgements(shard, acknowledged) as (next_one, ask):
        while waited_for:
            client = await next_one()
            if client is not None:
                waited_for.pop(client, None)
                continue
            now = time.monotonic()
            names = list(waited_for)
            counts = await ask("PUBSUB", "NUMSUB", *map(shard.keys.presence, names))
            for name, there in zip(names, counts[1::2], strict=True):
                if not there or waited_for[name] <= now:  # one that has died is not waited for
                    del waited_for[name]
