"""One event loop in a daemon thread, for all layers of the process that have something to do by themselves.

What must go on whatever the application's own loops do runs here: keeping connections, renewing leases, and the verbs
of synchronous code. The thread starts when it is first needed.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
# Loops of a parent process. They are never touched again: their selector is shared with the parent.
_inherited: list[asyncio.AbstractEventLoop] = []


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop of the thread, which is started now if it does not run yet."""
    global _loop  # noqa: PLW0603 - one thread a process
    if _loop is not None:
        return _loop
    with _lock:
        if _loop is None:
            loop = asyncio.SelectorEventLoop()
            threading.Thread(target=_run, args=(loop,), name="channel_layers", daemon=True).start()
            _loop = loop
    return _loop


def background_is_running() -> bool:
    """Whether the thread has been needed until now."""
    return _loop is not None


def in_background(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine there; from any thread."""
    return asyncio.run_coroutine_threadsafe(work, background_loop())


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _forget_after_fork() -> None:
    global _loop, _lock  # noqa: PLW0603
    _lock = threading.Lock()
    if _loop is not None:
        _inherited.append(_loop)
        _loop = None


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget_after_fork)
