"""Normal channels as members of groups, for one client."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from ..exceptions import LayerUnavailable
from . import store
from .counters import hash_of
from .locks import BUSY
from .mailbox import NO_ROOM
from .normal import NAMELESS
from .store import CRAMPED, Store

if TYPE_CHECKING:
    from .client import Client


class NormalMembers:
    """The memberships of the normal channels of a site, which are kept in their stores."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._normal = client.normal
        self._all: list[tuple[int, int, Store]] = []
        self._version = -1  # of the directory, when that was true

    def forget(self) -> None:
        """Hold nobody's memory any more."""
        self._all.clear()
        self._version = -1

    async def join(self, group: str, channel: str, capacity: int) -> None:
        """Make a normal channel a member of a group."""
        expiry = self._client.group_expiry
        deadline = math.inf if expiry is None else time.monotonic() + expiry
        key = hash_of(group)
        outcome = await self._normal.stores.run_soon(channel, lambda found: found.join(key, deadline, capacity))
        if outcome is not True:
            problem = "is locked by a process that was stopped"
            if outcome is not BUSY:
                problem = f"is a member of {store.GROUPS} groups already"
            raise LayerUnavailable(f"group_add: the channel {channel!r} {problem}")
        # Last: as a member it keeps its number.
        number = self._normal.stores.find(channel)[1]
        if not self._client.site.directory.is_member(number):
            self._client.site.with_directory(self._mark, number)

    def _mark(self, number: int) -> None:
        self._client.site.directory.set_member(number)
        self._client.site.directory.changed()

    async def part(self, group: str, channel: str) -> None:
        """End a membership."""
        key = hash_of(group)
        if not self._normal.stores.exists(channel):
            return
        if await self._normal.stores.run_soon(channel, lambda found: found.part(key)) is BUSY:
            raise LayerUnavailable(f"group_discard: the channel {channel!r} is locked by a process that was stopped")

    def all(self) -> list[tuple[int, int, Store]]:
        """Number, key and store of all channels that may be a member of any group."""
        self._normal.catch_up()
        directory = self._client.site.directory
        if directory.version != self._version:
            version, numbers = self._client.site.look(
                lambda: (directory.version, [each for each in directory.normals() if directory.is_member(each[0])])
            )
            self._all = [(number, key, self._normal.stores.attach(number)) for number, key in numbers]
            self._version = version
        return self._all

    def _push(self, found: Store, key: int, group: int, payload: bytes) -> str | None:
        """Append a group message if the channel is a member; None, or why not. Under its lock."""
        if not found.is_of(key) or not found.is_member(group):
            return None
        deadline = time.monotonic() + self._client.expiry
        return self._normal.push(found, found.capacity, payload, deadline, NAMELESS)

    def send(self, byte: int, member: tuple[Store, int, int, bytes]) -> Any:
        """Append a group message, if the channel is a member; BUSY if another process holds its lock.

        :param byte: that lock.
        :param member: the store, the key of its channel, that of the group, and the message.
        """
        while True:
            outcome = self._client.site.locks.run(byte, self._push, *member)
            if outcome is not CRAMPED:
                return outcome
            if not member[0].grow(len(member[3])):
                return NO_ROOM

    async def send_soon(self, byte: int, member: tuple[Store, int, int, bytes]) -> Any:
        """The same, trying for a while."""
        outcome = await self._client.site.locks.run_soon(byte, self._push, *member)
        return outcome if outcome is not CRAMPED else self.send(byte, member)
