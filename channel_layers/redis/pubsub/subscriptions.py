"""The names that one process is subscribed to on one server: asked for once, and again on every new connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..connection import Connection, pack
from ..refusals import refused

#: Called when the server has confirmed, or with the reason why it does not.
Confirmed = Callable[["Exception | None"], None]


class _Name:
    __slots__ = ("is_live", "waiting")

    def __init__(self) -> None:
        self.is_live = False
        self.waiting: list[Confirmed] = []


class Subscriptions:
    """What is wanted, and what the server has confirmed. Whoever calls a method holds the lock of the inbox, but for
    :meth:`renew` and :meth:`ask_now`.
    """

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._names: dict[str, _Name] = {}
        self._connection: Connection | None = None
        # What the connection is to be asked, oldest first.
        self._unasked: deque[tuple[bytes, str, _Name]] = deque()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def want(self, name: str, confirmed: Confirmed | None = None) -> bool:
        """Be subscribed; whether that is so by now. If not, ``confirmed`` is called when it is, without the lock."""
        entry = self._names.get(name)
        if entry is None:
            entry = self._names[name] = _Name()
            self._ask(b"SUBSCRIBE", name, entry)
        # A connection may have ended that nobody has told of yet.
        is_live = entry.is_live and self._connection is not None and not self._connection.closed
        if not is_live and confirmed is not None:
            entry.waiting.append(confirmed)
        return is_live

    def drop(self, name: str) -> None:
        """Be subscribed no longer."""
        entry = self._names.pop(name, None)
        if entry is not None:
            self._ask(b"UNSUBSCRIBE", name, entry)

    def lose(self) -> None:
        """The connection has ended: nothing is live until there is another."""
        self._connection = None
        self._unasked.clear()
        for entry in self._names.values():
            entry.is_live = False

    async def renew(self, connection: Connection) -> None:
        """Subscribe to everything on a new connection of the running loop, and wait until all of it is live.

        :raises RedisUnavailable: if the server is away, or refuses.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            self.lose()
            self._connection = connection
            left = len(self._names)
            done: asyncio.Future[None] = loop.create_future()

            def one_less(error: Exception | None) -> None:
                nonlocal left
                left -= 1
                if done.done():
                    return
                if error is not None:
                    done.set_exception(error)
                elif not left:
                    done.set_result(None)

            for name, entry in self._names.items():
                self._subscribe(connection, name, entry, one_less)
        if left:
            await done

    def _ask(self, verb: bytes, name: str, entry: _Name) -> None:
        # In the order of the calls, from whatever thread: the last one for a name is what holds.
        connection = self._connection
        if connection is not None:
            self._unasked.append((verb, name, entry))
            connection.soon(self.ask_now, connection)

    def ask_now(self, connection: Connection) -> None:
        """Ask for what was wanted and dropped. Without the lock, in the thread of the connection's loop, also when it
        has moved there: a loop that had ended was told before, and did nothing.
        """
        while connection is self._connection and self._unasked:
            with suppress(IndexError):  # it was lost at this moment
                verb, name, entry = self._unasked.popleft()
                if verb == b"SUBSCRIBE":
                    self._subscribe(connection, name, entry)
                else:
                    connection.ask(pack(verb, name), _ignored)

    def _subscribe(self, connection: Connection, name: str, entry: _Name, also: Confirmed | None = None) -> None:
        def settle(reply: Any) -> None:
            error = None
            if isinstance(reply, Exception):
                error = refused(connection, reply, "SUBSCRIBE")
            with self._lock:
                if error is None and connection is self._connection:
                    entry.is_live = True
                # Of a connection that is lost, who waits waits on: all is asked again on the next.
                waiting: list[Confirmed] = []
                if entry.is_live or (error is not None and not connection.closed):
                    waiting, entry.waiting = entry.waiting, []
            for confirmed in waiting:
                confirmed(error)
            if also is not None:
                also(error)

        connection.ask(pack(b"SUBSCRIBE", name), settle)


class Confirmation:
    """Waits in the running loop for what is confirmed in any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Exception | None] = self._loop.create_future()

    def settle(self, error: Exception | None = None) -> None:
        with suppress(RuntimeError):  # that loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: Exception | None) -> None:
        if not self._future.done():
            self._future.set_result(error)

    async def came(self, seconds: float) -> bool:
        """Whether it came within so many seconds.

        :raises Exception: that with which it was refused.
        """
        done, _ = await asyncio.wait({self._future}, timeout=seconds)
        if done and (error := self._future.result()) is not None:
            raise error
        return bool(done)


def _ignored(_: Any) -> None:
    return None
