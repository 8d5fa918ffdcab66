"""Running things that may hang: with a deadline, in a thread, in a loop of their own, in a forked process."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from .expect import fail

T = TypeVar("T")

#: Seconds that a cancelled task is given to end, before it is left alone.
_GRACE = 2.0


async def within(seconds: float, awaitable: Awaitable[T], what: str) -> T:
    """Await something that must end within so many seconds, or fail with ``what`` was expected.

    The time is measured as well: in a loop that only the deadline woke, a result may be there by then, and too late.
    """
    task = asyncio.ensure_future(awaitable)
    started = time.monotonic()
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_GRACE)
    # What gather() returns is never cancelled(): it then fails with a CancelledError, which says nothing of its own.
    error = task.exception() if task.done() and not task.cancelled() else None
    has_failed = error is not None and not isinstance(error, asyncio.CancelledError)
    if time.monotonic() - started >= seconds and not has_failed:
        raise fail(f"expected within {seconds:g} s: {what}")
    return await task


@contextmanager
def timers_set() -> Iterator[list[Any]]:
    """What sets a timer in the running event loop meanwhile; always empty for a loop that does not let one look."""
    loop, timers = asyncio.get_running_loop(), []
    call_at = loop.call_at

    def noted(when: float, callback: Callable[..., Any], *args: Any, **options: Any) -> Any:
        timers.append(callback)
        return call_at(when, callback, *args, **options)

    with suppress(AttributeError):
        loop.call_at = noted  # type: ignore[method-assign, assignment]
    try:
        yield timers
    finally:
        with suppress(AttributeError):
            del loop.call_at


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run a function in a daemon thread; a thread that hangs delays nobody, not even the end of the process."""
    return asyncio.wrap_future(start_thread(work))


def in_other_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Future[T]:
    """Run a coroutine function in a thread and an event loop of its own."""
    return in_thread(lambda: asyncio.run(work()))


def start_thread(work: Callable[[], T]) -> Future[T]:
    """As :func:`in_thread`, for who does not want an event loop to be woken by the end of it."""
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    threading.Thread(target=run, name="conformance", daemon=True).start()
    return outcome


class Child:
    """A forked process that runs ``work(child)`` in an event loop; both sides ``tell`` and ``hear`` plain values.

    What ``work`` returns is told at its end, and so is its failure: ``hear`` in the parent then raises it.
    """

    def __init__(self, work: Callable[[Child], Coroutine[Any, Any, Any]], deadline: float) -> None:
        self.deadline = deadline
        ours, theirs = multiprocessing.Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork() beside threads: that is what is tested
            self.pid = os.fork()
        if self.pid:
            theirs.close()
            self._pipe = ours
        else:
            ours.close()
            self._pipe = theirs
            self._run(work)

    def _run(self, work: Callable[[Child], Coroutine[Any, Any, Any]]) -> None:
        # In a thread, which has no running event loop: the one that forked still seems to run the parent's.
        try:
            outcome = start_thread(lambda: asyncio.run(work(self)))
            try:
                self._pipe.send(("value", outcome.result(self.deadline)))
            except BaseException:
                self._pipe.send(("failure", traceback.format_exc()))
        finally:
            os._exit(0)

    def tell(self, value: Any) -> None:
        self._pipe.send(("value", value))

    async def hear(self) -> Any:
        """What the other process tells next.

        :raises AssertionError: if it failed, died or told nothing in time.
        """
        return await in_thread(self._hear)

    def _hear(self) -> Any:
        if not self._pipe.poll(self.deadline):
            raise fail(f"expected the other process to get on within {self.deadline:g} s")
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            raise fail("expected the other process to go on; it ended") from None
        if kind == "failure":
            raise fail(f"expected the other process to succeed; it failed:\n{value}")
        return value

    def end(self) -> None:
        """Kill the child if it still runs, and collect it. In the parent only."""
        self._pipe.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
