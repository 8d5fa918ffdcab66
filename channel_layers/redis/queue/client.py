"""One layer object among the clients of its servers, in which unread messages wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ...background import background_loop
from ..client import Client, clients
from ..errors import RedisUnavailable
from ..server import Server
from .counted import CountedInbox
from .flush import flush
from .shard import QueueShard


class QueueClient(Client[QueueShard]):
    """What the queue layer does, but for names and encoding."""

    inbox: CountedInbox

    #: Whether what has expired is being looked for.
    is_sweeping = False

    def _new_inbox(self) -> CountedInbox:
        return CountedInbox(self.expiry, self.terms.capacity_of, self._free, self.terms.drop_old)

    def _new_shard(self, server: Server) -> QueueShard:
        return QueueShard(server, self.id, self.inbox, self.terms, self.send_timeout, self.group_expiry, self)

    def _free(self, channel: str, places: int, unread: int, capacity: int) -> None:
        self.shard_of(channel).places.free(channel, places, unread, capacity)

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
            shard.mailbox.changes.when_applied(entry, settle)
        try:
            await asyncio.wait_for(applied, self.send_timeout)
        except asyncio.TimeoutError as error:
            text = f"Redis at {shard.server.label} has taken a change, and has not told of it"
            raise RedisUnavailable(f"{text}; waited {self.send_timeout:g} s") from error

    def when_given_back(self, server: Server, client: str, call: Callable[[], None]) -> bool:
        """Call back when the client of that id has told a server what is free; False if it is none of this process."""
        for each in tuple(clients):
            if each.id == client and isinstance(each, QueueClient):
                for shard in each.shards:
                    if shard.server.name == server.name:
                        shard.places.when_told(call)
                        return True
        return False

    def empty(self, shard: QueueShard) -> None:
        """Drop all that came over a server that was flushed, and what else is held. Under the lock of the inbox."""
        self.inbox.clear("flushed")
        shard.places.forget()
        shard.mailbox.memberships.clear()

    async def discard_own(self, channel: str) -> None:
        """Discard a channel of this client: on its own server, by the way of all its changes; on the others, here."""
        self.start_reading()
        shard = self.shard_of(channel)
        try:
            entry = await shard.change("discard", self.id, "", channel)
            await self.until_applied(shard, entry)
        except GeneratorExit:  # the coroutine was thrown away, perhaps while this very thread holds the lock
            background_loop().call_soon_threadsafe(self._has_perhaps_ended, channel)
            raise
        except BaseException:
            self._has_perhaps_ended(channel)
            raise
        with self.inbox.lock:
            self._leave_elsewhere(channel)
            self.inbox.discard(channel)

    def _has_perhaps_ended(self, channel: str) -> None:
        """Its server may have taken the end of a channel: nobody will come back to the others. Without the lock."""
        with self.inbox.lock:
            self._leave_elsewhere(channel)

    def _leave_elsewhere(self, channel: str) -> None:
        for shard in self.shards:
            if not shard.holds(channel):
                shard.forget_members(channel)

    async def discard_elsewhere(self, channel: str, owner: str) -> None:
        """Discard a channel of another client, on every server: each of them alone knows which joins came before."""
        changes = (shard.change("discard", owner, "", channel) for shard in self.shards)
        for outcome in await asyncio.gather(*changes, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def flush(self) -> None:
        """Empty the layer for every client. In the background loop."""
        for shard in self.shards:
            await flush(shard)
        with self.inbox.lock:
            for shard in self.shards:
                self.empty(shard)

    def _moved_out(self) -> None:
        super()._moved_out()
        for shard in self.shards:
            shard.places.lose_home()
