"""A connection that is subscribed: between the replies to its own commands come messages that others published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis

from ...statistics import logger
from ..connection import Connection

#: ``[b"message", name, data]``
Message = list[Any]


class Subscriber(Connection):
    """A connection in the mode in which only SUBSCRIBE, UNSUBSCRIBE and PING may be asked."""

    #: Called with all messages that came at once, in the thread of the loop.
    on_messages: Callable[[list[Message]], None]

    def _hand_on(self) -> None:
        parse, waiting = self._parser.gets, self._waiting
        messages: list[Message] = []
        try:
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
        except (hiredis.HiredisError, IndexError) as error:
            self._end(error)
        except Exception as error:  # with a new connection one can begin anew
            logger.exception("What Redis at %s published could not be handled", self.server)
            self._end(error)
        written = self._written
        while written and written[0][0] <= self._answered:
            written.popleft()
