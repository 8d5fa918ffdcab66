"""What runs now, and how far it is: one line that changes on a terminal, a line per round in a log."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TextIO


class Progress:
    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._total = self._number = 0
        self._line = ""
        self._start = monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def expect(self, rounds: int) -> None:
        self._total = rounds

    def start(self, what: str) -> None:
        self._number += 1
        elapsed = monotonic() - self._start
        self._line = f"[{self._number:{len(str(self._total))}}/{self._total}] {elapsed:4.0f} s  {what}"
        if self.stream.isatty():
            self._write(f"\r{self._line}\033[K")  # the escape clears what a longer line left behind

    def done(self, result: str) -> None:
        if self.stream.isatty():
            self._write(f"\r{self._line}: {result}\033[K")
        else:
            self._write(f"{self._line}: {result}\n")

    def end(self) -> None:
        """Leave the changing line as it is, and go below it."""
        if self._number and self.stream.isatty():
            self._write("\n")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
