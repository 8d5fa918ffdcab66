"""A client's registration at one server: its mailbox lives as long as somebody renews its lease.

The lease is renewed in the background loop, so that an application that blocks its own loop keeps it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..background import background_loop
from ..exceptions import LayerUnavailable
from ..statistics import logger
from . import scripts
from .calls import ignored, run
from .connection import Connection
from .membership import as_text, position_of

if TYPE_CHECKING:
    from .shard import Shard


class Lease:
    """Registers a shard and keeps it registered; in the background loop."""

    def __init__(self, shard: Shard) -> None:
        #: The flush that was heard of last.
        self.epoch = 0
        #: Whether the shard is to be registered.
        self.is_held = False
        #: Whether places are being counted anew: what is given back meanwhile would be counted twice.
        self.is_counting = False
        self._shard = shard
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

    async def register(self, connection: Connection) -> None:
        """Make or renew the mailbox, count what is unread, and be listed in all groups that have members here.

        After any doubt about what the server still has: at the beginning, after a connection was lost, and when the
        lease had ended.
        """
        shard = self._shard
        if not self.is_held:
            return
        await shard.presence.ready()
        async with self._one_at_a_time:
            with shard.inbox.lock:
                self.is_counting = True
                counts = [word for pair in shard.inbox.count_direct().items() for word in pair]
                position = as_text(shard.mailbox.position)
            mailbox, unread, _ = shard.own_keys
            keys = (mailbox, shard.keys.early(shard.client), unread, shard.keys.epoch)
            try:
                is_new, newest, epoch = await run(
                    connection, scripts.register, keys, shard.terms.lease_ms, position, *counts
                )
            finally:
                self.is_counting = False
            with shard.inbox.lock:
                begins_anew = bool(is_new) or position_of(newest) < shard.mailbox.position
                if begins_anew:
                    shard.mailbox.start_anew()
                self._notice(int(epoch))
                groups = shard.mailbox.memberships.groups()
                shard.owner.give_back_soon()
            for group in groups:
                command = scripts.list_again.call((shard.keys.group(group),), shard.client, shard.group_ttl_ms)
                connection.ask(command, ignored)
            if begins_anew:
                shard.reading.restart()

    def _notice(self, epoch: int) -> None:
        if epoch > self.epoch:
            if self.epoch:
                self._shard.owner.empty()
            self.epoch = epoch

    async def _renew(self) -> None:
        shard = self._shard
        while True:
            await asyncio.sleep(shard.terms.lease_ms / 3000)
            try:
                shard.owner.check_home()
                shard.queues.give_all_back()
                await self._renew_once(await shard.far_connection())
            except LayerUnavailable:
                continue  # the link is at it
            except Exception:
                logger.exception("Renewing the lease at Redis %s failed; trying again", shard.server.label)

    async def _renew_once(self, connection: Connection) -> None:
        shard = self._shard
        keys = (*shard.own_keys, shard.keys.epoch)
        epoch = await run(connection, scripts.renew, keys, shard.terms.lease_ms, shard.group_ttl_ms)
        if epoch is None:
            logger.warning("The lease at Redis %s had ended; registering again", shard.server.label)
            await self.register(connection)
        else:
            with shard.inbox.lock:
                self._notice(int(epoch))
