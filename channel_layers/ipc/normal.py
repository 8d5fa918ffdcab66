"""Normal channels, as one client uses them: sending to the stores, and waiting at them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..exceptions import LayerClosed, LayerUnavailable, MessageTooLarge
from ..waiters import Waiters
from .locks import BUSY
from .mailbox import FULL, NO_ROOM, TOO_LARGE, channel_full
from .ropes import Ropes
from .store import CRAMPED, Store
from .stores import MOVED, Stores
from .wakeup import EVERY

if TYPE_CHECKING:
    from .client import Client

#: Stands for the name of a channel of which only the hash is known.
NAMELESS = "a normal channel"


class NormalChannels:
    """The normal channels of a site, for one client, which has joined it whenever a method is called."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiters: dict[str, Waiters] = {}
        self.stores = Stores(client, self._waiters, self._note_expired)
        # Number of a store -> channels at which this client has waited there: whom a ring with that number may concern.
        self._channels_at: dict[int, set[str]] = {}
        self._slot: int | None = None  # in which this client has waited, also while it is being closed
        # What could not be done where it was found, and is done by the next operation. Waits whose coroutine was thrown
        # away while the inbox was locked, and whether they were woken; channels whose lock was busy when the last wait
        # there ended; channels in which messages expired, and how many.
        self._abandoned: deque[tuple[str, asyncio.Future[None], bool]] = deque()
        self._marked: set[str] = set()
        self._expired: deque[tuple[str, int]] = deque()
        self._ropes = Ropes(client)
        self._times_closed = 0

    # Sending

    def send(self, channel: str, payload: bytes, capacity: int) -> Coroutine[Any, Any, None] | None:
        """Append a message, or raise what ``send`` raises."""
        deadline = time.monotonic() + self._client.expiry
        if self._ropes.silent:
            self._ropes.bury_silent()

        def push(found: Store) -> str | None:
            return self.push(found, capacity, payload, deadline, channel)

        outcome = self.stores.run(channel, push, len(payload))
        if self._expired or self._client.inbox.drops.unwritten:
            self._settle()
        if outcome is None:
            return None
        if outcome is BUSY:
            return self._send_later(channel, payload, capacity, push)
        raise self._error(outcome, channel, capacity, payload)

    async def _send_later(self, channel: str, payload: bytes, capacity: int, push: Callable[[Store], Any]) -> None:
        outcome = await self.stores.run_soon(channel, push, len(payload))
        self._settle()
        if outcome is not None:
            raise self._error(outcome, channel, capacity, payload)

    def _error(self, outcome: Any, channel: str, capacity: int, payload: bytes) -> Exception:
        if outcome is TOO_LARGE:
            return MessageTooLarge(len(payload), self.stores.find(channel)[2].most, "encoded")
        return channel_full(channel, capacity, outcome)

    def push(self, found: Store, capacity: int, payload: bytes, deadline: float, channel: str) -> str | None:
        """Append a message; None, or why not. Under the lock of the channel."""
        outcome = found.push(capacity, payload, deadline, self._ropes.ring)
        if outcome is FULL or outcome is NO_ROOM or outcome is CRAMPED:
            expired = found.expire()
            if expired:
                self._note_expired(expired, channel)
                outcome = found.push(capacity, payload, deadline, self._ropes.ring)
        return outcome

    # Receiving

    def claim(self, channel: str) -> bytes | None:
        """Take the oldest message; None if there is none, or the channel is locked now."""
        result = self.stores.run(channel, lambda found: found.take(None))
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
                # Without a reader there is no bell that could wake this: the layer was closed just before it began.
                if self._times_closed != times_closed or self._client.reader is None:
                    raise LayerClosed(f"the layer was closed while receive({channel!r}) waited")
                self._tidy()
                self._slot = self._client.slot
                waiters = self._waiters.setdefault(channel, Waiters())
                future = waiters.add(at_front=woken)
            try:
                # First the future, then the look: who pushes after the look rings, and finds the future.
                result = await self.stores.run_soon(channel, lambda found: self._take(found, channel))
                if result is not BUSY:
                    payload = self._counted(channel, *result)
                    if payload is not None:
                        # More may have come since the bell rang, and nobody rings for those until somebody has found
                        # nothing: so the next one looks.
                        self._go(channel, future, wakes_next=woken)
                        return payload
                    await future
                woken = True
            except GeneratorExit:
                # The garbage collector may run anywhere: also where this very thread holds the lock.
                if inbox.lock.acquire(blocking=False):
                    try:
                        self._leave(channel, future, woken)
                    finally:
                        inbox.lock.release()
                else:
                    self._abandoned.append((channel, future, woken))
                raise
            except BaseException:
                self._go(channel, future, wakes_next=woken)
                raise
            if result is BUSY:
                self._go(channel, future)

    def _take(self, found: Store, channel: str) -> tuple[bytes | None, int]:
        """Take the oldest message, or wait for the bell. Under the lock of the channel, as who rings is: so whoever
        hears it knows for what.
        """
        self._channels_at.setdefault(found.number, set()).add(channel)
        return found.take(self._client.slot)

    def _counted(self, channel: str, payload: bytes | None, expired: int) -> bytes | None:
        inbox = self._client.inbox
        with inbox.lock:
            self._tidy()
            if payload is not None:
                inbox.arrived += 1
                inbox.delivered += 1
            self._count_expired(channel, expired)
        if inbox.drops.unwritten:
            inbox.drops.write()
        return payload

    def _go(self, channel: str, future: asyncio.Future[None], wakes_next: bool = False) -> None:
        with self._client.inbox.lock:
            self._leave(channel, future, wakes_next)

    def _leave(self, channel: str, future: asyncio.Future[None], wakes_next: bool) -> None:
        """End a wait. Under the lock of the inbox."""
        waiters = self._waiters.get(channel)
        if waiters is None:
            return
        was_waiting = waiters.remove(future)  # if not, it was woken for a message that it does not take
        if (wakes_next or not was_waiting) and waiters.any():
            waiters.wake()
        if not waiters.any():
            self._waiters.pop(channel, None)
            self._unmark(channel)

    def _unmark(self, channel: str) -> None:
        """Nobody of this client waits at a channel any more. Under the lock of the inbox, so that nobody begins to."""
        slot, known = self._slot, self.stores.known(channel)
        if known is not None:
            self._channels_at.get(known[1], set()).discard(channel)
        if slot is None or known is None or not known[2].is_waiting(slot):
            return
        with suppress(LayerUnavailable):  # closed meanwhile: then its slot is free, and the mark means nothing
            if self.stores.run_known(known, lambda found: found.end_wait(slot)) is BUSY:
                self._marked.add(channel)

    # What was left to do

    def catch_up(self) -> None:
        """Do what an operation before could not do where it was found."""
        if self._ropes.silent:
            self._ropes.bury_silent()
        if self._expired or self._client.inbox.drops.unwritten:
            self._settle()

    def _tidy(self) -> None:
        """Under the lock of the inbox."""
        while self._abandoned:
            self._leave(*self._abandoned.popleft())
        while self._expired:
            self._count_expired(*self._expired.popleft())
        if self._marked:
            marked, self._marked = self._marked, set()
            for channel in marked:
                if channel not in self._waiters:
                    self._unmark(channel)

    def _settle(self) -> None:
        inbox = self._client.inbox
        with inbox.lock:
            self._tidy()
        if inbox.drops.unwritten:
            inbox.drops.write()

    def _count_expired(self, channel: str, count: int) -> None:
        inbox = self._client.inbox
        for _ in range(count):
            inbox.arrived += 1
            inbox._drop("expired", channel)

    def _note_expired(self, count: int, channel: str = NAMELESS) -> None:
        """Count messages that this client has dropped. Under the lock of a channel, where nobody waits for another."""
        self._expired.append((channel, count))
        inbox = self._client.inbox
        if inbox.lock.acquire(blocking=False):
            try:
                while self._expired:
                    self._count_expired(*self._expired.popleft())
            finally:
                inbox.lock.release()

    def wake(self, rung: set[int]) -> bool:
        """Wake those for whom there is something; False if a channel was locked. Under the lock of the inbox.

        Who pushes rings first. So the look is under the lock of the channel: when the bell is heard, the message may
        not be there yet, and after a death it never will.

        :param rung: the channels that were rung for; those that were looked at are taken out.
        """
        self._tidy()
        busy = set()
        while rung:
            number = rung.pop()
            if number == EVERY:
                rung.update(tuple(self._channels_at))
            elif not all(self._look(channel) for channel in tuple(self._channels_at.get(number, ()))):
                busy.add(number)
            for channel in tuple(self._channels_at.get(number, ())):
                if channel not in self._waiters:
                    self._channels_at[number].discard(channel)
        rung.update(busy)
        return not busy

    def _look(self, channel: str) -> bool:
        """Wake as many as there are messages for; False if the channel is locked."""
        waiters, slot = self._waiters.get(channel), self._client.slot
        if waiters is None:
            return True
        known = self.stores.known(channel)
        count: Any = MOVED
        if known is not None and slot is not None:
            count = self.stores.run_known(known, lambda store: store.look(slot))
        if count is BUSY:
            return False
        for _ in range(1 if count is MOVED else count):
            if not waiters.any():
                break
            waiters.wake()
        return True

    # The whole

    def all(self) -> list[tuple[int, Store]]:
        """Number and store of every normal channel."""
        normals = self._client.site.look(self._client.site.directory.normals)
        return [(number, self.stores.attach(number)) for number, _ in normals]

    async def discard(self, channel: str) -> None:
        """Drop what a channel holds, and its memberships."""
        if not self.stores.exists(channel):
            return
        if await self.stores.run_soon(channel, lambda found: found.clear()) is BUSY:
            raise LayerUnavailable(f"the channel {channel!r} is locked by a process that was stopped")

    def close(self) -> None:
        """End all waits. Under the lock of the inbox."""
        self._times_closed += 1
        self._tidy()
        for channel, waiters in self._waiters.items():
            waiters.wake_all()
            self._unmark(channel)
        self._waiters.clear()
        self._channels_at.clear()
        self.stores.forget()
        self._marked.clear()
        self._ropes.forget()
        self._slot = None
