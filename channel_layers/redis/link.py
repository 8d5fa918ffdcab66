"""A connection that comes back: made in the background, made again when it is lost, driven by the loop that uses it."""

from __future__ import annotations

import asyncio
import math
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..background import background_loop
from ..statistics import logger
from .connection import Connection
from .errors import RedisUnavailable
from .futures import end
from .server import Server

#: Seconds between attempts to connect: doubled from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.5

#: Seconds for which one warning that a server is away does for all.
_WARN_AGAIN = 5.0

_warned: dict[str, float] = {}

# Not the generator that all share: a test of somebody else's may have seeded that.
_chance = random.Random()  # noqa: S311

#: Seconds that one attempt to connect may take.
_CONNECT_TIMEOUT = 2.0


async def _nothing(_: Connection) -> None:
    return None


class Link:
    """Keeps one connection to a server. Its methods are called in the background loop, but for :meth:`come_back`.

    :param server: to connect to.
    :param patience: seconds for which the server may owe a reply and say nothing; then it counts as away.
    :param prepare: what must have happened on a new connection before it is used; a coroutine function.
    :param commands: sent on a new connection first; an error reply makes it useless.
    :param up: called in the thread of the loop that drives a new connection, when that loop has it.
    :param down: called there when it has lost it.
    :param kind: the class of the connections.
    """

    def __init__(
        self,
        server: Server,
        patience: float,
        prepare: Callable[[Connection], Awaitable[None]] = _nothing,
        up: Callable[[Connection], None] | None = None,
        commands: Sequence[tuple[str, ...]] = (),
        down: Callable[[], None] | None = None,
        kind: type[Connection] = Connection,
    ) -> None:
        self.server = server
        #: The connection, while it can be used. Read it in the thread of its loop.
        self.connection: Connection | None = None
        self.failure: Exception | None = None
        # The same from its making to its end, also while no loop drives it.
        self._made: Connection | None = None
        self._patience = patience
        self._prepare = prepare
        self._report_up = up
        self._report_down = down
        self._commands = commands
        self._kind = kind
        self._driver: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._is_lost = asyncio.Event()
        self._away = False
        self._is_restarting = False
        self._is_stopped = False

    def start(self, driver: asyncio.AbstractEventLoop | None = None) -> None:
        """Connect, and stay connected. Does nothing if it was started already."""
        if self._task is None:
            self._driver = driver or background_loop()
            self._task = background_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Close the connection, and make no other; who waits for one is told so."""
        self._is_stopped = True
        self._wake_waiting()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        connection, self._made = self._made, None
        self.connection = None
        if connection is not None:
            await _in_loop_of(connection, connection.close)

    def restart(self) -> None:
        """Make the connection anew."""
        connection = self._made
        if connection is not None:
            self._is_restarting = True
            connection.soon(connection.fail, RedisUnavailable("the connection is made anew"))

    async def ready(self, seconds: float | None = None) -> Connection:
        """The connection as soon as there is one; only for links that the background loop drives.

        First come, first served, so that what was to be sent while there was none is sent in its order.

        :raises TimeoutError: if it takes so many seconds.
        :raises RedisUnavailable: if the link is stopped.
        """
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        while self.connection is None or self._waiting:
            if self._is_stopped:
                raise RedisUnavailable("the layer was closed meanwhile")
            up: asyncio.Future[None] = loop.create_future()
            self._waiting[up] = None
            timer = None if until is None else loop.call_at(until, end, up, asyncio.TimeoutError())
            if self.connection is not None:
                loop.call_soon(end, up)
            try:
                await up
            except asyncio.TimeoutError:
                if self.connection is None:  # it may have come in the same turn of a loop that had much to do
                    raise
            finally:
                del self._waiting[up]
                if timer is not None:
                    timer.cancel()
            if self.connection is not None:
                break
        return self.connection

    def _wake_waiting(self) -> None:
        for up in self._waiting:
            end(up)

    # Moving to another loop

    def move(self, driver: asyncio.AbstractEventLoop) -> None:
        """Let another loop drive the connection, from the background loop."""
        if self._driver is background_loop():
            self._drive(driver)

    def come_back(self) -> None:
        """Let the background loop drive the connection again. Called in the thread of the loop that drove it until
        now, which is about to end, or when that loop does not run any more."""
        self._drive(background_loop())

    def _drive(self, driver: asyncio.AbstractEventLoop) -> None:
        self._driver = driver
        self.connection = None
        made = self._made  # it may be lost, or closed, by another thread in any moment
        if made is not None:
            made.detach()
            self._hand_over(made)

    def _hand_over(self, connection: Connection) -> None:
        driver = self._driver
        if driver is None:
            return
        try:
            driver.call_soon_threadsafe(self._take_over, connection, driver)
        except RuntimeError:  # that loop is closed
            self._driver = background_loop()
            self._driver.call_soon_threadsafe(self._take_over, connection, self._driver)

    def _take_over(self, connection: Connection, driver: asyncio.AbstractEventLoop) -> None:
        if driver is not self._driver or connection is not self._made or connection.closed:
            return  # it has moved on, or has ended meanwhile
        if connection.loop is driver:
            return  # it was made while the home left: both have handed it over
        connection.attach(driver)
        self.connection = connection
        if self._report_up is not None:
            self._report_up(connection)
        background_loop().call_soon_threadsafe(self._wake_waiting)

    # Staying connected

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            connection = None
            try:
                sock = await open_socket(self.server, self._commands)
                connection = self._kind(sock, self.server.label, self._patience, self._lose)
                connection.attach(background_loop())
                await self._prepare(connection)
            except Exception as error:  # whatever it is: nobody else would try again
                if connection is not None:
                    connection.close()
                self._note_failure(error)
                await asyncio.sleep(pause * _chance.uniform(0.7, 1.3))  # not all at once
                pause = min(2 * pause, _LAST_PAUSE)
                continue
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
            self._note_success()
            connected = time.monotonic()
            connection.detach()
            self._made = connection
            self._hand_over(connection)
            while not connection.closed:
                self._is_lost.clear()
                await self._is_lost.wait()
            if time.monotonic() - connected > _LAST_PAUSE:
                pause = _FIRST_PAUSE
            else:  # the server takes us, but not what we ask
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE)

    def _lose(self, connection: Connection, error: Exception) -> None:
        if self._made is connection:
            self._made = self.connection = None
            if self._report_down is not None:
                self._report_down()
        background_loop().call_soon_threadsafe(self._note_loss, error)

    def _note_loss(self, error: Exception) -> None:
        self._note_failure(error)
        self._is_lost.set()

    def _note_failure(self, error: Exception) -> None:
        self.failure = error
        if self._away or self._is_restarting:
            return
        self._away = True
        now, label = time.monotonic(), self.server.label
        if now - _warned.get(label, -math.inf) > _WARN_AGAIN:  # a client has several links, which are lost together
            _warned[label] = now
            logger.warning("%s; connecting again until it is back", error)

    def _note_success(self) -> None:
        self.failure = None
        self._is_restarting = False
        if self._away:
            self._away = False
            logger.info("Redis at %s is back", self.server.label)


async def open_socket(server: Server, commands: Sequence[tuple[str, ...]] = ()) -> socket.socket:
    """Open a socket in a thread, as connecting blocks; a daemon, which delays no process that wants to end."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[socket.socket] = loop.create_future()

    def settle(sock: socket.socket | None, error: Exception | None) -> None:
        if opened.done():
            if sock is not None:
                sock.close()
        else:
            end(opened, sock or error)

    def work() -> None:
        sock, problem = None, None
        try:
            sock = server.open(_CONNECT_TIMEOUT, commands)
        except Exception as error:
            problem = error
        loop.call_soon_threadsafe(settle, sock, problem)

    threading.Thread(target=work, name="channel_layers-connect", daemon=True).start()
    try:
        return await opened
    except asyncio.CancelledError:
        if opened.done() and not opened.cancelled() and opened.exception() is None:
            opened.result().close()
        raise


async def _in_loop_of(connection: Connection, work: Callable[[], Any]) -> None:
    """Call a function in the thread of the loop that drives a connection; at once if that loop does not run."""
    loop = connection.loop
    if loop is None or loop is background_loop() or loop.is_closed() or not loop.is_running():
        work()
        return
    done = asyncio.Event()
    here = background_loop()

    def run() -> None:
        work()
        here.call_soon_threadsafe(done.set)

    try:
        loop.call_soon_threadsafe(run)
    except RuntimeError:
        work()
        return
    try:
        await asyncio.wait_for(done.wait(), 1.0)
    except asyncio.TimeoutError:
        work()  # that loop stands still: better two threads at a socket that is closed than one that stays open
