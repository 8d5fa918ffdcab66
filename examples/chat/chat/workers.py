"""Several processes that serve one socket, each as if it were alone: the channel layer connects them.

Each lives as long as its end of a pipe to the process that started it, however that one ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

logger = logging.getLogger(__name__)

# Not by fork(): Django has loaded Daphne, whose event loop no two processes can share.
_context = multiprocessing.get_context("spawn")
GRACE_SECONDS = 15


class WorkerError(RuntimeError):
    """A worker did not get as far as serving anybody."""


class Workers:
    """The leading side: starts the processes, replaces one that dies, and ends them all."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._workers: list[Worker] = []

    def lead(self, count: int, ready: Callable[[], None]) -> None:
        """Start them, call ``ready`` when they serve, and see to it that they do, until an exception ends this."""
        self._start(count)
        ready()
        while True:
            wait([worker.process.sentinel for worker in self._workers])
            ended = [worker for worker in self._workers if not worker.process.is_alive()]
            for worker in ended:
                logger.warning("Process %s has ended. Another takes its place.", worker.process.pid)
                worker.pipe.close()
                self._workers.remove(worker)
            self._start(len(ended))

    def _start(self, count: int) -> None:
        started = []
        for _ in range(count):
            started.append(Worker(self._listening))
            self._workers.append(started[-1])
        for worker in started:
            worker.until_ready()

    def end(self) -> None:
        """End all of them, and wait for that."""
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(GRACE_SECONDS)
            worker.process.kill()
            worker.process.join()


class Worker:
    """One process, as its leader sees it."""

    def __init__(self, listening: socket.socket) -> None:
        self.pipe, theirs = _context.Pipe()
        self.process = _context.Process(target=_work, args=(listening, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def until_ready(self) -> None:
        try:
            self.pipe.recv()
        except EOFError:
            self.process.join()
            raise WorkerError(f"a worker process ended with {self.process.exitcode} before it served anybody") from None


def _work(listening: socket.socket, pipe: Connection[Any, Any]) -> None:
    # Ctrl-C reaches all processes of a terminal; this one ends when its leader does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    import django

    django.setup()

    from chat import server

    threading.Thread(target=_stop_with_leader, args=(pipe, server.stop), daemon=True).start()
    server.run(listening, lambda: pipe.send("ready"), signals=False)


def _stop_with_leader(pipe: Connection[Any, Any], stop: Callable[[], None]) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        stop()
