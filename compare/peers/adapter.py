"""The verbs of a channel layer over a library that broadcasts.

One subscribes to a name there, and gets what is published under it. So their names are our groups, and a subscription
is what a channel is to us; it is in one group at a time, which is all that the scenarios ask. Messages travel as JSON.
Nothing is added that the libraries do not do themselves.
"""

from __future__ import annotations

from itertools import count
from typing import Any

Message = dict[str, Any]


class Adapter:
    """What is the same for all of them."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._subscribers: dict[str, Any] = {}
        self._is_started = False

    async def start(self) -> None:
        if not self._is_started:
            self._is_started = True
            await self._start()

    async def new_channel(self) -> str:
        return f"subscriber.{next(self._numbers)}"

    async def flush(self) -> None:
        """The servers are new for every scenario."""

    async def _start(self) -> None:
        raise NotImplementedError
