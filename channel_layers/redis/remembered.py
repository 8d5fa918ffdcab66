"""What was worked out for a name, kept for the next time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Remembered(dict[str, T]):
    """Looks up what belongs to a name, and works it out if it is not known.

    :param work_out: what belongs to a name.
    :param bound: names that are remembered; with one more, all are forgotten.
    """

    def __init__(self, work_out: Callable[[str], T], bound: int) -> None:
        super().__init__()
        self._work_out = work_out
        self._bound = bound

    def __missing__(self, name: str) -> T:
        found = self._work_out(name)
        if len(self) >= self._bound:
            self.clear()
        self[name] = found
        return found
