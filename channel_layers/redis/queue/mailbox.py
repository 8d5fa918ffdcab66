"""The one reader of a process's mailbox on one server: it takes batches of messages and puts them into the inbox."""

from __future__ import annotations

import time
from typing import Any, Protocol

from ...remote import GroupMessage
from ...statistics import logger
from ..connection import Connection, pack
from ..errors import RedisUnavailable
from ..keys import Keys
from ..writers import Writers
from .changes import Change, Changes, read_change
from .counted import CountedInbox
from .membership import START, Memberships, Position, after, as_text, position_of

#: Entries of one batch.
_BATCH = 256

#: Milliseconds that the server waits for a message before it answers "none": so that a dead connection is noticed.
BLOCK = 4_000

#: Entries, and bytes of messages, that stay on the server after they were read, until something else is told to it.
_UNTRIMMED, _UNTRIMMED_BYTES = 128, 1 << 16

_TIME = b"*1\r\n$4\r\nTIME\r\n"
_WAIT = (b"XREAD", b"COUNT", _BATCH, b"BLOCK", BLOCK, b"STREAMS")
_LOOK = (b"XREAD", b"COUNT", _BATCH, b"STREAMS")


#: What the log names for an entry whose channel nobody can tell.
_WHERE = "its mailbox"


class Owner(Protocol):
    """What the reader tells the one it reads for."""

    def has_read_some(self) -> None:
        """Some was read that is still on the server; it can stay there for a while. Under the lock of the inbox."""

    def has_read(self) -> None:
        """Much was read that is still on the server, and can be removed. Under the lock of the inbox."""

    def will_give_back(self) -> None:
        """:meth:`give_back_over` will be called soon: nothing else needs to see to it. Under the lock of the inbox."""

    def give_back_over(self, connection: Connection) -> None:
        """What is to be given back can go over this connection now."""

    def holds(self, channel: str) -> bool:
        """Whether what is sent to this channel, other than to its groups, comes over this server."""

    def has_no_members(self, group: str) -> None:
        """A message came for a group that has no member here, or its last one left. Under the lock of the inbox."""

    def may_be_unlisted(self, group: str) -> None:
        """A join was read so late that a sender may have taken this process for dead. Under the lock of the inbox."""

    def is_flushed(self, epoch: int, acknowledge_to: str) -> bool:
        """Somebody flushes the layer; whether that is new, and not read again. Under the lock of the inbox."""


