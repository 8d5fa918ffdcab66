"""What one layer object and its Redis say to each other, counted between them: exact, and without the others' traffic.

Redis counts, too, but not this: its totals are those of all clients, and its ``total_commands_processed`` (like
``commandstats``) counts a script once for itself and once for every command that the script calls.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import hiredis

from benchmarks.redis_server import HOST


@dataclass(frozen=True)
class Traffic:
    """So far."""

    written: int = 0
    """Bytes, by the layer."""

    read: int = 0

    commands: int = 0
    """Sent by the layer; a script is one, a transaction as many as it holds and two."""

    def __sub__(self, earlier: Traffic) -> Traffic:
        return Traffic(self.written - earlier.written, self.read - earlier.read, self.commands - earlier.commands)

    @property
    def bytes(self) -> int:
        return self.written + self.read


class Meter:
    """A TCP proxy in threads: a layer that connects to ``server`` reaches the Redis at ``port``."""

    def __init__(self, port: int) -> None:
        self._redis = (HOST, port)
        self._counting = threading.Lock()
        self._traffic = Traffic()
        self.addresses: set[str] = set()
        """How Redis knows the connections that came through here, ``ip:port``."""
        meter = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                meter._connect(self.request)

        self._listener = socketserver.ThreadingTCPServer((HOST, 0), Connection)
        self._listener.daemon_threads = True
        self._listener.block_on_close = False
        self.server: Mapping[str, Any] = {"hosts": [(HOST, self._listener.server_address[1])]}

    def __enter__(self) -> Meter:
        threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._listener.server_close()

    @property
    def traffic(self) -> Traffic:
        with self._counting:
            return self._traffic

    def _connect(self, layer: socket.socket) -> None:
        with socket.create_connection(self._redis) as redis:
            for end in (layer, redis):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.addresses.add("{}:{}".format(*redis.getsockname()))
            replies = threading.Thread(target=_pump, args=(redis, layer, self._count_reply), daemon=True)
            replies.start()
            parser = hiredis.Reader()  # commands have the form of replies that are arrays
            _pump(layer, redis, lambda data: self._count_commands(parser, data))
            replies.join()

    def _count_reply(self, data: bytes) -> None:
        self._count(Traffic(read=len(data)))

    def _count_commands(self, parser: hiredis.Reader, data: bytes) -> None:
        parser.feed(data)
        commands = 0
        while parser.gets() is not False:
            commands += 1
        self._count(Traffic(written=len(data), commands=commands))

    def _count(self, more: Traffic) -> None:
        with self._counting:
            so_far = self._traffic
            self._traffic = Traffic(
                so_far.written + more.written, so_far.read + more.read, so_far.commands + more.commands
            )


def _pump(source: socket.socket, target: socket.socket, count: Callable[[bytes], None]) -> None:
    """Until one of the two ends. Counted first, passed on then: who has a reply finds it counted."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            count(data)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
