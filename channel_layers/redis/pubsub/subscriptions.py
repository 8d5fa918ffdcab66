"""The names that one process is subscribed to on one server: asked for once, and again on every new connection."""

from __future__ import annotations

import asyncio
from collections import deque
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
        self.waiting: dict[Confirmed, None] = {}


class Subscriptions:
    """What is wanted, and what the server has confirmed. Whoever calls a method holds the lock of the inbox, but for
    :meth:`renew`, :meth:`ask_now` and :meth:`drop_unwanted`.
    """

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._names: dict[str, _Name] = {}
        self._unwanted: dict[str, None] = {}
        self._connection: Connection | None = None
        # What the connection is to be asked, oldest first.
        self._unasked: deque[tuple[bytes, str, _Name]] = deque()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def is_live(self, name: str) -> bool:
        """Whether the name is wanted, and the server has confirmed it."""
        entry = self._names.get(name)
        return entry is not None and name not in self._unwanted and self._is_live(entry)

    def want(self, name: str, confirmed: Confirmed | None = None) -> bool:
        """Be subscribed; whether that is so by now. If not, ``confirmed`` is called when it is, without the lock."""
        entry = self._names.get(name)
        if name in self._unwanted:
            del self._unwanted[name]
        if entry is None:
            entry = self._names[name] = _Name()
            self._ask(b"SUBSCRIBE", name, entry)
        is_live = self._is_live(entry)
        if not is_live and confirmed is not None:
            entry.waiting[confirmed] = None
        return is_live

    def wait_no_longer(self, name: str, confirmed: Confirmed) -> None:
        """Do not call back: nobody waits for it any more."""
        entry = self._names.get(name)
        if entry is not None:
            entry.waiting.pop(confirmed, None)

    def _is_live(self, entry: _Name) -> bool:
        # A connection may have ended that nobody has told of yet.
        return entry.is_live and self._connection is not None and not self._connection.closed

    def drop(self, name: str) -> None:
        """Be subscribed no longer, unless the name is wanted again in a moment: as when a page is loaded again."""
        if name in self._names and name not in self._unwanted:
            self._unwanted[name] = None
            if len(self._unwanted) == 1:
                background = background_loop()
                background.call_soon_threadsafe(background.call_later, _LINGER, self.drop_unwanted)

    def drop_unwanted(self) -> None:
        """Be subscribed no longer to what was dropped and is not wanted again. Without the lock."""
        with self._lock:
            unwanted, self._unwanted = self._unwanted, {}
            for name in unwanted:
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
        if connection is None:
            return
        self._unasked.append((verb, name, entry))
        if connection.loop is asyncio._get_running_loop() and not connection.closed:
            self.ask_now(connection)
        else:
            connection.soon(self.ask_now, connection)

    def ask_now(self, connection: Connection) -> None:
        """Ask for what was wanted and dropped; in the thread of the connection's loop. Without the lock, unless the
        connection lives: of one that has ended, one hears at once. Also called when it has moved to another loop: the
        one before may have ended when it was told, and did nothing.
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
                waiting: dict[Confirmed, None] = {}
                if entry.is_live or (error is not None and not connection.closed):
                    waiting, entry.waiting = entry.waiting, {}
                if error is not None and also is None and not connection.closed and self._names.get(name) is entry:
                    del self._names[name]  # whoever wants it again asks again
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
        if not self._future.done():  # as a result: nobody may wait any more
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
