"""The names that one process is subscribed to on one server: asked for once, and again on every new connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ...background import background_loop
from ..connection import Connection, pack
from ..refusals import refused

#: Called when the server has confirmed, or with the reason why it does not.
Confirmed = Callable[["Exception | None"], None]


#: Seconds for which a name may be subscribed to that is not wanted any more.
_LINGER = 0.05


class _Name:
    __slots__ = ("is_live", "waiting")

    def __init__(self) -> None:
        self.is_live = False
        self.waiting: list[Confirmed] = []


class Subscriptions:
    """What is wanted, and what the server has confirmed. Whoever calls a method holds the lock of the inbox, but for
    :meth:`renew`.
    """

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._names: dict[str, _Name] = {}
        self._unwanted: dict[str, None] = {}
        self._connection: Connection | None = None
        self._unasked = 0  # commands that its loop is still to ask

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def is_live(self, name: str) -> bool:
        """Whether the name is wanted, and the server has confirmed it."""
        entry = self._names.get(name)
        return entry is not None and entry.is_live and name not in self._unwanted

    def want(self, name: str, confirmed: Confirmed | None = None) -> bool:
        """Be subscribed; whether that is so by now. If not, ``confirmed`` is called when it is, without the lock."""
        entry = self._names.get(name)
        if name in self._unwanted:
            del self._unwanted[name]
        if entry is None:
            entry = self._names[name] = _Name()
            self._ask(b"SUBSCRIBE", name, entry)
        if not entry.is_live and confirmed is not None:
            entry.waiting.append(confirmed)
        return entry.is_live

    def drop(self, name: str) -> None:
        """Be subscribed no longer, unless the name is wanted again in a moment: as when a page is loaded again."""
        if name in self._names and name not in self._unwanted:
            self._unwanted[name] = None
            if len(self._unwanted) == 1:
                background = background_loop()
                background.call_soon_threadsafe(background.call_later, _LINGER, self._drop_unwanted)

    def _drop_unwanted(self) -> None:
        with self._lock:
            unwanted, self._unwanted = self._unwanted, {}
            for name in unwanted:
                self._ask(b"UNSUBSCRIBE", name, self._names.pop(name))

    def lose(self) -> None:
        """The connection has ended: nothing is live until there is another."""
        self._connection = None
        self._unasked = 0
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
        if connection is None:
            return
        if not self._unasked and not connection.closed and connection.loop is asyncio._get_running_loop():
            self._ask_now(connection, verb, name, entry)
        else:
            self._unasked += 1
            connection.soon(self._ask_later, connection, verb, name, entry)

    def _ask_later(self, connection: Connection, verb: bytes, name: str, entry: _Name) -> None:
        with self._lock:
            if connection is self._connection:
                self._unasked -= 1
        self._ask_now(connection, verb, name, entry)

    def _ask_now(self, connection: Connection, verb: bytes, name: str, entry: _Name) -> None:
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
