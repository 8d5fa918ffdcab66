"""Daphne and a dice worker in one process, which serves the whole chat, or is one of several that do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

from channels.layers import get_channel_layer
from channels.routing import get_default_application
from channels.worker import Worker
from daphne.server import Server
from twisted.internet import reactor

logger = logging.getLogger(__name__)


class ChatServer(Server):
    """Daphne's server on a socket that listens already, whatever its address family."""

    def __init__(self, listening: socket.socket, **options: Any) -> None:
        super().__init__(endpoints=[f"fd:fileno={listening.fileno()}"], **options)
        self.endpoints = []  # that one would be taken for IPv4
        reactor.callWhenRunning(self._adopt, listening)

    def _adopt(self, listening: socket.socket) -> None:
        reactor.adoptStreamPort(listening.fileno(), listening.family, self.http_factory)


class DiceWorker(threading.Thread):
    """What Channels' ``runworker dice`` runs, in a thread with an event loop of its own.

    Daphne has the main thread. The layer wakes a receiver whichever thread and loop it waits in, so neither of them
    notices.
    """

    def __init__(self) -> None:
        super().__init__(name="dice worker", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._work = self._loop.create_task(self._roll())

    async def _roll(self) -> None:
        await Worker(get_default_application(), ["dice"], get_channel_layer()).arun()

    def run(self) -> None:
        try:
            self._loop.run_until_complete(self._work)
        except asyncio.CancelledError:
            pass
        except Exception:
            # A thread that dies in silence is found too late.
            logger.exception("The dice worker has died. Chatting goes on, but nobody here answers /roll.")
        finally:
            self._loop.run_until_complete(self._end_rest())
            self._loop.close()

    async def _end_rest(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def stop(self) -> None:
        """End it, and wait for that. From another thread."""
        with contextlib.suppress(RuntimeError):  # it has died, and its loop is closed
            self._loop.call_soon_threadsafe(self._work.cancel)
        self.join()


def run(listening: socket.socket, ready: Callable[[], None], *, signals: bool) -> None:
    """Serve what comes over a socket that listens, and roll dice, until :func:`stop` or, with ``signals``, Ctrl-C."""
    # Channels makes a layer when it is first asked for, without a lock. Asked for by both threads at once, it would
    # make two, and nobody would hear the other.
    get_channel_layer()
    dice = DiceWorker()
    server = ChatServer(listening, application=get_default_application(), signal_handlers=signals)
    # Once the reactor runs, its handlers for Ctrl-C and SIGTERM are in place: every later end is a clean one.
    reactor.callWhenRunning(dice.start)
    reactor.callWhenRunning(ready)
    server.run()
    dice.stop()


def stop() -> None:
    """End :func:`run`, from any thread."""
    reactor.callFromThread(reactor.stop)
