"""A network between client and server that is slow, silent or broken when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any

CHUNK = 64 * 1024
# What each way of a connection holds back before it stops reading, as a long line would.
LINE = 16 * 1024 * 1024
# Whether closing a socket resets its connection.
RESETS, ENDS = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)


class TcpProxy:
    """Forwards connections from a port of its own to a server, from a thread; a context manager.

    ``delay`` is the time in seconds that everything takes each way; it may be set at any time. Any number of bytes can
    be under way, and they keep their order. No byte gets lost, unless its connection ends: what a network loses is sent
    again. What a method does has happened when it returns; the counters follow a moment after the bytes.
    """

    def __init__(self, target_host: str, target_port: int, delay: float = 0.0) -> None:
        self.target = target_host, target_port
        self.delay = delay
        self.host = "127.0.0.1"
        self.port = 0
        self.bytes_to_target = 0
        """Those that were handed on."""
        self.bytes_to_client = 0
        self.accepted = 0
        """All connections since the start."""
        self._connections: set[asyncio.Task[None]] = set()
        self._lines: set[_Line] = set()

    def __enter__(self) -> TcpProxy:
        self._listener = socket.create_server((self.host, self.port), backlog=1024)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(started)), name="proxy", daemon=True)
        self._thread.start()
        started.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stopped.set)
        self._thread.join()

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    @property
    def open_connections(self) -> int:
        """Those that have not ended both ways."""
        return len(self._connections)

    @property
    def bytes_under_way(self) -> int:
        """Those that the proxy has read, and holds for a delay or in a black hole."""
        return sum(line.length for line in list(self._lines))

    def black_hole(self) -> None:
        """From now on nothing arrives, also no end of a connection; new ones are accepted, and get nowhere."""
        self._call(self._healed.clear)

    def heal(self) -> None:
        """Deliver what the black hole held back, and forward again."""
        self._call(self._healed.set)

    def cut(self) -> None:
        """Reset all connections, on both sides; new ones are welcome."""
        self._wait_for(_end(self._connections))

    def _call(self, function: Callable[[], object]) -> None:
        async def call() -> None:
            function()

        self._wait_for(call())

    def _wait_for(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _run(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped, self._healed = asyncio.Event(), asyncio.Event()
        self._healed.set()
        with self._listener:
            self._loop.add_reader(self._listener, self._accept)
            started.set_result(None)
            await self._stopped.wait()
            self._loop.remove_reader(self._listener)
        await _end(self._connections)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return
        ends = client, socket.socket()
        for end in ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
        connection = asyncio.create_task(self._connection(*ends))
        connection.add_done_callback(lambda _: self._forget(connection, ends))
        self._connections.add(connection)
        self.accepted += 1

    def _forget(self, connection: asyncio.Task[None], ends: Iterable[socket.socket]) -> None:
        for end in ends:
            end.close()
        self._connections.discard(connection)

    async def _connection(self, client: socket.socket, target: socket.socket) -> None:
        await self._while_healed()
        with contextlib.suppress(OSError):  # it is reset then, as it is when this task is cancelled
            await self._loop.sock_connect(target, self.target)
            lines = to_target, to_client = _Line(), _Line()
            self._lines.update(lines)
            tasks = [
                asyncio.create_task(self._read(client, to_target)),
                asyncio.create_task(self._read(target, to_client)),
                asyncio.create_task(self._write(to_target, target, "bytes_to_target")),
                asyncio.create_task(self._write(to_client, client, "bytes_to_client")),
            ]
            try:
                await asyncio.gather(*tasks)
            finally:
                await _end(tasks)
                self._lines.difference_update(lines)
            for end in (client, target):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ENDS)

    async def _read(self, source: socket.socket, line: _Line) -> None:
        data: bytes | None = b"?"
        while data:
            try:
                data = await self._loop.sock_recv(source, CHUNK)
            except OSError:
                data = None
            await line.put(self._loop.time() + self.delay, data)

    async def _write(self, line: _Line, sink: socket.socket, counter: str) -> None:
        while True:
            due, data = await line.get()
            await asyncio.sleep(due - self._loop.time())
            await self._while_healed()
            if data is None:
                raise ConnectionResetError
            if not data:
                with contextlib.suppress(OSError):  # it has ended already
                    sink.shutdown(socket.SHUT_WR)
                return
            rest = memoryview(data)
            while rest:
                await self._while_healed()
                try:
                    sent = sink.send(rest)
                except BlockingIOError:
                    await self._writable(sink)
                    continue
                setattr(self, counter, getattr(self, counter) + sent)
                line.has_left(sent)
                rest = rest[sent:]

    async def _while_healed(self) -> None:
        """Goes on in the very step of the loop in which it found no black hole."""
        while not self._healed.is_set():
            await self._healed.wait()

    async def _writable(self, sink: socket.socket) -> None:
        writable = asyncio.Event()
        self._loop.add_writer(sink, writable.set)
        try:
            await writable.wait()
        finally:
            self._loop.remove_writer(sink)


class _Line:
    """The chunks under way one way, and when each is due; an empty one is the end of the connection, None its reset."""

    def __init__(self) -> None:
        self.length = 0
        self._chunks: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()
        self._has_room = asyncio.Event()

    async def put(self, due: float, data: bytes | None) -> None:
        self.length += len(data or b"")
        self._chunks.put_nowait((due, data))
        while self.length > LINE:
            self._has_room.clear()
            await self._has_room.wait()

    async def get(self) -> tuple[float, bytes | None]:
        return await self._chunks.get()

    def has_left(self, length: int) -> None:
        self.length -= length
        self._has_room.set()


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
