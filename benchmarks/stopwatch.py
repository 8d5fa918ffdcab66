"""Time spent in batches of work, until there is enough of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """A workload repeats a batch while ``more()``; only what lies inside ``batch()`` counts.

    Layers differ in speed by a factor of a thousand. The same *amount* of work would be over in a millisecond for one
    of them or take minutes for the other, so both work the same *time*, in batches of the same shape.
    """

    def __init__(self, seconds: float) -> None:
        self.wanted = seconds
        self.seconds = 0.0
        self.operations = 0
        self._is_warm = False

    def more(self) -> bool:
        """At least one warm-up and one measured batch."""
        return not self.operations or self.seconds < self.wanted

    @contextmanager
    def batch(self, operations: int) -> Iterator[None]:
        """Count ``operations`` and the time they take; not in the first batch, which warms up."""
        start = perf_counter()
        yield
        taken = perf_counter() - start
        if self._is_warm:
            self.seconds += taken
            self.operations += operations
        else:
            self._is_warm = True
            gc.collect()  # the collector stays on while measuring; what was set up before should not be its work then

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds
