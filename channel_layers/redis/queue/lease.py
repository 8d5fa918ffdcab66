"""A client's registration at one server: its mailbox lives as long as somebody renews its lease.

The lease is renewed in the background loop, so that an application that blocks its own loop keeps it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from ...background import background_loop
from ...exceptions import LayerUnavailable
from ...statistics import logger
from .. import scripts
from ..calls import run, tell
from ..connection import Connection
from ..flushing import EPOCH_TTL_MS
from .membership import as_text, position_of

if TYPE_CHECKING:
    from .shard import QueueShard


class Lease:
    """Registers a shard and keeps it registered; in the background loop."""

    def __init__(self, shard: QueueShard) -> None:
        #: The flush that was heard of last; None until the first registration, which asks.
        self.epoch: int | None = None
        #: Whether the shard is to be registered.
        self.is_held = False
        #: Whether places are being counted anew: what is given back meanwhile would be counted twice.
        self.is_counting = False
        self._shard = shard
        self._listed_at = time.monotonic()
        self._has_registered = False
        self._one_at_a_time = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.is_held = True
        if self._renewing is None:
            self._renewing = background_loop().create_task(self._renew())

    def stop(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None

    async def give_up(self) -> bool:
        """Register no more; whether it was to be until now. One that is under way is waited for."""
        async with self._one_at_a_time:
            was_held, self.is_held = self.is_held, False
        return was_held

    async def register(self, connection: Connection) -> None:
        """Make or renew the mailbox, count what is unread, and be listed in all groups that have members here.

        After any doubt about what the server still has: at the beginning, after a connection was lost, and when the
        lease had ended.
        """
        shard = self._shard
        if not self.is_held:
            return
        await shard.until_present()
        async with self._one_at_a_time:
            if not self.is_held:
                return
            with shard.inbox.lock:
                self.is_counting = True
                shard.places.forget()
                counts = [word for pair in shard.inbox.count_direct(self._belongs).items() for word in pair]
                position = as_text(shard.mailbox.position)
            mailbox, unread, _ = shard.own_keys
            keys = (mailbox, shard.keys.early(shard.client), unread, shard.keys.epoch)
            try:
                is_new, newest, epoch = await run(
                    connection, scripts.register, keys, shard.terms.lease_ms, position, *counts
                )
            finally:
                with shard.inbox.lock:
                    self.is_counting = False
                    shard.places.tell_soon()
            with shard.inbox.lock:
                is_lost = bool(is_new) or position_of(newest) < shard.mailbox.position
                # The first time there was nothing to lose: what is there, is early.
                begins_anew, self._has_registered = self._has_registered and is_lost, True
                read_before = shard.mailbox.changes.position
                if begins_anew:
                    shard.mailbox.start_anew()
                if self._notice(int(epoch)) and begins_anew:  # the mailbox that would tell of that flush has ended
                    shard.mailbox.changes.flushed(read_before)
                groups = shard.mailbox.memberships.groups()
            self._list_again(connection, groups)
            if begins_anew:
                shard.reading.restart()

    def _belongs(self, channel: str) -> bool:
        return self._shard.owner.shard_of(channel) is self._shard

    def _list_again(self, connection: Connection, groups: Collection[str]) -> None:
        shard = self._shard
        self._listed_at = time.monotonic()
        for group in groups:
            tell(connection, scripts.list_again, (shard.keys.group(group),), shard.client, shard.group_ttl_ms)

    def _notice(self, epoch: int) -> bool:
        """Whether somebody has flushed the layer since the last one that was heard of."""
        is_new = self.epoch is not None and epoch > self.epoch
        if is_new:
            self._shard.owner.empty(self._shard)
        self.epoch = max(epoch, self.epoch or 0)
        return is_new

    async def _renew(self) -> None:
        shard = self._shard
        while True:
            await asyncio.sleep(shard.terms.lease_ms / 3000)
            try:
                shard.owner.check_home()
                shard.owner.normal.give_all_back()
                connection = await shard.far_connection()
                await self._renew_once(connection)
                await shard.agree(connection)
            except LayerUnavailable:
                continue  # the link is at it
            except Exception:
                logger.exception("Renewing the lease at Redis %s failed; trying again", shard.server.label)

    async def _renew_once(self, connection: Connection) -> None:
        shard = self._shard
        keys = (*shard.own_keys, shard.keys.epoch)
        epoch = await run(connection, scripts.renew, keys, shard.terms.lease_ms, shard.group_ttl_ms, EPOCH_TTL_MS)
        if not self.is_held:
            return  # the layer is being closed meanwhile
        if epoch is None:
            logger.warning("The lease at Redis %s had ended; registering again", shard.server.label)
            await self.register(connection)
        else:
            with shard.inbox.lock:
                self._notice(int(epoch))
                groups = shard.mailbox.memberships.groups()
            # Memberships without an end outlive their keys, which must have one.
            if shard.group_expiry_ms is None and time.monotonic() - self._listed_at > shard.group_ttl_ms / 4000:
                self._list_again(connection, groups)
