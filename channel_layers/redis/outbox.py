"""Sending over one connection: every message is one command, and is never repeated."""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..exceptions import ChannelFull
from ..names import client_id_of
from . import scripts
from .connection import Connection, pack
from .futures import end
from .keys import Keys
from .refusals import FORGOTTEN, refused
from .remembered import Remembered

#: Channels, and groups, whose part of the command is remembered.
HEADS = 4096


@dataclass(frozen=True)
class Terms:
    """What the options of a layer say about sending."""

    keys: Keys
    capacity_of: Callable[[str], int]
    expiry_ms: int
    lease_ms: int
    mailbox_capacity: int
    drop_old: bool
    #: The names of all servers, sorted, one on a line.
    servers: str

    @property
    def policy(self) -> str:
        """What a full normal channel does, in the words of the scripts."""
        return "old" if self.drop_old else "new"


class Batch:
    """Messages to the channels of one process that go out in one command: all of one turn of the event loop."""

    __slots__ = ("channels", "futures", "messages", "to")

    def __init__(self, to: str) -> None:
        self.to = to
        self.messages: list[bytes] = []
        self.futures: list[asyncio.Future[None]] = []
        self.channels: list[str] = []


class Outbox(ABC):
    """Sends over one connection; in the thread of its loop.

    What is sent to one process in the same turn of the loop goes out in one command. Each message to a process
    carries its writer and a number. The process takes it only if the number is above the last one of that writer; so it
    takes none twice and none late, whatever a server does after a failure.

    :param missed: called with the name of a channel that lost a message since it was full.
    :param before: the outbox of the connection before this one, if it was lost. This one is the same writer: the server
        may come late to what was sent there, and must not put it after what is sent here.
    """

    #: Messages of one command: with more, the first would wait for the last.
    batch_size = 50

    def __init__(
        self, connection: Connection, terms: Terms, missed: Callable[[str], None], before: Outbox | None = None
    ) -> None:
        self.connection = connection
        self._terms = terms
        self._missed = missed
        self._writer: str = secrets.token_hex(5) if before is None else before._writer
        self._number: int = 0 if before is None else before._number
        # The part of the command that is the same for all messages of a channel; for normal channels the client is "".
        self._heads = Remembered(self._head, HEADS)
        self._group_heads = Remembered(self._group_head, HEADS)
        self._batches: dict[str, Batch] = {}

    def send(self, channel: str, payload: bytes) -> asyncio.Future[None]:
        """Append a message to a channel; the future ends when the server has it, or with ``ChannelFull``."""
        client, head = self._heads[channel]
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not client:
            self._push(channel, with_payload(head, payload), future)
            return future
        batch = self._batches.get(client)
        is_alone = batch is None and self.connection.is_idle
        if batch is None:
            if not self._batches and not is_alone:
                self.connection.gather(self._emit)
            batch = self._batches[client] = Batch(client)
        batch.messages.append(self._message(head, payload))
        batch.futures.append(future)
        batch.channels.append(channel)
        if is_alone or len(batch.futures) >= self.batch_size:
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

    @abstractmethod
    def _message(self, head: bytes, payload: bytes) -> bytes:
        """The part of a batch that one message is."""

    @abstractmethod
    def _ask(self, batch: Batch) -> None:
        """Send a batch."""

    @abstractmethod
    def group_send(self, group: str, payload: bytes) -> asyncio.Future[None]:
        """Send a message to a group; the future ends when the server has done so."""

    @abstractmethod
    def _head_to_process(self, channel: str) -> bytes:
        """What is the same for all messages to a channel of a process."""

    @abstractmethod
    def _group_head(self, group: str) -> bytes:
        """The beginning of the command that sends to a group."""

    # Normal channels

    def _push(self, channel: str, command: bytes, future: asyncio.Future[None]) -> None:
        def settle(reply: Any) -> None:
            if not isinstance(reply, int):
                self._refuse(future, reply, scripts.push, lambda: self._push(channel, command, future))
            elif reply < 0:
                end(future, ChannelFull(channel, self._terms.capacity_of(channel)))
            else:
                for _ in range(reply):
                    self._missed(channel)
                end(future)

        self.connection.ask(command, settle)

    def _refuse(
        self, future: asyncio.Future[None], reply: Any, script: scripts.Script, again: Callable[[], None]
    ) -> None:
        if str(reply).startswith(FORGOTTEN):  # nothing was done: the one case in which it is asked again
            self.load(script)
            again()
        else:
            end(future, refused(self.connection, reply, f"EVALSHA ({script.name})"))

    def load(self, script: scripts.Script) -> None:
        """Give the server the text of a script that it has forgotten."""
        self.connection.ask(pack("SCRIPT", "LOAD", script.text), _ignored)

    # Heads

    def _head(self, channel: str) -> tuple[str, bytes]:
        terms = self._terms
        client = client_id_of(channel) or ""
        if client:
            head = self._head_to_process(channel)
        else:
            limits = (terms.capacity_of(channel), terms.expiry_ms, terms.policy)
            head = scripts.push.head(1, (terms.keys.queue(channel),), *limits)
        return client, head


def with_payload(head: bytes, payload: bytes) -> bytes:
    """A command with its last argument."""
    return b"%b$%d\r\n%b\r\n" % (head, len(payload), payload)


def _ignored(_: Any) -> None:
    return None
