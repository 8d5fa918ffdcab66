"""Locks between processes that no death can leave behind: byte ranges of one file, locked by ``fcntl``.

The kernel releases them when their process ends, however it ends. They have two weaknesses, which this file is there
for. They do not exclude threads of one process, so that a lock of the process stands outside. And closing *any*
descriptor of the file gives up all of them: each process opens the file once, and keeps it open while it holds a life.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from . import faults

try:
    import fcntl
except ImportError:  # Windows: the layer says so when it is built
    if not TYPE_CHECKING:
        fcntl = None

#: Seconds for which one call waits for a lock at the most: who holds it was stopped by a debugger or a signal.
PATIENCE = 0.1

#: Attempts that are made also after that: a machine that is too busy to let the waiter run may not let the holder run.
#: On any other, there are twice as many within PATIENCE (decision 0046).
_LEAST_LOOKS = 25

#: Attempts before a waiter lets others run. A holder that runs needs a few microseconds, as ten attempts do.
_SPINS = range(12)


class _Busy:
    def __repr__(self) -> str:
        return "BUSY"


#: What :meth:`RecordLocks.run` returns when it did not get the lock.
BUSY: Final = _Busy()

_lockf: Callable[..., object] = fcntl.lockf if fcntl is not None else len
_UNLOCK = fcntl.LOCK_UN if fcntl is not None else 0
_TRY = fcntl.LOCK_EX | fcntl.LOCK_NB if fcntl is not None else 0


class RecordLocks:
    """The locks of one file in one process.

    :param descriptor: of the file, opened for writing.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        # It knows its owner, so that whoever is interrupted while acquiring can release it without knowing whether it
        # was acquired. That it lets its owner in again is undone by ``is_inside``: a finalizer may run in a section.
        self.guard = threading.RLock()
        self.is_inside = False
        # What makes the stores before it seen before the loads behind it: an atomic step of the processor, which is in
        # both acquiring, without waiting, and releasing it. If one is interrupted, the other is still there. Only who
        # has the guard does either: of two threads that did it at once, one would release what is not acquired.
        self.fence = threading.Lock()

    def run(self, byte: int, work: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``work`` while holding the lock of a byte; return what it returns, or BUSY if another process holds it.

        An exception at any instruction, such as a KeyboardInterrupt, leaves no lock behind. ``work`` must leave the
        shared memory whole wherever it is left: it may be killed anywhere, too.
        """
        guard, descriptor, hook = self.guard, self.descriptor, faults.hook
        try:
            if not guard.acquire(True, PATIENCE) or self.is_inside or descriptor != self.descriptor or descriptor < 0:
                return BUSY
            try:
                self.is_inside = True
                for _ in _SPINS:
                    try:
                        _lockf(descriptor, _TRY, 1, byte)
                    except (BlockingIOError, PermissionError):
                        continue
                    if hook is not None:
                        hook("lock.held")
                    result = work(*arguments)
                    if hook is not None:
                        hook("lock.done")
                    return result
                return BUSY
            finally:
                try:
                    _lockf(descriptor, _UNLOCK, 1, byte)  # harmless if it is not held
                finally:
                    self.is_inside = False
        finally:
            try:  # noqa: SIM105 - suppress() would take as long as the lock
                guard.release()
            except RuntimeError:
                pass  # it was not acquired

    async def run_soon(self, byte: int, work: Callable[..., Any], *arguments: Any) -> Any:
        """The same, trying for PATIENCE seconds without holding up the event loop."""
        return await keep_trying(self.run, byte, work, *arguments)

    def run_now(self, byte: int, work: Callable[..., Any], *arguments: Any) -> Any:
        """The same, holding up the thread for up to PATIENCE seconds: for what is done once in a layer's life."""
        end = time.monotonic() + PATIENCE
        while True:
            result = self.run(byte, work, *arguments)
            if result is not BUSY or time.monotonic() >= end:
                return result
            time.sleep(0.001)

    def close(self) -> None:
        """Close the file, which gives up every lock. Whoever comes later finds it busy."""
        with self.guard:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)

    def seize(self, byte: int) -> bool:
        """Lock a byte for good, or until :meth:`give_up`; False if another process holds it."""
        try:
            fcntl.lockf(self.descriptor, _TRY, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def give_up(self, byte: int) -> None:
        """Unlock a byte that :meth:`seize` locked."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, byte)


async def keep_trying(attempt: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``attempt`` until it does not return BUSY, or one has waited long enough; return what it returns."""
    end = time.monotonic() + PATIENCE
    pause, left = 0.0, _LEAST_LOOKS
    while True:
        result = attempt(*arguments)
        left -= 1
        if result is not BUSY or (left <= 0 and time.monotonic() >= end):
            return result
        await asyncio.sleep(pause)
        pause = min(0.002, pause + 0.0002)
