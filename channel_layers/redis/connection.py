"""One connection to a Redis server: commands go out together, replies are handed on in their order.

All that is asked in one turn of the event loop goes out in one write: this, and not Redis, is where most of the speed
lies. A connection belongs to one loop at a time and is used in that loop's thread only; it can move to another loop
with all that is still unanswered.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

try:
    import hiredis
except ImportError:  # the module can be imported without its extra; a layer cannot be built
    hiredis = None  # type: ignore[assignment]

from ..home import stop_watching
from ..statistics import logger
from .errors import RedisUnavailable
from .futures import end
from .patience import Patience
from .vigil import Vigil

Reply = Callable[[Any], None]

#: Bytes: for more than 128 KiB, the allocator may ask the system for memory at every reading.
_READ_SIZE = 1 << 16
_LATER = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

#: What servers before 7.0 put before the error of a command that a script called.
_IN_SCRIPT = re.compile(r"ERR Error running script .*?: -(?=[A-Z]+ )")


def _reply_error(text: str) -> Exception:
    error: Exception = hiredis.ReplyError(_IN_SCRIPT.sub("", text))
    return error


class Connection:
    """A socket with the commands that wait for their reply.

    :param sock: connected, authenticated, non-blocking.
    :param server: its name, for errors.
    :param patience: seconds for which a server may owe a reply and say nothing; then it counts as away.
    :param lost: called once, in the loop's thread, when the connection has ended other than by :meth:`close`.
    """

    def __init__(
        self, sock: socket.socket, server: str, patience: float, lost: Callable[[Connection, Exception], None]
    ) -> None:
        self.server = server
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False
        # The loop that drives it, or did so last: where those who asked are told of the end.
        self._latest_loop: asyncio.AbstractEventLoop | None = None
        self._sock = sock
        _all.add(self)
        self._fd = sock.fileno()
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._lost = lost
        self._parser = hiredis.Reader(replyError=_reply_error)
        self._waiting: deque[Reply] = deque()
        self._out: list[bytes] = []
        self._unsent: deque[bytes | memoryview] = deque()
        self._gathered: Callable[[], None] | None = None
        self._is_flush_due = False
        self._is_held = False
        self._asked = 0
        self._answered = 0
        self._patience = Patience(patience, self._waiting, self._end)
        self._vigil = Vigil(self._waiting)
        # What is to be called when a loop drives the connection again.
        self._deferred: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    # Belonging to a loop

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Be driven by this loop from now on. Call it in the loop's thread."""
        if self.closed:
            return
        self.loop = self._latest_loop = loop
        loop.add_reader(self._fd, self._readable, loop)
        if self._unsent:
            loop.add_writer(self._fd, self._writable)
        if self._out or self._gathered is not None:
            self._flush_soon()
        self._patience.begin_anew(loop)
        self._call_deferred()

    def detach(self) -> None:
        """Be driven by no loop. Call it in the loop's thread, or when that loop does not run any more."""
        loop, self.loop = self.loop, None
        self._is_flush_due = False
        if loop is None or self.closed:
            return
        self._patience.stop()
        stop_watching(loop, self._fd)

    # Asking

    def ask(self, command: bytes, reply: Reply) -> None:
        """Send an encoded command with all others of this turn of the loop; its reply goes to ``reply``.

        An error reply is handed on as a ``hiredis.ReplyError``, the end of the connection as a ``RedisUnavailable``.
        """
        if self.closed:
            reply(RedisUnavailable(f"the connection to {self.server} is closed"))
            return
        if self._gathered is not None:
            self._let_go()
        if not self._is_flush_due:
            self._flush_soon()
        self._out.append(command)
        self._waiting.append(reply)
        self._asked += 1

    @property
    def is_idle(self) -> bool:
        """Whether nothing is unanswered: then it is pointless to wait for more to send."""
        return not self._waiting and self._gathered is None

    def gather(self, emit: Callable[[], None]) -> None:
        """Call back before the next command, or at the end of this turn of the loop: more may come together."""
        self._gathered = emit
        if self.closed:
            self.soon(self._let_go)
        elif not self._is_flush_due:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if self.loop is not None:
            self._is_flush_due = True
            self.loop.call_soon(self._flush_now, self.loop)

    def _flush_now(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is self.loop:  # it may have moved to another loop meanwhile
            self.flush()

    def _let_go(self) -> None:
        emit, self._gathered = self._gathered, None
        if emit is not None:
            emit()

    def soon(self, call: Callable[..., None], *args: Any) -> None:
        """Call a function in the thread of the loop that drives the connection, in its next turn. From any thread.

        After the end, too: somebody may wait for what the function does, if only to hear that it was in vain.
        """
        loop = self._latest_loop if self.closed else self.loop
        if loop is None:
            self._deferred.append((call, args))
            if self.closed or self.loop is not None:  # it was closed or attached this very moment
                self._call_deferred()
        elif asyncio._get_running_loop() is loop:
            loop.call_soon(self._call_here, call, args)
        else:
            with suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(self._call_here, call, args)

    def _call_here(self, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.closed or asyncio._get_running_loop() is self.loop:
            call(*args)
        else:
            self.soon(call, *args)

    def _call_deferred(self) -> None:
        while self._deferred and self._latest_loop is not None:
            with suppress(IndexError):  # another thread may be at it
                call, args = self._deferred.popleft()
                self.soon(call, *args)

    async def answer(self, *command: Any) -> Any:
        """Ask, and wait for the reply; an error reply is raised."""
        return await self.answer_to(pack(*command))

    def answer_to(self, command: bytes) -> asyncio.Future[Any]:
        """The reply to an encoded command, in the future; an error reply is raised there."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ask(command, partial(end, future))
        return future

    def flush(self) -> None:
        """Write what was asked, and do not wait for the end of this turn."""
        self._is_flush_due = False
        self._let_go()
        if not self._out or self.closed or self._is_held:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        self._send(data)

    def ask_alone(self, command: bytes, reply: Reply) -> None:
        """:meth:`ask` and :meth:`flush`, in one step where nothing else was asked."""
        if self._out or self._is_held or self.closed or self._gathered is not None:
            self.ask(command, reply)
            self.flush()
        else:
            self._waiting.append(reply)
            self._asked += 1
            self._send(command)
            if self.loop is not None:
                self._vigil.keep(self.loop)

    def _send(self, data: bytes) -> None:
        if self.loop is not None:
            self._patience.written(self._asked, self.loop)
        self._unsent.append(data)
        if len(self._unsent) == 1:
            self._write()

    def hold(self) -> None:
        """Write nothing until :meth:`release`."""
        self._is_held = True

    def release(self) -> None:
        self._is_held = False
        if self._out and not self._is_flush_due:
            self._flush_soon()

    def _write(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                data = unsent[0]
                sent = self._sock.send(data)
                if sent == len(data):
                    unsent.popleft()
                else:
                    unsent[0] = memoryview(data)[sent:]
        except _LATER:
            if self.loop is not None:
                self.loop.add_writer(self._fd, self._writable)
        except OSError as error:
            self._end(error)

    def _writable(self) -> None:
        if self.loop is not None:
            self.loop.remove_writer(self._fd)
        self._write()

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
                self._patience.heard()
                self._parser.feed(data)
                # A TLS socket may hold more than the selector knows of.
                if len(data) < _READ_SIZE and not self._is_tls:
                    break
        except _LATER:
            pass
        except OSError as error:
            self._hand_on()
            self._end(error)
            return
        self._hand_on()

    def _hand_on(self) -> None:
        try:
            self._take_replies()
        except (hiredis.HiredisError, IndexError) as error:
            self._end(error)
        except Exception as error:  # of who asked: with a new connection he can begin anew
            logger.exception("What Redis at %s sent could not be handled", self.server)
            self._end(error)
        self._patience.answered(self._answered)

    def _take_replies(self) -> None:
        parse, waiting = self._parser.gets, self._waiting
        reply = parse()
        while reply is not False:
            self._answered += 1
            waiting.popleft()(reply)
            reply = parse()

    # The end

    def close(self) -> None:
        """End the connection; what was asked and not answered gets a ``RedisUnavailable``."""
        self._close(RedisUnavailable(f"the connection to {self.server} was closed"))

    def fail(self, error: Exception) -> None:
        """End the connection because of a reply that it cannot go on after; it is made anew."""
        self._end(error)

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
        self._out.clear()
        self._unsent.clear()
        self._let_go()
        self._call_deferred()
        # One by one out of the same queue: a reply that ends the connection is handed on by a loop over it.
        while self._waiting:
            self._waiting.popleft()(reason)


_all: weakref.WeakSet[Connection] = weakref.WeakSet()


def _count_them_as_closed() -> None:
    """After fork() they are the parent's, and so are their loops; :mod:`.server` closes their sockets here."""
    for connection in tuple(_all):
        connection.closed = True


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_count_them_as_closed)


def pack(*command: Any) -> bytes:
    """A command in the protocol of Redis. Arguments are ``bytes``, ``str``, ``int`` or ``float``."""
    packed: bytes = hiredis.pack_command(command)
    return packed
