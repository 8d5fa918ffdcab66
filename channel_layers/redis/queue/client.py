"""One layer object among the clients of its servers, in which unread messages wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..client import Client, clients
from ..errors import RedisUnavailable
from ..server import Server
from .counted import CountedInbox
from .flush import flush
from .places import Places
from .shard import QueueShard


class QueueClient(Client[QueueShard]):
    """What the queue layer does, but for names and encoding."""

    inbox: CountedInbox

    def _new_inbox(self) -> CountedInbox:
        #: Tells the servers which places are free.
        self.places = Places(self, self.send_timeout)
        return CountedInbox(self.expiry, self.terms.capacity_of, self.places.tell_soon, self.terms.drop_old)

    def _new_shard(self, server: Server) -> QueueShard:
        return QueueShard(server, self.id, self.inbox, self.terms, self.send_timeout, self.group_expiry, self)

    async def until_applied(self, shard: QueueShard, entry: Any) -> None:
        """Wait until a change of memberships has got through to this client's reader."""
        loop = asyncio.get_running_loop()
        applied = loop.create_future()

        def end() -> None:
            if not applied.done():
                applied.set_result(None)

        def settle() -> None:
            with suppress(RuntimeError):  # that loop is closed: nobody waits
                loop.call_soon_threadsafe(end)

        with self.inbox.lock:
            shard.mailbox.when_applied(entry, settle)
        try:
            await asyncio.wait_for(applied, self.send_timeout)
        except asyncio.TimeoutError as error:
            text = f"Redis at {shard.server.label} has taken a change, and has not told of it"
            raise RedisUnavailable(f"{text}; waited {self.send_timeout:g} s") from error

    def when_given_back(self, client: str, call: Callable[[], None]) -> bool:
        """Call back when the client of that id has told its servers what is free; False if it is none of this
        process.
        """
        for each in tuple(clients):
            if each.id == client and isinstance(each, QueueClient):
                each.places.when_told(call)
                return True
        return False

    def empty(self) -> None:
        """Drop all that is held. Under the lock of the inbox."""
        self.inbox.clear("flushed")
        for shard in self.shards:
            shard.mailbox.memberships.clear()

    async def flush(self) -> None:
        """Empty the layer for every client. In the background loop."""
        for shard in self.shards:
            await flush(shard)
        with self.inbox.lock:
            self.empty()

    def _moved_out(self) -> None:
        super()._moved_out()
        self.places.lose_home()

    def _start_afresh(self) -> None:
        self.places.start_afresh()
