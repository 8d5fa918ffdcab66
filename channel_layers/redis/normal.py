"""Receiving on normal channels: every process takes from the same lists, and only what somebody there waits for.

One connection waits for all names at once, with ``BLPOP``. A list of the process's own comes first among its keys: to
push to it ends the waiting, so that it begins again with other names. What was popped and finds nobody waiting goes
back to the front of its list at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..background import background_loop
from .connection import Connection, pack
from .keys import Keys
from .unread import Popped, RemoteInbox

#: Seconds that the server waits for a message before it answers "none": so that a dead connection is noticed.
BLOCK = 4

_TIME = b"*1\r\n$4\r\nTIME\r\n"


class Queues:
    """Takes messages of normal channels from one server for those who wait in this process.

    :param ring: wakes the reader: it is asked to push to the key ``wake`` of this client. From any thread.
    :param put_back: gives elements back to the front of a channel's list, and calls back when that is done or has
        failed. From any thread.
    """

    def __init__(
        self,
        keys: Keys,
        client: str,
        inbox: RemoteInbox,
        ring: Callable[[], None],
        put_back: Callable[[str, list[bytes], Callable[[], None]], None],
    ) -> None:
        self._keys = keys
        self._wake_key = keys.wake(client)
        self._inbox = inbox
        self._ring = ring
        self._put_back = put_back
        self._connection: Connection | None = None
        # Channel -> how many wait for a message of it. Guarded by the lock of the inbox.
        self._wanted: dict[str, int] = {}
        # The names the server was asked for, while it has not answered; None while it was not asked.
        self._asked: tuple[str, ...] | None = None
        self._rung = False
        self._is_ending = False
        # Channels whose messages are on their way back: until they are there, the next one is not the oldest.
        self._returning: dict[str, int] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a normal channel."""
        return not self._wanted

    # Those who wait

    @contextmanager
    def wanting(self, channel: str) -> Iterator[None]:
        """Somebody waits for a message of this channel meanwhile."""
        with self._inbox.lock:
            self._wanted[channel] = self._wanted.get(channel, 0) + 1
        self._look_again()
        try:
            yield
        except GeneratorExit:
            # The coroutine was thrown away, perhaps while this very thread holds the lock.
            background_loop().call_soon_threadsafe(self._no_more, channel)
            raise
        except BaseException:
            self._no_more(channel)
            raise
        self._no_more(channel)

    def _no_more(self, channel: str) -> None:
        with self._inbox.lock:
            left = self._wanted.pop(channel) - 1
            if left:
                self._wanted[channel] = left
            elements = self._hold(channel, self._inbox.give_away(channel, left))
        self._return(channel, elements)
        self._look_again()

    def _hold(self, channel: str, elements: list[bytes]) -> list[bytes]:
        """Ask for no message of a channel until these are back. Under the lock."""
        if elements:
            self._returning[channel] = self._returning.get(channel, 0) + 1
        return elements

    def _return(self, channel: str, elements: list[bytes]) -> None:
        def done() -> None:
            with self._inbox.lock:
                left = self._returning.pop(channel) - 1
                if left:
                    self._returning[channel] = left
            self._look_again()

        if elements:
            self._put_back(channel, elements, done)

    def end(self) -> None:
        """Ask for nothing any more, and give back what was popped. Under the lock, which is still held afterwards."""
        self._is_ending = True
        for channel, elements in self._hold_all():
            background_loop().call_soon_threadsafe(self._return, channel, elements)

    def _hold_all(self) -> list[tuple[str, list[bytes]]]:
        return [(name, self._hold(name, self._inbox.give_away(name))) for name in self._inbox.popped()]

    async def until_all_is_back(self, patience: float) -> None:
        """Wait until the server has nothing to hand out to this process, and has back what it had handed out."""
        self.give_all_back()
        end = time.monotonic() + patience
        if self._asked is not None:
            self._ring()
        while self._is_busy() and time.monotonic() < end:  # noqa: ASYNC110 - once in a layer's life
            await asyncio.sleep(0.005)  # a round trip or two

    def _is_busy(self) -> bool:
        connection = self._connection
        is_asked = self._asked is not None and connection is not None and not connection.closed
        return is_asked or bool(self._returning)

    def give_all_back(self) -> None:
        """Give back what was popped and not taken."""
        with self._inbox.lock:
            held = self._hold_all()
        for channel, elements in held:
            self._return(channel, elements)

    # Asking the server

    def _names(self) -> list[str]:
        """The channels of which more is waited for than has been popped. Under the lock."""
        if self._is_ending:
            return []
        held, returning = self._inbox.held, self._returning
        return [name for name, count in self._wanted.items() if count > held(name) and name not in returning]

    def read(self, connection: Connection) -> None:
        """Read from this connection from now on; in the thread of its loop."""
        if connection is not self._connection:
            self._connection = connection
            self._asked = None
        self._ask(connection)  # also when it has only moved to another loop

    def _look_again(self) -> None:
        """The names have changed: let the reader ask anew. From any thread."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        with self._inbox.lock:
            asked = self._asked
            if asked is not None and set(asked) == set(self._names()):
                return
            if asked is not None:
                if self._rung:
                    return
                self._rung = True
        if asked is not None:
            self._ring()
        else:
            connection.soon(self._ask, connection)

    def ring_again(self) -> None:
        """The connection over which the reader was rung was lost, perhaps with the ring. From any thread."""
        if self._rung:
            self._ring()

    def _ask(self, connection: Connection) -> None:
        with self._inbox.lock:
            names = tuple(self._names())
            if connection is not self._connection or connection.closed or self._asked is not None or not names:
                return
            # Rotated, so that a busy channel does not starve the others: the server takes the first that has any.
            self._wanted[names[0]] = self._wanted.pop(names[0])
            self._asked = names
            self._rung = False
        keys = [self._keys.queue(name) for name in names]
        answer: list[Any] = []
        connection.ask(pack(b"BLPOP", self._wake_key, *keys, BLOCK), answer.append)
        connection.ask(_TIME, lambda now: self._popped(connection, answer[0], now))

    def _popped(self, connection: Connection, answer: Any, server_time: Any) -> None:
        if connection is not self._connection or connection.closed:
            return
        for reply in (answer, server_time):
            if isinstance(reply, Exception):
                connection.fail(reply)
                return
        if answer is not None and answer[0].decode() != self._wake_key:
            channel = answer[0].decode().removeprefix(self._keys.queue(""))
            left = self._deliver(channel, [answer[1]], server_time)
            if left > 0:  # serve them all in one round trip
                elements: list[Any] = []
                connection.ask(pack(b"LPOP", self._keys.queue(channel), left), elements.append)
                connection.ask(_TIME, lambda now: self._popped_more(connection, channel, elements[0], now))
                return
        self._ask_again(connection)

    def _popped_more(self, connection: Connection, channel: str, elements: Any, server_time: Any) -> None:
        if isinstance(elements, Exception) or isinstance(server_time, Exception):
            connection.fail(elements if isinstance(elements, Exception) else server_time)
            return
        if elements:
            self._deliver(channel, elements, server_time)
        self._ask_again(connection)

    def _ask_again(self, connection: Connection) -> None:
        with self._inbox.lock:
            self._asked = None
        # Not now: who was served is likely to wait again in a moment.
        connection.soon(connection.soon, self._ask, connection)

    def _deliver(self, channel: str, elements: list[bytes], server_time: Any) -> int:
        """Hand messages to those who wait, or back to the server; how many still wait."""
        inbox = self._inbox
        server_ms = int(server_time[0]) * 1000 + int(server_time[1]) // 1000
        lifetime = time.monotonic() + inbox.expiry
        with inbox.lock:
            if self._is_ending or channel not in self._wanted:
                unwanted = self._hold(channel, elements)
            else:
                unwanted = []
                for element in elements:
                    written, _, payload = element.partition(b":")
                    age = max(0, server_ms - int(written)) / 1000
                    inbox.deliver_popped(channel, Popped(element, payload), lifetime - age)
            left = self._wanted.get(channel, 0) - inbox.held(channel)
        self._return(channel, unwanted)
        if inbox.drops.unwritten:
            inbox.drops.write()
        return left
