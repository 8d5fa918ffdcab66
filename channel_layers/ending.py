"""Doing something before the process ends, whichever way Python ends it."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable

_known: set[tuple[int, Callable[[], None]]] = set()


def at_exit(work: Callable[[], None]) -> None:
    """Call ``work`` when this process ends. Said twice, it is still called once.

    Processes of ``multiprocessing`` end without what ``atexit`` knows, and forget at their start what they inherited.
    """
    if (os.getpid(), work) in _known:
        return
    _known.add((os.getpid(), work))
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, work, exitpriority=0)
    else:
        atexit.unregister(work)  # what a fork has inherited
        atexit.register(work)
