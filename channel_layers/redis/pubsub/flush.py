"""Emptying a Pub/Sub layer on one server, so that it is empty for every process when the call returns."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from .. import scripts
from ..calls import answer
from ..flushing import EPOCH_TTL_MS, acknowledgements, found_keys

if TYPE_CHECKING:
    from .shard import PubSubShard


async def flush(shard: PubSubShard) -> None:
    """Delete all keys, tell every process that is there, and wait until each has emptied what it holds.

    A process that is there and does not answer, since it is stopped, is waited for as long as a lease. In the
    background loop.
    """
    nonce = secrets.token_hex(8)
    epoch = await shard.ask(scripts.raise_epoch, (shard.keys.epoch,), EPOCH_TTL_MS)
    async for keys in found_keys(shard):
        doomed = [key for key in keys if key.decode()[len(shard.keys.all) :].partition(":")[0] not in _STAYS]
        if doomed:
            await answer(await shard.far_connection(), "UNLINK", *doomed)
    command = f"{int(epoch)}\n{nonce}".encode()
    left = await (await shard.pubsub_outbox()).publish(shard.published.everyone, command)
    end = time.monotonic() + shard.terms.lease_ms / 1000
    done: set[str] = set()
    async with acknowledgements(shard, shard.keys.flushed(nonce)) as (next_one, ask):
        while len(done) < left and time.monotonic() < end:
            client = await next_one()
            if client is not None:
                done.add(client)
            else:  # one that has died is not waited for, nor is one that was done before it died
                names = (shard.published.everyone, *map(shard.keys.mailbox, done))
                there, *of_them = (await ask("PUBSUB", "NUMSUB", *names))[1::2]
                left = min(left, len(done) + there - sum(map(bool, of_them)))


_STAYS = ("epoch", "servers", "flushed")
