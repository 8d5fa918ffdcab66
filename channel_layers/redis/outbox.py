"""Sending over one connection: every message is one command, and is never repeated."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..exceptions import ChannelFull
from ..names import client_id_of
from . import scripts
from .connection import Connection, pack
from .keys import Keys
from .refusals import FORGOTTEN, refused

#: Channels and groups whose part of the command is remembered.
_HEADS = 4096

#: Messages of one command: with more, the first would wait for the last.
_BATCH = 50

#: Above every count, also of a channel that is flagged as full.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Terms:
    """What the options of a layer say about sending."""

    keys: Keys
    capacity_of: Callable[[str], int]
    expiry_ms: int
    lease_ms: int
    mailbox_capacity: int
    drop_old: bool
    #: Calls back when the client of that id has told its server what is free; False if it is none of this process.
    when_given_back: Callable[[str, Callable[[], None]], bool]


class _Batch:
    """Messages to the channels of one process that go out in one command: all of one turn of the event loop."""

    __slots__ = ("channels", "futures", "messages", "to")

    def __init__(self, to: str) -> None:
        self.to = to
        self.messages: list[bytes] = []
        self.futures: list[asyncio.Future[None]] = []
        self.channels: list[str] = []


class Outbox:
    """Sends over one connection; in the thread of its loop.

    What is sent to one process in the same turn of the loop goes out in one command. To mailboxes go a writer and a
    number with each message: a mailbox takes a message only if its number is above the last one of its writer, and so
    takes none twice, whatever a server repeats after a failure.

    :param missed: called with the name of a channel that lost a message since it was full.
    :param before: the outbox of the connection before this one, if it was lost. This one is the same writer: the server
        may come late to what was sent there, and must not put it after what is sent here.
    """

    def __init__(
        self, connection: Connection, terms: Terms, missed: Callable[[str], None], before: Outbox | None = None
    ) -> None:
        self.connection = connection
        self._terms = terms
        self._missed = missed
        self._writer: str = secrets.token_hex(5) if before is None else before._writer
        self._number: int = 0 if before is None else before._number
        # The part of the command that is the same for all messages of a channel; for normal channels the client is "".
        self._heads: dict[str, tuple[str, bytes]] = {}
        self._group_heads: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}

    def send(self, channel: str, payload: bytes) -> asyncio.Future[None]:
        """Append a message to a channel; the future ends when the server has it, or with ``ChannelFull``."""
        client, head = self._heads.get(channel) or self._head(channel)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not client:
            self._push(channel, _with(head, payload), future)
            return future
        batch = self._batches.get(client)
        is_alone = batch is None and self.connection.is_idle
        if batch is None:
            if not self._batches and not is_alone:
                self.connection.gather(self._emit)
            batch = self._batches[client] = _Batch(client)
        self._number += 1
        batch.messages.append(b"%b$12\r\n%012d\r\n$%d\r\n%b\r\n" % (head, self._number, len(payload), payload))
        batch.futures.append(future)
        batch.channels.append(channel)
        if is_alone or len(batch.futures) >= _BATCH:
            del self._batches[client]
            self._ask(batch)
        if is_alone:
            self.connection.flush()
        return future

    def _emit(self) -> None:
        """Make commands of what was gathered."""
        batches, self._batches = self._batches, {}
        for batch in batches.values():
            self._ask(batch)

    def _ask(self, batch: _Batch, is_last_try: bool = False) -> None:
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
                self.connection.ask(pack("SCRIPT", "LOAD", scripts.send.text), _ignored)
                self._again(batch, is_last_try)
            else:
                error = refused(self.connection, reply, f"EVALSHA ({scripts.send.name})")
                for future in batch.futures:
                    _end(future, error)

        self.connection.ask(command, settle)

    def _end_each(self, batch: _Batch, taken: list[int], is_last_try: bool) -> None:
        """Some channels were full; those of this process are tried again when it has told what is free."""
        rest = _Batch(batch.to)
        for is_taken, future, channel, message in zip(
            taken, batch.futures, batch.channels, batch.messages, strict=True
        ):
            if is_taken:
                _end(future)
            else:
                rest.futures.append(future)
                rest.channels.append(channel)
                rest.messages.append(message)
        number = self._number
        if is_last_try or not self._terms.when_given_back(
            batch.to, lambda: self.connection.soon(self._try_once_more, rest, number)
        ):
            self._refuse_all(rest)

    def _try_once_more(self, batch: _Batch, number: int) -> None:
        if number == self._number:
            self._again(batch, is_last_try=True)
        else:  # something was sent after these, and must not arrive before them
            self._refuse_all(batch)

    def _refuse_all(self, batch: _Batch) -> None:
        for future, channel in zip(batch.futures, batch.channels, strict=True):
            _end(future, ChannelFull(channel, self._terms.capacity_of(channel)))

    def _again(self, batch: _Batch, is_last_try: bool) -> None:
        # With new numbers: later messages may have taken theirs away.
        for index, (channel, message) in enumerate(zip(batch.channels, batch.messages, strict=True)):
            self._number += 1
            at = len((self._heads.get(channel) or self._head(channel))[1]) + len(b"$12\r\n")
            batch.messages[index] = message[:at] + b"%012d" % self._number + message[at + 12 :]
        self._ask(batch, is_last_try)

    def _push(self, channel: str, command: bytes, future: asyncio.Future[None]) -> None:
        def settle(reply: Any) -> None:
            if not isinstance(reply, int):
                self._refuse(future, reply, scripts.push, lambda: self._push(channel, command, future))
            elif reply < 0:
                _end(future, ChannelFull(channel, self._terms.capacity_of(channel)))
            else:
                for _ in range(reply):
                    self._missed(channel)
                _end(future)

        self.connection.ask(command, settle)

    def group_send(self, group: str, payload: bytes) -> asyncio.Future[None]:
        """Append a message to all queues of a group; the future ends when the server has done so."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send_to_group(group, payload, future)
        return future

    def _send_to_group(self, group: str, payload: bytes, future: asyncio.Future[None]) -> None:
        command = self._numbered(self._group_heads.get(group) or self._group_head(group), payload)

        def settle(reply: Any) -> None:
            if isinstance(reply, list):
                for name in reply:
                    self._missed(name.decode()[1:])
                _end(future)
            else:
                again = partial(self._send_to_group, group, payload, future)  # with a new number, as above
                self._refuse(future, reply, scripts.group_send, again)

        self.connection.ask(command, settle)

    def _numbered(self, head: bytes, payload: bytes) -> bytes:
        self._number += 1
        number = b"%d" % self._number
        return b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (head, len(number), number, len(payload), payload)

    def _refuse(
        self, future: asyncio.Future[None], reply: Any, script: scripts.Script, again: Callable[[], None]
    ) -> None:
        if str(reply).startswith(FORGOTTEN):  # nothing was done: the one case in which it is asked again
            self.connection.ask(pack("SCRIPT", "LOAD", script.text), _ignored)
            again()
        else:
            _end(future, refused(self.connection, reply, f"EVALSHA ({script.name})"))

    # Heads

    def _head(self, channel: str) -> tuple[str, bytes]:
        terms = self._terms
        capacity = terms.capacity_of(channel)
        client = client_id_of(channel) or ""
        if client:
            if terms.drop_old:  # its owner makes room
                capacity = _NO_LIMIT
            head = pack(channel, capacity).partition(b"\r\n")[2]
        else:
            policy = "old" if terms.drop_old else "new"
            head = scripts.push.head(1, (terms.keys.queue(channel),), capacity, terms.expiry_ms, policy)
        if len(self._heads) >= _HEADS:
            self._heads.clear()
        self._heads[channel] = client, head
        return client, head

    def _group_head(self, group: str) -> bytes:
        terms = self._terms
        policy = "old" if terms.drop_old else "new"
        limits = (terms.mailbox_capacity, terms.expiry_ms, terms.lease_ms, policy)
        to = (terms.keys.group(group),)
        head = scripts.group_send.head(2, to, f"@{group}", terms.keys.all, *limits, self._writer)
        if len(self._group_heads) >= _HEADS:
            self._group_heads.clear()
        self._group_heads[group] = head
        return head


def _with(head: bytes, payload: bytes) -> bytes:
    return b"%b$%d\r\n%b\r\n" % (head, len(payload), payload)


def _end(future: asyncio.Future[None], error: Exception | None = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _ignored(_: Any) -> None:
    return None
