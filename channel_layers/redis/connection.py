"""One connection to a Redis server: commands go out together, replies are handed on in their order.

All that is asked in one turn of the event loop goes out in one write: this, and not Redis, is where most of the speed
lies. A connection belongs to one loop at a time and is used in that loop's thread only; it can move to another loop
with all that is still unanswered.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

try:
    import hiredis
except ImportError:  # the module can be imported without its extra; a layer cannot be built
    hiredis = None  # type: ignore[assignment]

from .errors import RedisUnavailable

Reply = Callable[[Any], None]

_READ_SIZE = 1 << 18
_LATER = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """A socket with the commands that wait for their reply.

    :param sock: connected, authenticated, non-blocking.
    :param server: its name, for errors.
    :param patience: seconds that a reply may take, after which the server counts as away.
    :param lost: called once, in the loop's thread, when the connection has ended other than by :meth:`close`.
    """

    def __init__(
        self, sock: socket.socket, server: str, patience: float, lost: Callable[[Connection, Exception], None]
    ) -> None:
        self.server = server
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False
        self._sock = sock
        self._fd = sock.fileno()
        self._patience = patience
        self._lost = lost
        self._parser = hiredis.Reader()
        self._waiting: deque[Reply] = deque()
        self._out: list[bytes] = []
        self._unsent = b""
        self._asked = 0
        self._answered = 0
        # When the commands up to a number were written, oldest first: only as many as are unanswered.
        self._written: deque[tuple[int, float]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        # What is to be called when a loop drives the connection again.
        self._deferred: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    # Belonging to a loop

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Be driven by this loop from now on. Call it in the loop's thread."""
        if self.closed:
            return
        self.loop = loop
        loop.add_reader(self._fd, self._readable, loop)
        if self._unsent:
            loop.add_writer(self._fd, self._writable)
        if self._out:
            loop.call_soon(self._flush)
        if self._waiting:
            if self._watch is not None:
                self._watch.cancel()
            self._watch_replies()
        self._call_deferred()

    def detach(self) -> None:
        """Be driven by no loop. Call it in the loop's thread, or when that loop does not run any more."""
        loop, self.loop = self.loop, None
        if loop is None or self.closed:
            return
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if not loop.is_closed():
            loop.remove_reader(self._fd)
            loop.remove_writer(self._fd)

    # Asking

    def ask(self, command: bytes, reply: Reply) -> None:
        """Send an encoded command with all others of this turn of the loop; its reply goes to ``reply``.

        An error reply is handed on as a ``hiredis.ReplyError``, the end of the connection as a ``RedisUnavailable``.
        """
        if self.closed:
            reply(RedisUnavailable(f"the connection to {self.server} is closed"))
            return
        out = self._out
        if not out and self.loop is not None:
            self.loop.call_soon(self._flush)
        out.append(command)
        self._waiting.append(reply)
        self._asked += 1

    def soon(self, call: Callable[..., None], *args: Any) -> None:
        """Call a function in the thread of the loop that drives the connection, in its next turn. From any thread."""
        loop = self.loop
        if loop is None:
            self._deferred.append((call, args))
            if self.loop is not None:  # it was attached this very moment
                self._call_deferred()
        elif asyncio._get_running_loop() is loop:
            loop.call_soon(self._call_here, call, args)
        else:
            with suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(self._call_here, call, args)

    def _call_here(self, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if asyncio._get_running_loop() is self.loop:
            call(*args)
        elif not self.closed:
            self.soon(call, *args)

    def _call_deferred(self) -> None:
        while self._deferred:
            with suppress(IndexError):  # another thread may be at it
                call, args = self._deferred.popleft()
                self.soon(call, *args)

    async def answer(self, *command: Any) -> Any:
        """Ask, and wait for the reply; an error reply is raised."""
        return await self.answer_to(pack(*command))

    def answer_to(self, command: bytes) -> asyncio.Future[Any]:
        """The reply to an encoded command, in the future; an error reply is raised there."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(reply: Any) -> None:
            if future.done():
                return
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.ask(command, settle)
        return future

    def _flush(self) -> None:
        if not self._out or self.closed:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        loop = self.loop
        if loop is not None:
            self._written.append((self._asked, loop.time()))
            if self._watch is None:
                self._watch_replies()
        if self._unsent:
            self._unsent += data
        else:
            self._write(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._sock.send(view) :]
        except _LATER:
            self._unsent = bytes(view)
            if self.loop is not None:
                self.loop.add_writer(self._fd, self._writable)
        except OSError as error:
            self._end(error)

    def _writable(self) -> None:
        data, self._unsent = self._unsent, b""
        if self.loop is not None:
            self.loop.remove_writer(self._fd)
        self._write(data)

    # Replies

    def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self.loop:  # a loop that had stopped, and runs again after the connection moved away
            loop.remove_reader(self._fd)
            return
        try:
            while True:
                data = self._sock.recv(_READ_SIZE)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                self._parser.feed(data)
                # A TLS socket may hold more than the selector knows of.
                if len(data) < _READ_SIZE and not isinstance(self._sock, ssl.SSLSocket):
                    break
        except _LATER:
            pass
        except OSError as error:
            self._hand_on()
            self._end(error)
            return
        self._hand_on()

    def _hand_on(self) -> None:
        parse, waiting = self._parser.gets, self._waiting
        try:
            reply = parse()
            while reply is not False:
                self._answered += 1
                waiting.popleft()(reply)
                reply = parse()
        except (hiredis.HiredisError, IndexError) as error:
            self._end(error)
        written = self._written
        while written and written[0][0] <= self._answered:
            written.popleft()

    def _watch_replies(self) -> None:
        """End the connection if the oldest command has waited too long, otherwise look again when it would have."""
        loop, self._watch = self.loop, None
        if loop is None or self.closed or not self._waiting:
            return
        left = self._patience
        if self._written:
            left += self._written[0][1] - loop.time()
        if left <= 0:
            self._end(TimeoutError(f"no reply within {self._patience:g} s"))
        else:
            self._watch = loop.call_later(left, self._watch_replies)

    # The end

    def close(self) -> None:
        """End the connection; what was asked and not answered gets a ``RedisUnavailable``."""
        self._close(RedisUnavailable(f"the connection to {self.server} was closed"))

    def fail(self, error: Exception) -> None:
        """End the connection because of a reply that it cannot go on after; it is made anew."""
        self._end(error)

    def abandon(self) -> None:
        """Close the socket and nothing else: after a fork it is the parent's, and so is the loop."""
        self.closed = True
        self._sock.close()

    def _end(self, error: Exception) -> None:
        if not self.closed:
            away = RedisUnavailable(f"Redis at {self.server} is away: {error}")
            away.__cause__ = error
            self._close(away)
            self._lost(self, away)

    def _close(self, reason: RedisUnavailable) -> None:
        if self.closed:
            return
        self.detach()
        self.closed = True
        with suppress(OSError):
            self._sock.close()
        waiting, self._waiting = self._waiting, deque()
        self._out.clear()
        for reply in waiting:
            reply(reason)


def pack(*command: Any) -> bytes:
    """A command in the protocol of Redis. Arguments are ``bytes``, ``str``, ``int`` or ``float``."""
    packed: bytes = hiredis.pack_command(command)
    return packed
