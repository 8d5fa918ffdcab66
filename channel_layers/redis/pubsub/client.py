"""One layer object among the clients of its servers, at which nothing waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..client import Client
from ..server import Server
from ..unread import RedisInbox
from .flush import flush
from .shard import PubSubShard


class PubSubClient(Client[PubSubShard]):
    """What the Pub/Sub layer does, but for names and encoding.

    :param lost_touch: appended to channels that somebody waits at or that hold unread messages, when messages may be
        missed from now on; None for nothing.
    :param in_touch: the same when nothing is missed any more.
    """

    def __init__(
        self, servers: Sequence[Server], *args: Any, prefix: str, lost_touch: bytes | None, in_touch: bytes | None
    ) -> None:
        self._prefix = prefix
        self._lost_touch = lost_touch
        self._in_touch = in_touch
        self._warned: set[str] = set()
        super().__init__(servers, *args)

    def _start_afresh(self) -> None:
        self._warned.clear()
        super()._start_afresh()

    def _new_inbox(self) -> RedisInbox:
        return RedisInbox(self.expiry, self.terms.capacity_of, self.terms.drop_old)

    def _new_shard(self, server: Server) -> PubSubShard:
        return PubSubShard(
            server, self.id, self.inbox, self.terms, self.send_timeout, self.group_expiry, self, self._prefix
        )

    async def until_ready(self, shard: PubSubShard) -> None:
        """Wait until what anyone sends to a channel of this shard arrives. Also for the other shards, since names under
        the same prefix may belong to them; but whether those are away is their matter.

        :raises RedisUnavailable: if this one is.
        """
        shards = [shard, *(each for each in self.shards if each is not shard and not each.is_ready)]
        outcome, *_ = await asyncio.gather(*(each.until_ready() for each in shards), return_exceptions=True)
        if outcome is not None:
            raise outcome

    def lost_touch(self) -> None:
        """From now on messages of a server may be missed. Under the lock of the inbox."""
        is_first = sum(shard.is_out_of_touch for shard in self.shards) == 1
        if self._lost_touch is not None and is_first:
            self._warned.update(self.inbox.announce(self._lost_touch))

    def is_in_touch(self) -> None:
        """From now on nothing of a server is missed any more. Under the lock of the inbox."""
        if any(shard.is_out_of_touch for shard in self.shards):
            return
        # Also to who is still busy with the warning, and so neither waits nor holds anything.
        warned, self._warned = self._warned, set()
        if self._in_touch is not None:
            self.inbox.announce(self._in_touch, warned)

    def empty(self, shard: PubSubShard) -> None:
        """A server was flushed: drop all that came over it, and what else is held. Under the lock of the inbox."""
        self.inbox.clear("flushed")
        shard.groups.clear()

    def end_channel(self, channel: str) -> None:
        """End a channel of this client, and its memberships on all servers. Under the lock of the inbox."""
        for shard in self.shards:
            shard.groups.discard_channel(channel)
        self.inbox.discard(channel)
        self._warned.discard(channel)

    async def flush(self) -> None:
        """Empty the layer for every client. In the background loop."""
        for shard in self.shards:
            await flush(shard)
        with self.inbox.lock:
            for shard in self.shards:
                self.empty(shard)
