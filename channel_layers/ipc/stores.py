"""The shared memory of normal channels, as one client finds, makes and reuses it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from ..exceptions import LayerUnavailable
from . import segment, store
from .counters import hash_of
from .directory import NORMALS
from .mailbox import NO_ROOM
from .store import CRAMPED, Store

if TYPE_CHECKING:
    from .client import Client

#: What :func:`checked` returns when a store has become another channel.
MOVED = "moved"


class Stores:
    """The stores that one client knows, by channel.

    :param kept: channels at which somebody waits: they stay when the others are forgotten.
    :param note_expired: told how many expired messages were dropped, under the lock of a store.
    """

    def __init__(self, client: Client, kept: Collection[str], note_expired: Callable[[int], None]) -> None:
        self._client = client
        self._kept = kept
        self._note_expired = note_expired
        self._known: dict[str, tuple[int, int, Store]] = {}

    def forget(self) -> None:
        """Hold no memory any more."""
        self._known.clear()

    def known(self, channel: str) -> tuple[int, int, Store] | None:
        """Key, number and store of a channel, if they were found before; it may be another channel's now."""
        return self._known.get(channel)

    def find(self, channel: str) -> tuple[int, int, Store]:
        """Key, number and store of a channel, which is made if there is none."""
        known = self._known.get(channel)
        if known is not None and known[2].is_of(known[0]):
            return known
        key = hash_of(channel)
        number, found = self._client.site.with_directory(self._open, key)
        if len(self._known) > NORMALS:
            known_before = self._known
            self._known = {name: known_before[name] for name in tuple(self._kept) if name in known_before}
        self._known[channel] = (key, number, found)
        return key, number, found

    def exists(self, channel: str) -> bool:
        """Whether there is such a channel. One that is made at this very moment may be missed."""
        return self._client.site.directory.find_normal(hash_of(channel)) is not None

    def attach(self, number: int) -> Store:
        """The store of a number that is in the directory."""
        found = segment.attach(self._client.site.normal_name(number), store.KIND)
        if found is None:
            raise LayerUnavailable("a normal channel has lost its shared memory: something else removed it")
        return Store(found, number)

    def _open(self, key: int) -> tuple[int, Store]:
        """Under the lock of the directory."""
        site = self._client.site
        directory = site.directory
        number = directory.find_normal(key)
        if number is None:
            number = directory.free_normal()
            if number is None:
                return self._reuse(key)
            ring, size = store.room(self._client.memory)
            made = segment.create(site.normal_name(number), size, self._client.permissions, min(size, store.FIRST))
            found = Store.make(made, number, key, ring)
            directory.write_normal(number, key)
            directory.changed()
            return number, found
        found = self.attach(number)
        if not found.is_of(key):
            self._take_back(number, found, key)
        return number, found

    def _take_back(self, number: int, found: Store, key: int) -> None:
        """Who took over this number died before the directory said so; what was there was unused."""
        locks, byte = self._client.site.locks, self._client.site.normal_byte(number)
        if locks.seize(byte):  # otherwise the caller finds it busy, or comes again
            try:
                found.change_hands(key)
            finally:
                locks.give_up(byte)

    def _reuse(self, key: int) -> tuple[int, Store]:
        """All numbers are in use; take over that of a channel that holds nothing. Under the lock of the directory."""
        site = self._client.site
        site.reclaim()  # who died while it waited waits no more
        slots = frozenset(site.directory.used_slots())
        for number, _ in site.directory.normals():
            byte = site.normal_byte(number)
            if site.locks.seize(byte):
                try:
                    found = self.attach(number)
                    expired = found.expire()
                    if expired:
                        self._note_expired(expired)
                    if found.is_unused(slots):
                        found.change_hands(key)
                        site.directory.write_normal(number, key)
                        site.directory.changed()
                        return number, found
                finally:
                    site.locks.give_up(byte)
        raise LayerUnavailable("there are too many normal channels that hold messages or memberships")

    # Work under the lock of a channel

    def run(self, channel: str, work: Callable[[Store], Any], length: int = 0) -> Any:
        """Do something with a channel under its lock; BUSY if another process holds it.

        :param length: of a message that is pushed. Where it is cramped, more memory is reserved, without the lock.
        """
        while True:
            known = self.find(channel)
            result = self._settled(channel, known[2], self.run_known(known, work), length)
            if result is not MOVED:
                return result

    async def run_soon(self, channel: str, work: Callable[[Store], Any], length: int = 0) -> Any:
        """The same, trying for a while."""
        while True:
            key, number, found = self.find(channel)
            byte = self._client.site.normal_byte(number)
            result = await self._client.site.locks.run_soon(byte, checked, found, key, work)
            result = self._settled(channel, found, result, length)
            if result is not MOVED:
                return result

    def _settled(self, channel: str, found: Store, result: Any, length: int) -> Any:
        """The result; MOVED if it is to be tried again."""
        if result is CRAMPED:
            return MOVED if found.grow(length) else NO_ROOM
        if result is MOVED:
            self._known.pop(channel, None)
        return result

    def run_known(self, known: tuple[int, int, Store], work: Callable[[Store], Any]) -> Any:
        """As :meth:`run`, with a store that was found before, and once: MOVED if it is another channel's now, CRAMPED
        if memory must be reserved first.
        """
        key, number, found = known
        site = self._client.site
        return site.locks.run(site.normal_byte(number), checked, found, key, work)


def checked(found: Store, key: int, work: Callable[[Store], Any]) -> Any:
    """Do something with a store, unless it has become another channel: then MOVED."""
    return work(found) if found.is_of(key) else MOVED
