"""Undoing what a verb has begun, however it ends: with an error, cancelled, or thrown away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..background import background_loop


@contextmanager
def undoing(undo: Callable[[], None]) -> Iterator[None]:
    """Undo if the block does not come to its end. ``undo`` may take locks, and is safe to call from any thread."""
    try:
        yield
    except GeneratorExit:
        # The garbage collector has thrown the coroutine away, perhaps in a thread that holds just those locks.
        background_loop().call_soon_threadsafe(undo)
        raise
    except BaseException:
        undo()
        raise
