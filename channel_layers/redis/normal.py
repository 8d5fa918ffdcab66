"""Receiving on normal channels: every process takes from the same lists, and only what somebody there waits for.

One connection waits for all names at once, with ``BLPOP``. A list of the process's own comes first among its keys: to
push to it ends the waiting, so that it begins again with other names. What was popped and finds nobody waiting goes
back to the front of its list at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..background import background_loop
from .connection import Connection, pack
from .keys import Keys
from .unread import Popped, RedisInbox

#: Seconds that the server waits for a message before it answers "none": so that a dead connection is noticed.
BLOCK = 4

_TIME = b"*1\r\n$4\r\nTIME\r\n"


class NormalChannels:
    """Those who wait for messages of normal channels in this process.

    :param queues: where they are taken from, one for each server: every server may hold a part of a channel.
    """

    def __init__(self, inbox: RedisInbox, queues: Sequence[Queues]) -> None:
        self._inbox = inbox
        self._queues = queues
        # Channel -> how many wait for a message of it. Guarded by the lock of the inbox.
        self._wanted: dict[str, int] = {}
        for each in queues:
            each.wanted = self._wanted
        self._will_look = False
        inbox.on_drop = self._note_drop

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
            unwanted = self._take_back(channel, left)
        _return_each(unwanted)
        self._look_again()

    def _look_again(self) -> None:
        for each in self._queues:
            each.look_again()

    def _note_drop(self, channel: str) -> None:
        """What was popped for somebody has expired here, say: nothing is asked for, and he waits on. Under the lock."""
        if channel in self._wanted and not self._will_look:
            self._will_look = True
            background_loop().call_soon_threadsafe(self._look_after_drop)

    def _look_after_drop(self) -> None:
        with self._inbox.lock:
            self._will_look = False
        self._look_again()

    def _take_back(self, channel: str, keep: int = 0) -> list[tuple[Queues, str, list[bytes]]]:
        """What was popped for a channel and nobody waits for, by where it belongs. Under the lock."""
        elements: dict[Queues, list[bytes]] = {}
        for popped in self._inbox.give_away(channel, keep):
            elements.setdefault(popped.source, []).append(popped.element)
        for source in elements:
            source.hold(channel)
        return [(source, channel, each) for source, each in elements.items()]

    def end(self) -> None:
        """Ask for nothing any more, and give back what was popped. Under the lock, which is still held afterwards."""
        for each in self._queues:
            each.is_ending = True
        unwanted = [each for channel in self._inbox.popped() for each in self._take_back(channel)]
        background_loop().call_soon_threadsafe(_return_each, unwanted)

    def give_all_back(self) -> None:
        """Give back what was popped and not taken."""
        with self._inbox.lock:
            unwanted = [each for channel in self._inbox.popped() for each in self._take_back(channel)]
        _return_each(unwanted)


def _return_each(unwanted: list[tuple[Queues, str, list[bytes]]]) -> None:
    for source, channel, elements in unwanted:
        source.give_back(channel, elements)


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
        inbox: RedisInbox,
        ring: Callable[[], None],
        put_back: Callable[[str, list[bytes], Callable[[], None]], None],
    ) -> None:
        self._keys = keys
        self._wake_key = keys.wake(client)
        self._inbox = inbox
        self._ring = ring
        self._put_back = put_back
        self._connection: Connection | None = None
        #: Channel -> how many wait for a message of it, from whatever server.
        self.wanted: dict[str, int] = {}
        self.is_ending = False
        # The names the server was asked for, while it has not answered; None while it was not asked.
        self._asked: tuple[str, ...] | None = None
        self._rung = False
        # Channels whose messages are on their way back: until they are there, the next one is not the oldest.
        self._returning: dict[str, int] = {}

    # Giving back

    def hold(self, channel: str) -> None:
        """Ask for no message of a channel until :meth:`give_back` has given some back. Under the lock."""
        self._returning[channel] = self._returning.get(channel, 0) + 1

    def give_back(self, channel: str, elements: list[bytes]) -> None:
        """Put elements back to the front of their list."""

        def done() -> None:
            with self._inbox.lock:
                left = self._returning.pop(channel) - 1
                if left:
                    self._returning[channel] = left
            self.look_again()

        self._put_back(channel, elements, done)

    async def until_all_is_back(self, patience: float) -> None:
        """Wait until the server has nothing to hand out to this process, and has back what it had handed out."""
        end = time.monotonic() + patience
        if self._asked is not None:
            self._ring()
        while self._is_busy() and time.monotonic() < end:  # noqa: ASYNC110 - once in a layer's life
            await asyncio.sleep(0.005)  # a round trip or two

    def _is_busy(self) -> bool:
        connection = self._connection
        is_asked = self._asked is not None and connection is not None and not connection.closed
        return is_asked or bool(self._returning)

    # Asking the server

    def _names(self) -> list[str]:
        """The channels of which more is waited for than has been popped. Under the lock."""
        if self.is_ending:
            return []
        held, returning = self._inbox.held, self._returning
        return [name for name, count in self.wanted.items() if count > held(name) and name not in returning]

    def read(self, connection: Connection) -> None:
        """Read from this connection from now on; in the thread of its loop."""
        if connection is not self._connection:
            self._connection = connection
            self._asked = None
        self._ask(connection)  # also when it has only moved to another loop

    def look_again(self) -> None:
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
            self.wanted[names[0]] = self.wanted.pop(names[0])
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
            is_unwanted = self.is_ending or channel not in self.wanted
            if is_unwanted:
                self.hold(channel)
            else:
                for element in elements:
                    written, _, payload = element.partition(b":")
                    if written.isdigit():
                        age = max(0, server_ms - int(written)) / 1000
                        inbox.deliver_popped(channel, Popped(element, payload, self), lifetime - age)
                    else:  # whoever wrote it was none of us
                        inbox.miss(channel, "malformed")
            left = self.wanted.get(channel, 0) - inbox.held(channel)
        if is_unwanted:
            self.give_back(channel, elements)
        if inbox.drops.unwritten:
            inbox.drops.write()
        return left
