"""Sending over one connection: every message is one command, and is never repeated."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..exceptions import ChannelFull
from ..names import client_id_of
from . import scripts
from .connection import Connection, Reply, pack
from .keys import Keys
from .refusals import FORGOTTEN, refused

#: Channels and groups whose part of the command is remembered.
_HEADS = 4096

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


class Outbox:
    """Sends over one connection; in the thread of its loop.

    A command is made of a head, which is the same for all messages of a channel or group, and the message. To mailboxes
    go a writer and a number with it: a mailbox takes a message only if its number is above the last one of its writer,
    and so takes none twice, whatever a server repeats after a failure.

    :param missed: called with the name of a channel that lost a message since it was full.
    """

    def __init__(self, connection: Connection, terms: Terms, missed: Callable[[str], None]) -> None:
        self.connection = connection
        self._terms = terms
        self._missed = missed
        self._writer = secrets.token_hex(5)
        self._number = 0
        self._heads: dict[str, tuple[bytes, scripts.Script]] = {}
        self._group_heads: dict[str, bytes] = {}

    def send(self, channel: str, payload: bytes) -> asyncio.Future[None]:
        """Append a message to a channel; the future ends when the server has it, or with ``ChannelFull``."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        head, script = self._heads.get(channel) or self._head(channel)
        if script is scripts.send:
            self._send_to_mailbox(channel, head, payload, future, is_last_try=False)
            return future
        command = _with(head, payload)

        def settle(reply: Any) -> None:
            if not isinstance(reply, int):
                self._refuse(future, reply, script, command, settle)
            elif reply < 0:
                self._full(future, channel)
            else:
                for _ in range(reply):
                    self._missed(channel)
                _end(future)

        self.connection.ask(command, settle)
        return future

    def _send_to_mailbox(
        self, channel: str, head: bytes, payload: bytes, future: asyncio.Future[None], is_last_try: bool
    ) -> None:
        command = self._numbered(head, payload)

        def settle(reply: Any) -> None:
            if reply == 1:
                if not future.done():
                    future.set_result(None)
            elif reply != 0:
                self._refuse(future, reply, scripts.send, command, settle)
            elif is_last_try or not self._terms.when_given_back(client_id_of(channel) or "", again):
                self._full(future, channel)

        def again() -> None:
            # A receive of this process took a message before, but the server had not heard of it.
            self.connection.soon(self._send_to_mailbox, channel, head, payload, future, True)

        self.connection.ask(command, settle)

    def _full(self, future: asyncio.Future[None], channel: str) -> None:
        _end(future, ChannelFull(channel, self._terms.capacity_of(channel)))

    def group_send(self, group: str, payload: bytes) -> asyncio.Future[None]:
        """Append a message to all queues of a group; the future ends when the server has done so."""
        command = self._numbered(self._group_heads.get(group) or self._group_head(group), payload)

        def settle(reply: Any) -> None:
            if isinstance(reply, list):
                for name in reply:
                    self._missed(name.decode()[1:])
                _end(future)
            else:
                self._refuse(future, reply, scripts.group_send, command, settle)

        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connection.ask(command, settle)
        return future

    def _numbered(self, head: bytes, payload: bytes) -> bytes:
        self._number += 1
        number = b"%d" % self._number
        return b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (head, len(number), number, len(payload), payload)

    def _refuse(
        self, future: asyncio.Future[None], reply: Any, script: scripts.Script, command: bytes, settle: Reply
    ) -> None:
        if str(reply).startswith(FORGOTTEN):  # nothing was done: the one case in which it is asked again
            self.connection.ask(pack("SCRIPT", "LOAD", script.text), _ignored)
            self.connection.ask(command, settle)
        else:
            _end(future, refused(self.connection, reply, f"EVALSHA ({script.name})"))

    # Heads

    def _head(self, channel: str) -> tuple[bytes, scripts.Script]:
        terms = self._terms
        keys, capacity = terms.keys, terms.capacity_of(channel)
        client = client_id_of(channel)
        if client is None:
            policy = "old" if terms.drop_old else "new"
            script = scripts.push
            head = script.head(1, (keys.queue(channel),), capacity, terms.expiry_ms, policy)
        else:
            if terms.drop_old:  # its owner makes room
                capacity = _NO_LIMIT
            to = (keys.mailbox(client), keys.unread(client), keys.early(client))
            limits = (capacity, terms.mailbox_capacity, terms.expiry_ms)
            script = scripts.send
            head = script.head(2, to, channel, *limits, self._writer)
        if len(self._heads) >= _HEADS:
            self._heads.clear()
        self._heads[channel] = head, script
        return self._heads[channel]

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
