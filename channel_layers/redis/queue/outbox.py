"""Sending to mailboxes, with a place in the channel taken in the same command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from ...exceptions import ChannelFull
from .. import scripts
from ..connection import Connection, pack
from ..futures import end
from ..outbox import Batch, Outbox, Terms
from ..refusals import FORGOTTEN, refused

#: Above every count, also of a channel that is flagged as full.
_NO_LIMIT = 1 << 60

# What the script says of each message, besides that a channel is full.
_TAKEN, _NO_ROOM = 1, -1

#: Calls back when the client of that id has told its server what is free; False if it is none of this process.
WhenGivenBack = Callable[[str, Callable[[], None]], bool]


class QueueOutbox(Outbox):
    """Appends messages to mailboxes.

    :param when_given_back: full channels of processes that are this very one are tried once more, when it has told the
        server what is free.
    """

    def __init__(
        self,
        connection: Connection,
        terms: Terms,
        missed: Callable[[str], None],
        when_given_back: WhenGivenBack,
        before: Outbox | None = None,
    ) -> None:
        super().__init__(connection, terms, missed, before)
        self._when_given_back = when_given_back

    def _message(self, head: bytes, payload: bytes) -> bytes:
        self._number += 1
        return b"%b$12\r\n%012d\r\n$%d\r\n%b\r\n" % (head, self._number, len(payload), payload)

    def _ask(self, batch: Batch, is_last_try: bool = False) -> None:
        keys, terms = self._terms.keys, self._terms
        to = (keys.mailbox(batch.to), keys.unread(batch.to), keys.early(batch.to))
        limits = (terms.mailbox_capacity, terms.expiry_ms, self._writer)
        command = scripts.send.head(4 * len(batch.messages), to, *limits) + b"".join(batch.messages)

        def settle(reply: Any) -> None:
            if reply == 1:
                for future in batch.futures:
                    if not future.done():
                        future.set_result(None)
            elif isinstance(reply, list):
                self._end_each(batch, reply, is_last_try)
            elif str(reply).startswith(FORGOTTEN):  # nothing was done: the one case in which it is asked again
                self.load(scripts.send)
                self._again(batch, is_last_try)
            else:
                error = refused(self.connection, reply, f"EVALSHA ({scripts.send.name})")
                for future in batch.futures:
                    end(future, error)

        self.connection.ask(command, settle)

    def _end_each(self, batch: Batch, verdicts: list[int], is_last_try: bool) -> None:
        """Some channels were full; those of this process are tried again when it has told what is free."""
        rest = Batch(batch.to)
        for verdict, future, channel, message in zip(
            verdicts, batch.futures, batch.channels, batch.messages, strict=True
        ):
            if verdict == _TAKEN:
                end(future)
            else:
                rest.futures.append(future)
                rest.channels.append(channel)
                rest.messages.append(message)
        number, verdicts = self._number, [verdict for verdict in verdicts if verdict != _TAKEN]
        if is_last_try or not self._when_given_back(
            batch.to, lambda: self.connection.soon(self._try_once_more, rest, verdicts, number)
        ):
            self._refuse_all(rest, verdicts)

    def _try_once_more(self, batch: Batch, verdicts: list[int], number: int) -> None:
        if number == self._number:
            self._again(batch, is_last_try=True)
        else:  # something was sent after these, and must not arrive before them
            self._refuse_all(batch, verdicts)

    def _refuse_all(self, batch: Batch, verdicts: list[int]) -> None:
        for verdict, future, channel in zip(verdicts, batch.futures, batch.channels, strict=True):
            if verdict == _NO_ROOM:
                bound = self._terms.mailbox_capacity
                reason = f"its process has not read {bound:,} messages (mailbox_capacity)"
                end(future, ChannelFull(channel, reason=reason))
            else:
                end(future, ChannelFull(channel, self._terms.capacity_of(channel)))

    def _again(self, batch: Batch, is_last_try: bool) -> None:
        # With new numbers: later messages may have taken theirs away.
        for index, (channel, message) in enumerate(zip(batch.channels, batch.messages, strict=True)):
            self._number += 1
            at = len(self._heads[channel][1]) + len(b"$12\r\n")
            batch.messages[index] = message[:at] + b"%012d" % self._number + message[at + 12 :]
        self._ask(batch, is_last_try)

    def group_send(self, group: str, payload: bytes) -> asyncio.Future[None]:
        """Append a message to all queues of a group; the future ends when the server has done so."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send_to_group(group, payload, future)
        return future

    def _send_to_group(self, group: str, payload: bytes, future: asyncio.Future[None]) -> None:
        command = self._numbered(self._group_heads[group], payload)

        def settle(reply: Any) -> None:
            if isinstance(reply, list):
                for name in reply:
                    self._missed(name.decode()[1:])
                end(future)
            else:
                again = partial(self._send_to_group, group, payload, future)  # with a new number, as above
                self._refuse(future, reply, scripts.group_send, again)

        self.connection.ask(command, settle)

    def _numbered(self, head: bytes, payload: bytes) -> bytes:
        self._number += 1
        number = b"%d" % self._number
        return b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (head, len(number), number, len(payload), payload)

    # Heads

    def _head_to_process(self, channel: str) -> bytes:
        # A channel that loses its oldest message is never full: its owner makes room.
        capacity = _NO_LIMIT if self._terms.drop_old else self._terms.capacity_of(channel)
        return pack(channel, capacity).partition(b"\r\n")[2]

    def _group_head(self, group: str) -> bytes:
        terms = self._terms
        limits = (terms.mailbox_capacity, terms.expiry_ms, terms.lease_ms, terms.policy)
        to = (terms.keys.group(group),)
        return scripts.group_send.head(2, to, f"@{group}", terms.keys.all, *limits, self._writer)
