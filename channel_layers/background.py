"""One event loop in a daemon thread, for all layers of the process that have something to do by themselves.

What must go on whatever the application's own loops do runs here: keeping connections, renewing leases, and the verbs
of synchronous code. The thread starts when it is first needed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

#: What a fault in a thread raises in that very thread: to block them would only silence faulthandler.
_FAULTS = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")

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
    _leave_signals_to_others()
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _leave_signals_to_others() -> None:
    """Block them here, and in the threads that this one starts. The system may give a signal of a process to any thread
    that takes it, and then it interrupts nothing in the main thread, where Python would handle it: Ctrl-C would do
    nothing until that comes back from what it waits for."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows, where no signal interrupts a thread
        faults = {getattr(signal, name) for name in _FAULTS if hasattr(signal, name)}
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - faults)


def _forget_after_fork() -> None:
    global _loop, _lock  # noqa: PLW0603
    _lock = threading.Lock()
    if _loop is not None:
        _inherited.append(_loop)
        _loop = None


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget_after_fork)
