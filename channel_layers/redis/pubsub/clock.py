"""The server's clock as one process reckons it, without asking for each message: the only one that ages are told by."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..connection import Connection

#: Seconds after which the server is asked again: the clocks of machines run apart, by a few milliseconds meanwhile.
_ASK_AGAIN = 60.0

_TIME = b"*1\r\n$4\r\nTIME\r\n"


class ServerClock:
    """What time it is on the server, to within half of a round trip."""

    def __init__(self) -> None:
        #: When (monotonic seconds) the server is to be asked again.
        self.is_old_at = 0.0
        self._ahead_ms = 0.0  # of this process's monotonic clock
        self._doubt = float("inf")

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self.at_ms(time.monotonic())

    def at_ms(self, monotonic: float) -> int:
        """The same at a moment of this process's monotonic clock, in seconds."""
        return int(monotonic * 1000 + self._ahead_ms)

    def ask(self, connection: Connection, then: Callable[[Any], None] | None = None) -> None:
        """Ask the server over a connection; in the thread of its loop. ``then`` gets the reply."""
        asked = time.monotonic()
        self.is_old_at = asked + _ASK_AGAIN

        def settle(reply: Any) -> None:
            if isinstance(reply, list):
                self._note(asked, time.monotonic(), int(reply[0]) * 1000 + int(reply[1]) / 1000)
            if then is not None:
                then(reply)

        connection.ask(_TIME, settle)

    def _note(self, asked: float, answered: float, server_ms: float) -> None:
        doubt = (answered - asked) / 2
        ahead_ms = server_ms - (asked + answered) * 500
        # A closer reckoning stands until the clocks may have run apart, or one of them was set.
        if doubt <= self._doubt or abs(ahead_ms - self._ahead_ms) > 1000 * (doubt + self._doubt):
            self._ahead_ms, self._doubt = ahead_ms, doubt
        self._doubt += 0.001