class Mailbox:
    """Reads the mailbox and the control entries of one client on one server.

    :param bound: entries that the mailbox may hold.
    :param lease_ms: milliseconds after which a process that has not registered counts as dead.

    All but the constructor is called in the thread of the loop that drives the connection.
    """

    def __init__(
        self,
        keys: Keys,
        client: str,
        inbox: CountedInbox,
        group_expiry: float | None,
        bound: int,
        lease_ms: int,
        owner: Owner,
    ) -> None:
        self.memberships = Memberships(group_expiry)
        self.changes = Changes()
        #: Up to where the mailbox was read.
        self.position: Position = START
        self._keys = (keys.mailbox(client), keys.control(client))
        self._mailbox_key = self._keys[0].encode()
        self._inbox = inbox
        self._lease_ms = lease_ms
        self._owner = owner
        self._connection: Connection | None = None
        self._is_to_go_on = False  # a batch was delivered, and nothing was asked since
        self._batch: list[Any] = []
        # Whatever its position: what has a number that has come from its writer before, is a repetition.
        self._writers = Writers()
        # Channels that were discarded at a position that was not read yet.
        self._discarded: dict[str, Position] = {}
        self._keep_at_most = min(_UNTRIMMED, max(1, bound // 8))
        self._is_reading_again = False
        self._untrimmed = 0
        self._untrimmed_bytes = 0
        #: How often the server has lost what it had.
        self.times_lost = 0

    def read(self, connection: Connection) -> None:
        """Read from this connection from now on; from the beginning, since positions may have changed meanwhile."""
        if connection is self._connection:  # in another loop: the one before may have come to neither of these
            if self.changes.is_outdated:
                connection.soon(connection.fail, RedisUnavailable("the connection is made anew"))
            self._go_on(connection)
            return
        self._connection = connection
        self._is_reading_again = True
        with self._inbox.lock:
            self.changes.read_again()
        if self._is_to_go_on:
            self._is_to_go_on = False
            self._owner.give_back_over(connection)
        self._wait(connection, "0-0")

    def start_anew(self) -> None:
        """Positions begin anew, since the server has lost what it had. Under the lock of the inbox."""
        self.times_lost += 1
        self.position = START
        for change in self.changes.start_anew():
            self._apply(change, START)
        self.memberships.restart()
        self._discarded.clear()

    def forget_members(self, channel: str) -> list[str]:
        """End the memberships of a channel, of which the server has confirmed some that were not read yet.

        Returns the groups that have no members any more. Under the lock of the inbox.
        """
        groups = self.memberships.groups_of(channel)
        self.changes.void_joins(channel, bool(groups))
        self.memberships.discard_channel(channel)
        return [group for group in groups if not self.memberships.members(group)]

    def trim(self) -> tuple[str, str]:
        """The first ids that the server has to keep of mailbox and control entries ("" for all). Under the lock."""
        self._untrimmed = self._untrimmed_bytes = 0
        return after(self.position), self.changes.keep_from()

    # Asking

    def _wait(self, connection: Connection, start: str = "") -> None:
        position = start or as_text(self.position)
        self._ask(connection, pack(*_WAIT, *self._keys, position, as_text(self.changes.position)))

    def _ask(self, connection: Connection, command: bytes) -> None:
        batch: list[Any] = []
        connection.ask(command, batch.append)
        # What time it is when the batch is handed out: the age of a message is measured on the server's clock alone.
        connection.ask(_TIME, lambda reply: self._arrived(connection, batch[0], reply))

    def _arrived(self, connection: Connection, batch: Any, server_time: Any) -> None:
        if connection is not self._connection or connection.closed:
            return
        if isinstance(batch, Exception):
            connection.fail(batch)
            return
        messages, control = self._split(batch)
        if len(control) == _BATCH:
            self._read_control(connection, messages, control)
        else:
            self._hand_out(connection, messages, control, server_time)

    def _hand_out(self, connection: Connection, messages: list[Any], control: list[Any], server_time: Any) -> None:
        if connection is not self._connection or connection.closed:
            return
        if isinstance(server_time, Exception):
            connection.fail(server_time)
            return
        self._deliver(messages, control, int(server_time[0]) * 1000 + int(server_time[1]) // 1000)
        connection.soon(self._go_on, connection)

    def _go_on(self, connection: Connection) -> None:
        """Ask for more when those who were woken have run: the places that they freed are told in the same write."""
        if connection is not self._connection or not self._is_to_go_on:
            return
        self._is_to_go_on = False
        self._owner.give_back_over(connection)
        if not connection.closed:
            self._wait(connection)
            connection.flush()

    def _read_control(self, connection: Connection, messages: list[Any], control: list[Any]) -> None:
        """There may be more control entries that belong before these messages: read all of them first."""

        def more(reply: Any) -> None:
            if isinstance(reply, Exception):
                connection.fail(reply)
                return
            _, further = self._split(reply)
            control.extend(further)
            if len(further) == _BATCH:
                ask()
            else:
                connection.ask(_TIME, lambda time: self._hand_out(connection, messages, control, time))

        def ask() -> None:
            connection.ask(pack(*_LOOK, self._keys[1], control[-1][0]), more)

        ask()

    def _split(self, reply: Any) -> tuple[list[Any], list[Any]]:
        messages: list[Any] = []
        control: list[Any] = []
        for key, entries in reply or ():
            if key == self._mailbox_key:
                messages = entries
            else:
                control = entries
        return messages, control

    # Delivering

    def _deliver(self, messages: list[Any], control: list[Any], server_ms: int) -> None:
        inbox = self._inbox
        with inbox.lock:
            if not self._is_to_go_on:
                self._is_to_go_on = True
                self._owner.will_give_back()
            if control:
                self._apply_all(control, server_ms)
            self._make_up(self.changes.take_lost())
            if messages:
                self._deliver_all(messages, control, server_ms)
            elif 0 < len(control) < _BATCH:  # looked at in the same moment: no message from before is still to come
                self.memberships.forget_departed()
                self._discarded.clear()
            if control:
                self.changes.forget_read()
            self._untrimmed += len(messages) + len(control)
            self._untrimmed_bytes += sum(len(fields[1]) for _, fields in messages)
            if self._untrimmed >= self._keep_at_most or self._untrimmed_bytes >= _UNTRIMMED_BYTES:
                self._owner.has_read()
            elif self._untrimmed:
                self._owner.has_read_some()
        if inbox.drops.unwritten:
            inbox.drops.write()

    def _deliver_all(self, messages: list[Any], control: list[Any], server_ms: int) -> None:
        deliver, takes = self._inbox.deliver, self._writers.takes
        lifetime = time.monotonic() + self._inbox.expiry
        oldest, newest = position_of(messages[0][0])[0], position_of(messages[-1][0])[0]
        deadline = lifetime - max(0, server_ms - oldest) / 1000
        alike = newest - oldest <= 2  # milliseconds: then one deadline does for all
        known = self.position if self._is_reading_again else None
        self._is_reading_again = known is not None and position_of(messages[-1][0]) <= known
        for entry, fields in messages:
            try:
                to, payload, writer, number = fields
                kind, name, count = to[0], to.decode(), int(number)
            except (ValueError, IndexError):  # whoever wrote it was none of us
                self._inbox.miss(_WHERE, "malformed")
                continue
            if known is not None and position_of(entry) <= known and kind != 33:
                continue
            if count and not takes(writer, count):
                # Read before; or the server came to it late, when its sender had given it up and sent others.
                if kind not in (33, 64) and position_of(entry) > self.position:
                    self._inbox.free(name, 1)
                continue
            if not alike:
                deadline = lifetime - max(0, server_ms - position_of(entry)[0]) / 1000
            try:
                if kind == 64:  # "@": a group
                    self._deliver_to_group(name[1:], payload, position_of(entry), deadline)
                elif kind == 33:  # "!": a command
                    self._obey(int(writer), payload.decode(), control, server_ms)
                elif self._discarded and self._discarded.get(name, START) >= position_of(entry):
                    self._inbox.free(name, 1)
                else:
                    deliver(name, payload, deadline)
            except Exception:  # a capacity that a user computes, say: it must not stop all that comes after
                logger.exception("A message for %r could not be delivered", name)
                if kind not in (33, 64):
                    self._inbox.free(name, 1)
        self.position = max(self.position, position_of(messages[-1][0]))
        self._pass_by()

    def _obey(self, epoch: int, acknowledge_to: str, control: list[Any], server_ms: int) -> None:
        if self._owner.is_flushed(epoch, acknowledge_to):
            self.changes.flushed()  # it has emptied both streams
            self._apply_all(control, server_ms)

    def _deliver_to_group(self, group: str, payload: bytes, position: Position, deadline: float) -> None:
        channels = self.memberships.reached(group, position)
        if self._discarded:
            channels = [name for name in channels if self._discarded.get(name, START) < position]
        if not channels and not self.memberships.members(group):  # and not only none yet
            self._owner.has_no_members(group)
        self._inbox.deliver_to_each(channels, GroupMessage(payload), deadline)

    def _pass_by(self) -> None:
        self.memberships.pass_by(self.position)
        for channel in tuple(self._discarded):
            if self._discarded[channel] <= self.position:
                del self._discarded[channel]

    # Control

    def _apply_all(self, entries: list[Any], server_ms: int) -> None:
        changes, joined_late = self.changes, set()
        for entry, fields in entries:
            position = position_of(entry)
            if position <= changes.position:
                continue
            self._make_up(changes.take_lost_before(position))
            if not changes.takes(position):
                continue
            try:
                change, comes_after = read_change(fields)
            except ValueError:
                self._inbox.miss(_WHERE, "malformed")
                continue
            is_join = change.what == "join"
            if is_join and changes.has_ended(position, change.channel):
                continue
            self._apply(change, comes_after)
            if is_join and server_ms - position[0] >= self._lease_ms:
                joined_late.add(change.group)
        for group in joined_late:
            if self.memberships.members(group):
                self._owner.may_be_unlisted(group)
        changes.have_been_applied()

    def _apply(self, change: Change, position: Position) -> None:
        if change.what == "discard":
            self._discarded[change.channel] = position
            if self._owner.holds(change.channel):
                self._inbox.discard(change.channel)
        self._change_memberships(change, position)

    def _make_up(self, lost: list[Change]) -> None:
        """Apply again what was applied when the server lost it: what was read since may have undone it."""
        for change in lost:
            self._change_memberships(change, START)

    def _change_memberships(self, change: Change, position: Position) -> None:
        what, group, channel = change
        if what == "join":
            self.memberships.join(group, channel, position)
            return
        if what == "leave":
            groups = [group]
            self.memberships.leave(group, channel, position)
        else:
            groups = self.memberships.leave_all(channel, position)
        for left in groups:
            if not self.memberships.members(left):
                self._owner.has_no_members(left)
