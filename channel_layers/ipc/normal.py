"""Normal channels, as one client uses them: sending to the stores, waiting at them, and their memberships."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ..exceptions import ChannelFull, LayerClosed, LayerUnavailable, MessageTooLarge
from ..waiters import Waiters
from . import segment, store
from .counters import hash_of
from .locks import BUSY
from .mailbox import FULL, TOO_LARGE
from .store import Store
from .wakeup import Rope

if TYPE_CHECKING:
    from .client import Client

_MOVED = "moved"


class NormalChannels:
    """The normal channels of a site, for one client, which has joined it whenever a method is called."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stores: dict[str, tuple[int, int, Store]] = {}
        self._waiters: dict[str, Waiters] = {}
        self._ropes: dict[int, Rope] = {}
        self._ropes_version = -1
        self._members: list[tuple[int, int, Store]] = []
        self._members_version = -1
        self._times_closed = 0

    # Stores

    def _find(self, channel: str) -> tuple[int, int, Store]:
        known = self._stores.get(channel)
        if known is not None and known[2].is_of(known[0]):
            return known
        key = hash_of(channel)
        number, found = self._client.site.with_directory(self._open, key)
        if len(self._stores) > store.GROUPS:
            self._stores.clear()
        self._stores[channel] = (key, number, found)
        return key, number, found

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
            made = segment.create(site.normal_name(number), size, self._client.permissions)
            found = Store.make(made, key, ring)
            directory.write_normal(number, key)
            directory.changed()
            return number, found
        return number, self._attach(number)

    def _attach(self, number: int) -> Store:
        found = segment.attach(self._client.site.normal_name(number), store.KIND)
        if found is None:
            raise LayerUnavailable("a normal channel has lost its shared memory: something else removed it")
        return Store(found)

    def _reuse(self, key: int) -> tuple[int, Store]:
        """All numbers are in use; take over that of a channel that holds nothing. Under the lock of the directory."""
        site = self._client.site
        for number, _ in site.directory.normals():
            byte = site.normal_byte(number)
            if site.locks.seize(byte):
                try:
                    found = self._attach(number)
                    if found.is_unused:
                        found.change_hands(key)
                        site.directory.write_normal(number, key)
                        site.directory.changed()
                        return number, found
                finally:
                    site.locks.give_up(byte)
        raise LayerUnavailable("there are too many normal channels that hold messages or memberships")

    def _run(self, channel: str, work: Callable[[Store], Any]) -> Any:
        """Do something with a channel under its lock; BUSY if another process holds it."""
        while True:
            key, number, found = self._find(channel)
            result = self._client.site.locks.run(self._client.site.normal_byte(number), _checked, found, key, work)
            if result is not _MOVED:
                return result
            self._stores.pop(channel, None)

    async def _run_soon(self, channel: str, work: Callable[[Store], Any]) -> Any:
        while True:
            key, number, found = self._find(channel)
            byte = self._client.site.normal_byte(number)
            result = await self._client.site.locks.run_soon(byte, _checked, found, key, work)
            if result is not _MOVED:
                return result
            self._stores.pop(channel, None)

    # Sending

    def send(self, channel: str, payload: bytes, capacity: int) -> Coroutine[Any, Any, None] | None:
        """Append a message, or raise what ``send`` raises."""
        deadline = time.monotonic() + self._client.expiry

        def push(found: Store) -> str | None:
            return found.push(capacity, payload, deadline, self._ring)

        outcome = self._run(channel, push)
        if outcome is None:
            return None
        if outcome is BUSY:
            return self._send_later(channel, payload, capacity, push)
        raise self._error(outcome, channel, capacity, payload)

    async def _send_later(self, channel: str, payload: bytes, capacity: int, push: Callable[[Store], Any]) -> None:
        outcome = await self._run_soon(channel, push)
        if outcome is not None:
            raise self._error(outcome, channel, capacity, payload)

    def _error(self, outcome: Any, channel: str, capacity: int, payload: bytes) -> Exception:
        if outcome is TOO_LARGE:
            return MessageTooLarge(len(payload), store.room(self._client.memory)[0])
        return ChannelFull(channel, capacity if outcome is FULL else None)

    def _ring(self, slot: int) -> None:
        version = self._client.site.directory.version
        if version != self._ropes_version:
            self._ropes, self._ropes_version = {}, version
        rope = self._ropes.get(slot)
        if rope is None:
            rope = self._ropes[slot] = Rope(self._client.site.bell_path(slot))
        rope.pull()

    # Receiving

    def claim(self, channel: str) -> bytes | None:
        """Take the oldest message; None if there is none, or the channel is locked now."""
        result = self._run(channel, lambda found: found.take(None))
        return None if result is BUSY else self._counted(channel, *result)

    async def receive(self, channel: str) -> bytes:
        """Wait for the oldest message. A cancelled wait has taken nothing.

        :raises LayerClosed: when the client was closed while this waited.
        """
        inbox = self._client.inbox
        times_closed = self._times_closed
        woken = False
        while True:
            with inbox.lock:
                if self._times_closed != times_closed:
                    raise LayerClosed(f"the layer was closed while receive({channel!r}) waited")
                waiters = self._waiters.setdefault(channel, Waiters())
                future = waiters.add(at_front=woken)
            try:
                # First the future, then the look: who pushes after the look rings, and finds the future.
                result = await self._run_soon(channel, lambda found: found.take(self._client.slot))
                if result is not BUSY:
                    payload = self._counted(channel, *result)
                    if payload is not None:
                        # More may have come since the bell rang, and nobody rings for those until somebody has found
                        # nothing: so the next one looks.
                        self._go(channel, future, wakes_next=woken)
                        return payload
                    await future
                woken = True
            except BaseException:
                self._go(channel, future)
                raise
            if result is BUSY:
                self._go(channel, future)

    def _counted(self, channel: str, payload: bytes | None, expired: int) -> bytes | None:
        inbox = self._client.inbox
        with inbox.lock:
            if payload is not None:
                inbox.arrived += 1
                inbox.delivered += 1
            for _ in range(expired):
                inbox.arrived += 1
                inbox._drop("expired", channel)
        return payload

    def _go(self, channel: str, future: asyncio.Future[None], wakes_next: bool = False) -> None:
        with self._client.inbox.lock:
            waiters = self._waiters.get(channel)
            if waiters is None:
                return
            was_waiting = waiters.remove(future)  # if not, it was woken for a message that it does not take
            if (wakes_next or not was_waiting) and waiters.any():
                waiters.wake()
            if not waiters.any():
                self._waiters.pop(channel, None)

    def wake(self) -> bool:
        """Wake those for whom there is something; False if a channel was locked. Under the lock of the inbox.

        Who pushes rings first. So the look is under the lock of the channel: when the bell is heard, the message may
        not be there yet, and after a death it never will.
        """
        is_done = True
        site, slot = self._client.site, self._client.slot
        for channel, waiters in tuple(self._waiters.items()):
            known = self._stores.get(channel)
            count: Any = _MOVED
            if known is not None and slot is not None:
                key, number, found = known
                count = site.locks.run(site.normal_byte(number), _checked, found, key, lambda store: store.look(slot))
            if count is BUSY:
                is_done = False
                continue
            for _ in range(1 if count is _MOVED else count):
                if not waiters.any():
                    break
                waiters.wake()
        return is_done

    # Groups

    async def join(self, group: str, channel: str, capacity: int) -> None:
        """Make a normal channel a member of a group."""
        expiry = self._client.group_expiry
        deadline = math.inf if expiry is None else time.monotonic() + expiry
        key = hash_of(group)
        directory = self._client.site.directory
        number = self._find(channel)[1]
        if not directory.is_member(number):
            self._client.site.with_directory(self._mark_member, number)
        outcome = await self._run_soon(channel, lambda found: found.join(key, deadline, capacity))
        if outcome is not True:
            problem = "is locked by a process that was stopped"
            if outcome is not BUSY:
                problem = f"is a member of {store.GROUPS} groups already"
            raise LayerUnavailable(f"group_add: the channel {channel!r} {problem}")

    def _mark_member(self, number: int) -> None:
        self._client.site.directory.set_member(number)
        self._client.site.directory.changed()

    async def part(self, group: str, channel: str) -> None:
        """End a membership."""
        key = hash_of(group)
        if await self._run_soon(channel, lambda found: found.part(key)) is BUSY:
            raise LayerUnavailable(f"group_discard: the channel {channel!r} is locked by a process that was stopped")

    def members(self) -> list[tuple[int, int, Store]]:
        """Number, key and store of all channels that may be a member of any group."""
        directory = self._client.site.directory
        version = directory.version
        if version != self._members_version:
            numbers = [(number, key) for number, key in directory.normals() if directory.is_member(number)]
            self._members = [(number, key, self._attach(number)) for number, key in numbers]
            self._members_version = version
        return self._members

    def push_to_member(self, found: Store, key: int, group: int, payload: bytes) -> str | None:
        """Append a group message if the channel is a member; None, or why not. Under its lock."""
        if not found.is_of(key) or not found.is_member(group):
            return None
        deadline = time.monotonic() + self._client.expiry
        return found.push(found.capacity, payload, deadline, self._ring)

    # The whole

    def all(self) -> list[tuple[int, Store]]:
        """Number and store of every normal channel."""
        return [(number, self._attach(number)) for number, _ in self._client.site.directory.normals()]

    async def discard(self, channel: str) -> None:
        """Drop what a channel holds, and its memberships."""
        count = await self._run_soon(channel, lambda found: found.clear())
        if count is BUSY:
            raise LayerUnavailable(f"the channel {channel!r} is locked by a process that was stopped")

    def close(self) -> None:
        """End all waits. Under the lock of the inbox."""
        self._times_closed += 1
        for waiters in self._waiters.values():
            waiters.wake_all()
        self._waiters.clear()
        self._stores.clear()
        self._ropes.clear()
        self._members.clear()
        self._members_version = self._ropes_version = -1


def _checked(found: Store, key: int, work: Callable[[Store], Any]) -> Any:
    return work(found) if found.is_of(key) else _MOVED
