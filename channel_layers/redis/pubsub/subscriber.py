"""A connection that is subscribed: between the replies to its own commands come messages that others published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ..connection import Connection
from ..errors import RedisUnavailable

T = TypeVar("T")

#: ``[b"message", name, data]``
Message = list[Any]


class Subscriber(Connection):
    """A connection in the mode in which only SUBSCRIBE, UNSUBSCRIBE and PING may be asked."""

    #: Called with all messages that came at once, in the thread of the loop.
    on_messages: Callable[[list[Message]], None]

    _ended: asyncio.Future[None] | None = None

    async def while_it_lasts(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns; in the loop of the connection.

        :raises RedisUnavailable: if the connection ends before.
        """
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._ended = asyncio.get_running_loop().create_future()
        either: set[asyncio.Future[Any]] = {task, self._ended}
        try:
            if not self.closed:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self.closed:
                raise RedisUnavailable(f"the connection to {self.server} was lost again")
            return await task
        finally:
            task.cancel()
            self._ended = None

    def _close(self, reason: RedisUnavailable) -> None:
        super()._close(reason)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _take_replies(self) -> None:
        parse, waiting = self._parser.gets, self._waiting
        messages: list[Message] = []
        reply = parse()
        while reply is not False:
            if type(reply) is list and reply[0] == b"message":
                messages.append(reply)
            else:
                if messages:
                    self.on_messages(messages)
                    messages = []
                self._answered += 1
                waiting.popleft()(reply)
            reply = parse()
        if messages:
            self.on_messages(messages)
